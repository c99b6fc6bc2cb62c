"""Whole merges against other tools and against the I/O floor.

    python benchmarks/speed.py DIR [--environments ENVIRONMENTS_DIR] [--cases soup,ties] [--cold] [--json FILE]

Times every case on the models of `make_inputs.py` in DIR (makes them where they are missing; the tiny ones in
DIR/tiny): mergegraph with and without sync, the same reads and writes without arithmetic (`floor.py`), and the peers of
`peers.py`. All in turn, one warm-up round, medians of the rest. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from cases import DEFAULT, Case, chosen
from child import Finished
from contest import DROP_CACHES, Contestant, floor_command, mergegraph_command, rounds
from families import made
from make_inputs import SHAPES
from peers import PACKAGES, environment, mergekit_command, programs, sd_mecha_command
from spread import Spread, net, ratio, spread
from table import table

from mergegraph.units import format_bytes

Results = Mapping[str, Sequence[Finished]]
"""What the measured rounds gave, by contestant."""

OURS: Final = {"mergegraph --no-sync": ("--no-sync",), "mergegraph": ()}
FLOOR_OF: Final = {"mergegraph --no-sync": "floor --no-sync", "mergegraph": "floor"}
ON_TINY: Final = ", tiny"
EACH_HEAD: Final = ("what", "wall s", "CPU s", "VmHWM", "read", "written", "from disk", "dirtied")
SUMMARY_HEAD: Final = ("case", "against", "mergegraph", "times", "each round", "target", "ok?")


def contestants(case: Case, family: Path, tiny: Path, peers: Mapping[str, Path], *, wide: bool) -> list[Contestant]:
    """In the order of a round. Start-up is measured by the same commands on the tiny models."""
    entries: list[Contestant] = []
    for models, suffix in ((family, ""), (tiny, ON_TINY)):
        for name, options in OURS.items():
            entries.append(Contestant(name + suffix, partial(_ours, case, models, options)))
            entries.append(Contestant(FLOOR_OF[name] + suffix, partial(_floor, case, models, options)))
    if "mergekit" in peers:
        bin_folder = peers["mergekit"]
        for dtype in ("bfloat16", "float32") if wide else ("bfloat16",):
            command = partial(_mergekit, bin_folder, case, family, dtype)
            entries.append(
                Contestant("mergekit" if dtype == "bfloat16" else f"mergekit {dtype}", command, environment())
            )
    if "sd-mecha" in peers:
        command = partial(sd_mecha_command, peers["sd-mecha"], case, family)
        entries.append(Contestant("sd-mecha", command, environment()))
    return entries


def _ours(case: Case, models: Path, options: Sequence[str], scratch: Path) -> list[str]:
    return mergegraph_command(case.recipe(models, scratch / "out"), scratch, *options)


def _floor(case: Case, models: Path, options: Sequence[str], scratch: Path) -> list[str]:
    return floor_command(case.folders(models), scratch, *options)


def _mergekit(bin_folder: Path, case: Case, models: Path, dtype: str, scratch: Path) -> list[str]:
    return mergekit_command(bin_folder, case, models, scratch, dtype)


def walls(finished: Sequence[Finished]) -> list[float]:
    return [each.wall_seconds for each in finished]


def each_rows(results: Results) -> Iterator[tuple[str, ...]]:
    for name, finished in results.items():
        moved = [each.traffic for each in finished]
        counts = (
            [each.peak_bytes for each in finished],
            [each.read for each in moved],
            [each.written for each in moved],
            [each.fetched for each in moved],
            [each.dirtied for each in moved],
        )
        sizes = (format_bytes(round(statistics.median(count))) for count in counts)
        cpu = spread([each.cpu_seconds for each in finished])
        yield name, spread(walls(finished)).text(), cpu.text(), *sizes


def summary_rows(case: Case, results: Results) -> Iterator[tuple[str, ...]]:
    """Ratios of medians, and the range of the ratios within a round."""
    unsynced = walls(results["mergegraph --no-sync"])
    peers = [name for name in results if name.startswith(tuple(PACKAGES))]
    for peer in peers:
        target = case.times_mergekit if peer == "mergekit" else 1.0 if peer == "sd-mecha" else None
        faster = ratio(walls(results[peer]), unsynced)
        yield case.title, f"{peer}, time", "--no-sync", *_cells(faster, target, at_least=True)
        memory = [[float(each.peak_bytes) for each in results[name]] for name in (peer, "mergegraph --no-sync")]
        target = 10.0 if peer == "mergekit" else None
        yield case.title, f"{peer}, memory", "--no-sync", *_cells(ratio(*memory), target, at_least=True)
    for ours, floor in FLOOR_OF.items():
        over = net(walls(results[ours]), walls(results[ours + ON_TINY]))
        under = net(walls(results[floor]), walls(results[floor + ON_TINY]))
        target = case.times_floor if ours == "mergegraph --no-sync" else None
        mode = "--no-sync" if ours != "mergegraph" else "synced"
        yield case.title, "I/O floor, net", mode, *_cells(ratio(over, under), target, at_least=False)


def _cells(found: Spread | None, target: float | None, *, at_least: bool) -> tuple[str, str, str, str]:
    if found is None:
        return "too small", "", "", ""
    within = f"{found.least:.2f}–{found.largest:.2f}"
    if target is None:
        return f"{found.median:.2f}", within, "", ""
    holds = found.median >= target if at_least else found.median <= target
    return f"{found.median:.2f}", within, f"{'≥' if at_least else '≤'} {target:g}", "yes" if holds else "NO"


def machine() -> dict[str, object]:
    """What the numbers depend on besides the code."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = {
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    }
    facts = {"cpu": " / ".join(sorted(found)), "cpus": len(os.sched_getaffinity(0)), "memory_bytes": memory}
    return facts | {"kernel": platform.release(), "python": platform.python_version(), "load": os.getloadavg()}


def as_json(results: Results) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [
            {
                "wall_seconds": each.wall_seconds,
                "cpu_seconds": each.cpu_seconds,
                "peak_bytes": each.peak_bytes,
                "read": each.traffic.read,
                "written": each.traffic.written,
                "fetched": each.traffic.fetched,
                "dirtied": each.traffic.dirtied,
            }
            for each in finished
        ]
        for name, finished in results.items()
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time whole merges against other tools and the I/O floor.")
    parser.add_argument("family", metavar="DIR", type=Path, help="the models of make_inputs.py; made when missing")
    parser.add_argument("--shape", default="1.1b", choices=list(SHAPES), help="to make them with (default 1.1b)")
    parser.add_argument("--cases", default=",".join(DEFAULT), help=f"default {','.join(DEFAULT)}")
    parser.add_argument("--repeats", type=int, default=5, help="measured rounds after the warm-up (default 5)")
    parser.add_argument("--environments", metavar="DIR", type=Path, help="of the peers; made when missing")
    parser.add_argument("--peers", default=",".join(PACKAGES), help="those to run, where --environments is given")
    parser.add_argument(
        "--float32", action="store_true", help="also mergekit with dtype float32, computing and writing"
    )
    parser.add_argument("--cold", action="store_true", help="drop the page cache before every run (root)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every measurement here")
    options = parser.parse_args()
    options.family = options.family.resolve()
    if options.repeats < 1:
        parser.error(f"--repeats {options.repeats}: at least 1")
    if options.cold and not os.access(DROP_CACHES, os.W_OK):
        parser.error("--cold: only root may drop the page cache")
    try:
        options.cases = chosen(options.cases.split(","))
    except ValueError as wrong:
        parser.error(str(wrong))
    options.peers = [peer for peer in options.peers.split(",") if peer and options.environments]
    if unknown := set(options.peers) - set(PACKAGES):
        parser.error(f"--peers {', '.join(unknown)}: there are {', '.join(PACKAGES)}")
    return options


def main() -> None:
    options = arguments()
    family = made(options.family, 3, "--shape", options.shape)
    tiny = made(family / "tiny", 3, "--shape", "tiny")
    peers = {peer: programs(options.environments.resolve(), peer) for peer in options.peers}
    document: dict[str, Any] = {"machine": machine(), "cold": options.cold, "cases": {}}
    print(f"{document['machine']}\n", flush=True)
    summary: list[tuple[str, ...]] = []
    for case in options.cases:
        entries = contestants(case, family, tiny, peers, wide=options.float32)
        with tempfile.TemporaryDirectory(dir=family.parent, prefix="mergegraph-speed-") as folder:
            log = partial(print, file=sys.stderr, flush=True)
            results = rounds(entries, options.repeats, Path(folder), cold=options.cold, log=log)
        print(f"{case.title}\n\n{table(EACH_HEAD, list(each_rows(results)))}\n", flush=True)
        summary += summary_rows(case, results)
        document["cases"][case.name] = as_json(results)
        if options.json:
            options.json.write_text(json.dumps(document, indent=1) + "\n")
    print(table(SUMMARY_HEAD, summary))


if __name__ == "__main__":
    main()
