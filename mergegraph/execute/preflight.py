"""What is refused before anything is created: outputs that exist, a disk that cannot hold them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mergegraph.errors import DoesNotFit, OutputError, Problem
from mergegraph.plan.plan import Output
from mergegraph.tensors.disk import allocated_bytes, free_bytes
from mergegraph.tensors.writer import completed_result_id
from mergegraph.units import format_bytes


def finished_outputs(outputs: Sequence[Output], ids: Mapping[str, str]) -> tuple[str, ...]:
    """The saves whose result already stands at its path, whole: the same id, and every file of its full length."""
    return tuple(
        output.node
        for output in outputs
        if completed_result_id(output.path) == ids[output.node]
        and all(_length(output.path / file.name) == file.file_bytes for file in output.layout.files)
    )


def refuse_existing(outputs: Sequence[Output]) -> None:
    """OutputError for every path that is taken."""
    existing = [output for output in outputs if output.path.exists()]
    if existing:
        raise OutputError(*map(_exists, existing))


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


def _exists(output: Output) -> Problem:
    return Problem(
        f"The output exists: {output.path}",
        at=output.at,
        node=output.node,
        why="it is another result, and an output is never replaced unasked",
        fix="--overwrite, or another path with -o",
    )


def _length(path: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    return path.stat().st_size if path.is_file() else -1


def _device(output: Output) -> int:
    folder = output.path.parent
    while not folder.exists():
        folder = folder.parent
    return folder.stat().st_dev
