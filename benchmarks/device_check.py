"""Merges on a CUDA device: right, how fast against what the machine can move, and within their budgets.

    python -m benchmarks.device_check [--folder /dev/shm/device-check] [--shapes 0.1b,1.1b] [--minutes 6]

Prints Markdown as it goes: what the machine moves (device copy, pinned copies, files), the tests of the staging on the
device, then every case on the processor and on the device, with the difference between their outputs. A case that
fails is a row that says so; what does not fit into the minutes is left out, and said. Exit 1 when a difference is
beyond its tolerance, a test fails, or a case does not run.

Runs from a clone: nothing has to be installed but what mergegraph needs. The folder is deleted at the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.child import REPOSITORY, Finished, run_child
from benchmarks.table import table

GB: Final = 1e9
MIB: Final = 1 << 20
_COPY_BYTES: Final = 2 << 30
_PINNED_BYTES: Final = 256 << 20
_FILE_BYTES: Final = 1 << 30
_LONGEST_CASE: Final = 90
_LARGE: Final = "1.1b"
_LEFT_FOR_A_CASE: Final = {"0.1b": 15.0, "1.1b": 45.0}


@dataclass(frozen=True)
class Case:
    """A merge of `base`, `a` and `b`. At most `share` of the elements may differ, none by more than `ulps` (None: by
    anything, since an element that is chosen on one device and not on the other differs by its size). What is slow on
    the processor is left out of 1.1b."""

    name: str
    nodes: str
    share: float
    ulps: int | None
    is_slow: bool = False


CASES: Final = (
    Case("soup of 2", "m: 0.5*a + 0.5*b", 1e-3, 1),
    Case("base + 2 deltas", "m: base + 0.6*(a - base) + 0.7*(b - base)", 1e-3, 1),
    Case("slerp", "m: {op: slerp, a: a, b: b, t: 0.3}", 1e-3, 1),
    Case("ties 0.5", "d: {op: ties, base: base, inputs: [a, b], density: 0.5}\nm: base + 1.0*d", 1e-4, None),
    Case("ties 0.5, scope: model",
         "d: {op: ties, base: base, inputs: [a, b], density: 0.5, scope: model}\nm: base + 1.0*d", 1e-4, None),
    Case("dare 0.5, 2 deltas",
         "x: {op: dare, base: base, input: a, density: 0.5}\ny: {op: dare, base: base, input: b, density: 0.5}\n"
         "m: {op: sum, inputs: [base, x, y]}", 1e-4, None),
    Case("della 0.5", "x: {op: della, base: base, input: a, density: 0.5}\nm: {op: sum, inputs: [base, x]}",
         1e-4, None, is_slow=True),
    Case("tsv", "d: {op: tsv, base: base, inputs: [a, b]}\nm: base + 0.5*d", 1e-3, 1, is_slow=True),
)  # fmt: skip


@dataclass
class Run:
    """What the script has found: whether all held, and until when it may work."""

    folder: Path
    deadline: float
    device: str
    failures: list[str]

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def fail(self, what: str) -> None:
        self.failures.append(what)


def say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    run = Run(options.folder, time.monotonic() + 60 * options.minutes, options.device, [])
    run.folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as known:
            _make_importable(Path(known))
            say(f"# mergegraph on {_device_name(options.device)}, torch {torch.__version__}, {os.cpu_count()} CPUs\n")
            for part in _parts(options, run):
                _surviving(run, part)
    finally:
        shutil.rmtree(run.folder, ignore_errors=True)
    say(f"\n{'All held.' if not run.failures else 'Did not hold: ' + '; '.join(run.failures)}")
    return 1 if run.failures else 0


def _parts(options: argparse.Namespace, run: Run) -> Iterator[Callable[[], None]]:
    if options.device != "cpu":
        yield lambda: _show_device_ceilings(run)
    yield lambda: _show_file_ceilings(run)
    if not options.no_tests:
        yield lambda: _run_tests(run)
    for shape in options.shapes.split(","):
        yield lambda shape=shape: _show_merges(run, shape)


def _surviving(run: Run, part: Callable[[], None]) -> None:
    """A part that fails is said, and the next begins."""
    try:
        part()
    except Exception as error:
        run.fail(f"{type(error).__name__}: {error}")
        say(f"\n**{type(error).__name__}: {error}**\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Merges on a CUDA device, measured and compared with the processor's.")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/device-check"))
    parser.add_argument("--shapes", default="0.1b,1.1b", help="shapes of make_inputs.py, smallest first")
    parser.add_argument("--device", default="cuda", help="what is compared with the processor")
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--no-tests", action="store_true", help="leave the tests of the staging out")
    return parser.parse_args(arguments)


def _make_importable(folder: Path) -> None:
    """Children find the clone, and a version for a package that nobody installed."""
    facts = folder / "mergegraph-0.1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: mergegraph\nVersion: 0.1.0\n")
    places = [str(REPOSITORY), str(REPOSITORY / "tui"), os.environ.get("PYTHONPATH", ""), str(folder)]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    os.environ["PYTHONUNBUFFERED"] = "1"


def _device_name(device: str) -> str:
    return device if device == "cpu" or not torch.cuda.is_available() else torch.cuda.get_device_name(0)


def _show_device_ceilings(run: Run) -> None:
    """GB/s, medians of 5 after a warm-up, by CUDA events."""
    device = torch.device(run.device if ":" in run.device else f"{run.device}:0")
    one = torch.randint(0, 255, (_COPY_BYTES,), dtype=torch.uint8, device=device)
    other = torch.empty_like(one)
    here = torch.empty(_PINNED_BYTES, dtype=torch.uint8).pin_memory()
    back = torch.empty(_PINNED_BYTES, dtype=torch.uint8).pin_memory()
    there, two = one[:_PINNED_BYTES], other[:_PINNED_BYTES]
    lanes = [torch.cuda.Stream(device), torch.cuda.Stream(device)]

    def both() -> None:
        for lane, into, source in ((lanes[0], there, here), (lanes[1], back, two)):
            lane.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(lane):
                into.copy_(source, non_blocking=True)
        for lane in lanes:
            torch.cuda.current_stream(device).wait_stream(lane)

    rows = [
        ("device to device, read + written", 2 * _COPY_BYTES, lambda: other.copy_(one)),
        ("host to device, pinned", _PINNED_BYTES, lambda: there.copy_(here, non_blocking=True)),
        ("device to host, pinned", _PINNED_BYTES, lambda: back.copy_(two, non_blocking=True)),
        ("both at once, sum", 2 * _PINNED_BYTES, both),
    ]
    shown = [(name, f"{nbytes / GB / _event_seconds(work, device):.1f}") for name, nbytes, work in rows]
    say(f"{table(('ceiling', 'GB/s'), shown)}\n")


def _event_seconds(work: Callable[[], Any], device: torch.device) -> float:
    taken: list[float] = []
    for _ in range(6):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize(device)
        taken.append(begin.elapsed_time(end) / 1000)
    return sorted(taken[1:])[2]


def _show_file_ceilings(run: Run) -> None:
    """Files of the folder in pieces of 4 MiB by four threads: written to room that is laid out, then read warm."""
    path = run.folder / "ceiling"
    piece = memoryview(bytearray(os.urandom(1 << 20) * 4))
    starts = range(0, _FILE_BYTES, len(piece))
    with path.open("w+b") as file, ThreadPoolExecutor(4) as pool:
        os.posix_fallocate(file.fileno(), 0, _FILE_BYTES)
        seconds = {"written": 0.0, "read": 0.0}
        for what, act in (
            ("written", lambda start: os.pwrite(file.fileno(), piece, start)),
            ("read", lambda start: os.preadv(file.fileno(), [bytearray(len(piece))], start)),
        ):
            began = time.perf_counter()
            _ = list(pool.map(act, starts))
            seconds[what] = time.perf_counter() - began
    path.unlink()
    rows = [(f"{run.folder}, {what}", f"{_FILE_BYTES / GB / taken:.1f}") for what, taken in seconds.items()]
    say(f"{table(('ceiling', 'GB/s'), rows)}\n")


def _run_tests(run: Run) -> None:
    """The tests of tiles and of the ring, which also run on the device where there is one."""
    files = ("tests/execute/test_device_tile.py", "tests/execute/test_cuda_staging.py")
    # Warnings of another version of torch are no failures here.
    command = [sys.executable, "-m", "pytest", "-k", "cuda", "--maxfail", "20", "-n", "0", "-W", "default", *files]
    try:
        ended = subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, text=True, timeout=min(150, run.seconds_left), check=False
        )
        last, code = (ended.stdout.strip().splitlines() or ["nothing was printed"])[-1], ended.returncode
        output = ended.stdout + ended.stderr
    except subprocess.TimeoutExpired as error:
        last, code, output = "did not end in time", 1, str(error.stdout or "")
    say(f"tests of the staging: {last}\n")
    if code:
        run.fail("tests of the staging")
        say("\n".join(output.splitlines()[-60:]))


def _show_merges(run: Run, shape: str) -> None:
    cases = [case for case in CASES if not (case.is_slow and shape == _LARGE)]
    if run.seconds_left < _LEFT_FOR_A_CASE.get(shape, 10.0):
        say(f"{shape}: left out, the time is over\n")
        return
    began = time.monotonic()
    made = subprocess.run(
        [sys.executable, "benchmarks/make_inputs.py", str(run.folder / shape), "--shape", shape, "--fine-tunes", "2"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        raise RuntimeError(made.stderr.strip().splitlines()[-1])
    say(f"## {shape} (inputs made in {time.monotonic() - began:.0f} s)\n")
    say(f"| {' | '.join(_HEAD)} |\n|{' --- |' * len(_HEAD)}")
    for case in cases:
        if run.seconds_left < _LEFT_FOR_A_CASE.get(shape, 10.0):
            say(f"| {case.name} | left out, the time is over {'| ' * (len(_HEAD) - 2)}|")
            continue
        try:
            _show_case(run, shape, case)
        except Exception as error:
            run.fail(f"{shape} {case.name}")
            say(f"| {case.name} | **{type(error).__name__}: {error}** {'| ' * (len(_HEAD) - 2)}|")
    shutil.rmtree(run.folder / shape)


_HEAD: Final = (
    "case", "device", "wall s", "run s", "GB/s", "VmHWM MiB", "reserved + budget", "on device MiB", "device budget",
    "tensors there", "differ", "max ulp", "holds",
)  # fmt: skip


def _show_case(run: Run, shape: str, case: Case) -> None:
    folder = run.folder / shape
    outputs: dict[str, Path] = {}
    rows: list[list[str]] = []
    for device in dict.fromkeys(("cpu", run.device)):
        outputs[device] = folder / f"out-{device.replace(':', '-')}"
        recipe = folder / "recipe.yaml"
        recipe.write_text(_recipe(case))
        ended = _merge(recipe, outputs[device], device)
        if ended.exit_code:
            print("\n".join(ended.stderr.splitlines()[-60:]), file=sys.stderr, flush=True)
            raise RuntimeError(f"{device}: {(ended.stderr.strip() or 'no output').splitlines()[0]}")
        rows.append(_measured(case, device, ended))
    differing, ulps = difference(outputs["cpu"], outputs[run.device])
    holds = differing <= case.share and (case.ulps is None or ulps <= case.ulps)
    if not holds:
        run.fail(f"{shape} {case.name}: {differing:.2e} of the elements differ, by up to {ulps} ulp")
    rows[-1] += [f"{differing:.1e} (at most {case.share:g})", str(ulps), "yes" if holds else "**no**"]
    for row in rows:
        say(f"| {' | '.join([*row, *[''] * (len(_HEAD) - len(row))])} |")
    for output in outputs.values():
        shutil.rmtree(output, ignore_errors=True)


def _merge(recipe: Path, output: Path, device: str) -> Finished:
    """`mergegraph run` as a child that ends with the stacks of its threads where it does not end by itself."""
    code = (
        f"import faulthandler, runpy, sys; faulthandler.dump_traceback_later({_LONGEST_CASE}, exit=True); "
        "runpy.run_module('mergegraph', run_name='__main__', alter_sys=True)"
    )
    options = ["--device", device, "--no-sync", "--json", "--quiet", "--overwrite"]
    return run_child([sys.executable, "-c", code, "run", str(recipe), "-o", str(output), *options])


def _recipe(case: Case) -> str:
    loads = {"base": "base", "a": "tune-0", "b": "tune-1"}
    nodes = [f"{name}: {{op: load, model: ./{model}}}" for name, model in loads.items() if _names(case.nodes, name)]
    lines = [*nodes, *case.nodes.split("\n"), "out: {op: save, input: m, path: out}"]
    return "mergegraph: 1\nname: checked\nnodes:\n" + "".join(f"  {line}\n" for line in lines)


def _names(nodes: str, name: str) -> bool:
    words = "".join(letter if letter.isalnum() or letter == "_" else " " for letter in nodes).split()
    return name in words


def _measured(case: Case, device: str, ended: Finished) -> list[str]:
    report = ended.done_report()
    moved = report["read_bytes"] + report["write_bytes"]
    allowed = report["reserved_bytes"] + report["budget_bytes"]
    there = report["device"]
    return [
        case.name, device, f"{ended.wall_seconds:.1f}", f"{report['seconds']:.2f}",
        f"{moved / GB / report['seconds']:.1f}", f"{ended.peak_bytes / MIB:.0f}",
        f"{allowed / MIB:.0f}{'' if ended.peak_bytes <= allowed else ' (beyond)'}",
        f"{there['measured_bytes'] / MIB:.0f}" if there["tensors"] else "",
        f"{there['budget_bytes'] / MIB:.0f}" if there["tensors"] else "",
        f"{there['tensors']} of {report['computed']}" if there["tensors"] else "",
    ]  # fmt: skip


def difference(one: Path, other: Path) -> tuple[float, int]:
    """(the share of the bf16 elements that differ, by how many steps of bf16 at most) between two outputs."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    differing = elements = furthest = 0
    for path in sorted(one.glob("*.safetensors")):
        for mine, theirs in zip(_chunks(path), _chunks(other / path.name), strict=True):
            steps = (_ordered(mine.to(device)) - _ordered(theirs.to(device))).abs_()
            differing += int(steps.count_nonzero())
            elements += steps.numel()
            furthest = max(furthest, int(steps.max()) if steps.numel() else 0)
    if not elements:
        raise RuntimeError(f"{one} holds no tensors")
    return differing / elements, furthest


def _chunks(path: Path, chunk_bytes: int = 64 << 20) -> Iterator[torch.Tensor]:
    """The bytes behind the header as int16, piece by piece."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        file.seek(8 + length)
        while content := bytearray(file.read(chunk_bytes)):
            yield torch.frombuffer(content, dtype=torch.int16)


def _ordered(bits: torch.Tensor) -> torch.Tensor:
    """Integers that are ordered as the bf16 numbers are; both zeros are 0."""
    wide = bits.to(torch.int32)
    return torch.where(wide < 0, -(wide & 0x7FFF), wide)


if __name__ == "__main__":
    sys.exit(main())
