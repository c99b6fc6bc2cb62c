"""Small models, an evaluator that logs its calls, and searches over them, written into a folder."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from mergegraph.search.document import load_search
from mergegraph.search.ledger import Entry, read_ledger
from mergegraph.search.page import report
from mergegraph.search.run import Result, run_search
from mergegraph.search.summary import summarise
from mergegraph.search.text import lines
from tests.cli.tiny_models import tensors, write_model

NAMES = ("a", "b", "c", "d")
_SHIFTS = {"a": 0.0, "b": 0.25, "c": -0.5, "d": 1.0}

EVALUATOR = """\
import json, struct, time
from array import array
from pathlib import Path

HERE = Path(__file__).parent

def values(folder):
    raw = (Path(folder) / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return array("f", raw[8 + length :])

def score(model, split, seconds=0.0, target=0.05):
    with (HERE / "calls.log").open("a") as log:
        log.write(f"{Path(model).name} {split}\\n")
    time.sleep(seconds)
    found = values(model)
    wanted = target if split == "select" else target + 0.05
    losses = [(sum(found) / len(found) - wanted) ** 2 for _ in range(3)]
    return {"loss": sum(losses) / 3, "examples": {"loss": losses}}

def main(model, result, split):
    Path(result).write_text(json.dumps(score(model, split)))

if __name__ == "__main__":
    import sys
    main(*sys.argv[1:])
"""


def write_search(folder: Path, kind: str = "greedy_soup", **fields: Any) -> Path:
    """Four relatives, the evaluator, and a search over them; what is given replaces or adds fields."""
    for name in NAMES:
        if not (folder / "models" / name).exists():
            write_model(folder / "models" / name, tensors(shift=_SHIFTS[name]))
    (folder / "judge.py").write_text(EVALUATOR)
    search: dict[str, Any] = {
        "mergegraph": 1,
        "search": kind,
        "evaluator": {"python": "judge:score"},
        "metrics": {"loss": "min"},
        "select_on": "select",
        "report_on": "test",
        "path": "found",
    }
    if kind in ("greedy_soup", "uniform"):
        search["candidates"] = ["./models/*"]
    search |= fields
    path = folder / "search.yaml"
    path.write_text(json.dumps({name: value for name, value in search.items() if value is not None}, indent=1))
    return path


def run(path: Path) -> Result:
    return run_search(load_search(path))


def shown(folder: Path) -> tuple[list[str], str]:
    """What the terminal and the page say of the search that ran in `folder`; lines with their spaces run together."""
    summary = summarise(read_ledger(folder / "found"))
    return [" ".join(line.split()) for line in lines(summary)], report(summary)


def calls(folder: Path) -> Counter[str]:
    """How often the evaluator was called, by the model's folder and the split."""
    log = folder / "calls.log"
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()


def entries(folder: Path, event: str) -> list[Entry]:
    return [entry for entry in read_ledger(folder / "found") if entry["event"] == event]


RECIPE = """\
mergegraph: 1
nodes:
  a: {op: load, model: ./models/a}
  b: {op: load, model: ./models/b}
  learnt: {op: delta, model: b, base: a}
  boost: {op: scale, input: learnt, by: 0.5}
  merged: {op: sum, inputs: [a, boost]}
  out: {op: save, input: merged, path: out}
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
