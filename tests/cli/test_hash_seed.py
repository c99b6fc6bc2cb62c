"""What is planned, said and written does not depend on the order of sets, which every process of Python shuffles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.cli.tiny_models import tensors, tree, write_model

RECIPE = """\
mergegraph: 1
seed: 7
nodes:
  base: {op: load, model: ./base}
  code: {op: load, model: ./code}
  math: {op: load, model: ./math}
  chat: {op: load, model: ./chat}
  agreed: {op: ties, base: base, inputs: [code, math, chat], density: 0.5}
  d_code: {op: dare, base: base, input: code, density: 0.5}
  d_chat: {op: dare, base: base, input: chat, density: 0.5}
  elected: {op: sum, inputs: [base, agreed]}
  thinned: {op: sum, inputs: [base, d_code, d_chat]}
  mixed: {op: select, cases: [{kind: mlp, from: thinned}, {kind: embedding, from: elected}], otherwise: math}
  out: {op: save, input: mixed, path: out, tokenizer_from: chat}
  delta: {op: save, input: d_chat, path: delta, format: delta}
"""
COMMAND = """\
import sys
from mergegraph.cli import main
for arguments in (["plan", "--json"], ["plan", "--explain"], ["run", "--quiet"]):
    assert main([arguments[0], "merge.yaml", *arguments[1:], "--budget", "64MiB", "--threads", "2"]) == 0
"""


def test_two_hash_seeds_give_one_plan_and_the_same_bytes(tmp_path: Path) -> None:
    for number, name in enumerate(("base", "code", "math", "chat")):
        write_model(tmp_path / name, tensors(shift=0.25 * number), eos_token_id=number)
        for file in ("tokenizer_config.json", "generation_config.json", "merges.txt", "special_tokens_map.json"):
            (tmp_path / name / file).write_text(f'{{"of": "{name}"}}')
        (tmp_path / name / "README.md").write_text(f"---\nlicense: licence-of-{name}\n---\n")
        (tmp_path / name / "vocab.txt").symlink_to("gone")
    (tmp_path / "merge.yaml").write_text(RECIPE)
    one, other = _planned_and_run(tmp_path, "1"), _planned_and_run(tmp_path, "3")
    assert one[1].keys() > {"out/model.safetensors", "out/merges.txt", "delta/model.safetensors", "out/mergegraph.json"}
    assert one == other


def _planned_and_run(folder: Path, hash_seed: str) -> tuple[str, dict[str, bytes]]:
    """All that the command says, and the files of its outputs, of the records of the run only which result it is."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout
    (folder / hash_seed).mkdir()
    for output in ("out", "delta"):
        record = folder / output / "mergegraph.run.json"
        record.write_text(json.loads(record.read_bytes())["result_id"])
        (folder / output).rename(folder / hash_seed / output)
    return ended.stdout, tree(folder / hash_seed)
