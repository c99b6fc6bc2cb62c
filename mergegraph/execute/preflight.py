"""What is refused before anything is created: outputs that exist, a disk that cannot hold them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mergegraph.errors import DoesNotFit, OutputError, Problem
from mergegraph.plan.plan import Output
from mergegraph.tensors.completed import completed
from mergegraph.tensors.disk import allocated_bytes, free_bytes, moved_aside
from mergegraph.units import format_bytes, format_count


def finished_outputs(
    outputs: Sequence[Output], ids: Mapping[str, str], *, allow_non_finite: bool = False
) -> tuple[str, ...]:
    """The saves whose result already stands at its path: the same id, every file of its full length, and no NaN or
    Inf that this run would have refused to write."""
    return tuple(
        output.node
        for output in outputs
        if (there := completed(output.path)) is not None
        and there.result_id == ids[output.node]
        and (allow_non_finite or not there.nonfinite)
        and all(_length(output.path / file.name) == file.file_bytes for file in output.layout.files)
    )


def refuse_existing(outputs: Sequence[Output], ids: Mapping[str, str], *, allow_non_finite: bool = False) -> None:
    """OutputError for every path that is taken."""
    existing = [output for output in outputs if output.path.exists()]
    if existing:
        raise OutputError(*[_taken(output, ids[output.node], allow_non_finite) for output in existing])


def left_behind(outputs: Sequence[Output]) -> list[Problem]:
    """Warnings that name what runs with --overwrite replaced and were stopped before they could delete it."""
    return [
        Problem(
            f"{old} is left of what was at {output.path}.",
            at=output.at,
            node=output.node,
            why="a run with --overwrite replaced it, and was stopped before it could delete it",
            fix=f"rm -r {old}",
            severity="warning",
        )
        for output in outputs
        for old in (*moved_aside(output.path), *_exchanged(output.path))
    ]


def _exchanged(final: Path) -> list[Path]:
    """The old folder under the new one's name, where a run was stopped right between the two renamings."""
    partial = final.with_name(f"{final.name}.partial")
    return [partial] if final.exists() and partial.is_dir() and not (partial / "lock").exists() else []


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


def _taken(output: Output, result_id: str, allow_non_finite: bool) -> Problem:
    there = completed(output.path)
    if there is not None and there.result_id == result_id and there.nonfinite and not allow_non_finite:
        count = sum(there.nonfinite.values())
        values = "1 value that is" if count == 1 else f"{format_count(count, 'value')} that are"
        return Problem(
            f"The output exists and holds {values} not finite: {output.path}",
            at=output.at,
            node=output.node,
            tensor=next(iter(there.nonfinite)),
            why="an earlier run with --allow-non-finite made it",
            fix="--allow-non-finite to take it as it is, or --overwrite after the inputs are mended",
        )
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
