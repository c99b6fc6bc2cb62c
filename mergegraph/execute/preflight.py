"""What is looked at before anything is created: what stopped runs have left, a disk that cannot hold all outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mergegraph.errors import DoesNotFit, Problem
from mergegraph.plan.plan import Output
from mergegraph.tensors.disk import allocated_bytes, free_bytes, moved_aside
from mergegraph.tensors.partial import LOCK
from mergegraph.units import format_bytes


def left_behind(outputs: Sequence[Output]) -> list[Problem]:
    """Warnings that name what stopped runs with --overwrite have left beside the outputs."""
    return [_left(output, old) for output in outputs for old in moved_aside(output.path)] + [
        _finished_beside(output, partial) for output in outputs for partial in _unlocked(output.path)
    ]


def _left(output: Output, old: Path) -> Problem:
    return Problem(
        f"{old} is left of what was at {output.path}.",
        at=output.at,
        node=output.node,
        why="a run with --overwrite replaced it, and was stopped before it could delete it",
        fix=f"rm -r {old}",
        severity="warning",
    )


def _finished_beside(output: Output, partial: Path) -> Problem:
    """Before the two exchange their names it is the new one, after that the old one."""
    return Problem(
        f"{partial} holds what a run with --overwrite was to put at {output.path}, or what was there before.",
        at=output.at,
        node=output.node,
        why="the run was stopped while the two exchanged their names",
        fix=f"mergegraph info {partial}\nto see which it is; then rm -r {partial}, or mv it to another name",
        severity="warning",
    )


def _unlocked(final: Path) -> list[Path]:
    """The partial folder of a run that was stopped after it let go of its lock file."""
    partial = final.with_name(f"{final.name}.partial")
    return [partial] if final.exists() and partial.is_dir() and not (partial / LOCK).exists() else []


def require_space(outputs: Sequence[Output]) -> None:
    """Several outputs on one disk must fit together, beside what their partial folders hold. DoesNotFit if not."""
    by_disk: dict[int, list[Output]] = {}
    for output in outputs:
        by_disk.setdefault(_device(output), []).append(output)
    for together in by_disk.values():
        needed = sum(output.layout.file_bytes for output in together)
        held = sum(allocated_bytes(output.path.with_name(f"{output.path.name}.partial")) for output in together)
        free = free_bytes(together[0].path) + held
        if needed > free:
            raise DoesNotFit(
                Problem(
                    f"The outputs need {format_bytes(needed)}; the disk has {format_bytes(free)} for them.",
                    at=together[0].at,
                    why=", ".join(str(output.path) for output in together),
                    fix=f"free {format_bytes(needed - free)} there, or choose another disk with `path:`",
                )
            )


def _device(output: Output) -> int:
    folder = output.path.parent
    while not folder.exists():
        folder = folder.parent
    return folder.stat().st_dev
