"""`watch`: the bar of a run that lives in another process, and its end. The run does not notice."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import typer

from mergegraph.cli.progress import Bar
from mergegraph.cli.terminal import note, say
from mergegraph.errors import Interrupted, OutputError, Problem, RecipeError, RunError
from mergegraph.runs.ending import Done, End, Failed, Lost, Stopped
from mergegraph.runs.following import RegisteredRun, Run, find, living, partial_of
from mergegraph.units import format_bytes, format_count, format_seconds

_POLL_SECONDS = 0.1


def watch(output: Path | None) -> None:
    """Until the run ends; then as its own command would end, as far as that is known."""
    run = _only_one() if output is None else _of(output)
    try:
        _follow(run)
    except KeyboardInterrupt:
        raise _let_alone(run) from None
    end = run.end()
    assert end is not None, "a run that ended has an end"
    _show_end(run, end)


def _follow(run: Run) -> None:
    with ExitStack() as stack:
        bar = stack.enter_context(Bar()) if sys.stderr.isatty() else None
        while run.is_alive():
            progress = run.progress()
            if bar is not None and progress is not None:
                bar.show(progress, progress.resident_bytes)
            time.sleep(_POLL_SECONDS)


def _of(output: Path) -> Run:
    run = find(output)
    if run is None:
        partial = partial_of(output)
        kept = partial.is_dir()
        raise OutputError(
            Problem(
                f"No run is writing {output}.",
                why=f"{partial} is what a stopped run has left" if kept else "none is known that did",
                fix=f"mergegraph info {shlex.quote(str(partial))}" if kept else "mergegraph watch",
            )
        )
    return run


def _only_one() -> Run:
    runs = living()
    if not runs:
        raise RecipeError(
            Problem("No run is going on this machine.", why="a run from Python is found by its output only",
                    fix="mergegraph watch OUTPUT")
        )  # fmt: skip
    if len(runs) > 1:
        say(*map(_line, runs))
        named = next((run.outputs[0] for run in runs if run.outputs), Path("OUTPUT"))
        fix = f"mergegraph watch {shlex.quote(str(named))}"
        raise RecipeError(Problem(f"{len(runs)} runs are going, and one is watched at a time.", fix=fix))
    return runs[0]


def _line(run: RegisteredRun) -> str:
    """`/home/me/merged  merging 42 %  process 4711, for 12 s`."""
    progress = run.progress()
    where = ", ".join(map(str, run.outputs)) or shlex.join(run.arguments)
    total = progress.bytes_total if progress is not None else 0
    share = f" {100 * progress.bytes_done // total} %" if progress is not None and total else ""
    state = progress.state if progress is not None else "starting"
    return f"{where}  {state}{share}  process {run.pid}, for {format_seconds(max(time.time() - run.began, 0.0))}"


def _let_alone(run: Run) -> Interrupted:
    named = shlex.quote(str(run.outputs[0])) if run.outputs else ""
    again = f"mergegraph watch {named}".rstrip()
    return Interrupted(
        Problem(
            "Watching ended; the run goes on." if run.is_alive() else "Watching ended, and so has the run.",
            why=f"it is process {run.pid}",
            fix=f"{again} to watch it again, kill -INT {run.pid} to stop it and keep what is done",
        )
    )


def _show_end(run: Run, end: End) -> None:
    match end:
        case Done(report=report):
            say(*_summary(run, report))
        case Failed(problems=problems) | Stopped(problems=problems):
            for problem in problems or (Problem("The run was stopped.", fix="run the same command again to go on"),):
                note(str(problem))
            raise typer.Exit(end.exit_code)
        case Lost(said=said):
            why = f"the last it said: {said.strip()}" if said.strip() else "killed, say; what its journal has is kept"
            raise RunError(Problem("The run ended without a word.", why=why, fix="run the same command again to go on"))


def _summary(run: Run, report: Mapping[str, object]) -> Iterator[str]:
    outputs = report.get("outputs")
    if not isinstance(outputs, list):
        yield from (f"{path}  complete" for path in run.outputs)
        return
    for output in cast("list[dict[str, object]]", outputs):
        size, files = (_number(output, name) for name in ("bytes", "files"))
        yield f"{output['node']} -> {output['path']}  {format_bytes(int(size))} in {format_count(int(files), 'file')}"
    tensors, computed, copied = (int(_number(report, name)) for name in ("tensors", "computed", "copied"))
    yield (
        f"  {format_count(tensors, 'tensor')}: {computed:,} computed, {copied:,} copied"
        f"; {format_seconds(_number(report, 'seconds'))}"
    )


def _number(said: Mapping[str, object], name: str) -> float:
    value = said.get(name)
    return value if isinstance(value, int | float) else 0
