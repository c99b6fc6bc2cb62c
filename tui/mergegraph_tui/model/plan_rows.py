"""What the plan dialog says, as rows of (text, style). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mergegraph.errors import Problem
from mergegraph.units import format_bytes, format_count
from mergegraph_tui.model.files import from_home
from mergegraph_tui.model.planned import Planned, PlannedOutput
from mergegraph_tui.model.preparing import Prepared, is_in_the_way, standing_text
from mergegraph_tui.model.rail import Part
from mergegraph_tui.model.steps import Steps

Row = Sequence[Part]


def order_columns(planned: Planned) -> dict[str, Row]:
    """What the rail says of each node: what it reads, and whether that is needed at all."""
    columns: dict[str, Row] = {row.name: [(", ".join(row.inputs), "detail")] for row in planned.nodes}
    return {**columns, **{name: [("cancels out: not read", "warning")] for name in planned.unread}}


def step_rows(steps: Steps | None, *, ascii_only: bool = False) -> list[Row]:
    """What one tile goes through, and the memory that holds something at each step."""
    if steps is None:
        return [[("nothing is computed", "detail")]]
    passes = max((row.pass_number for row in steps.rows), default=1)
    width = max((len(row.text) for row in steps.rows), default=0)
    rows: list[Row] = [
        [(f"a tile of {steps.tile_elements:,} elements of {steps.tensor}", "detail")],
    ]
    for row in steps.rows:
        number = f"{row.pass_number}  " if passes > 1 else ""
        peak = "  < peak" if ascii_only else "  ◀ peak"
        held = [(f"{number}{row.text.ljust(width)}  ", "name"), (f"{format_bytes(row.held_bytes):>10}", "detail")]
        rows.append([*held, (peak, "cursor")] if row.is_peak else held)
    return rows


def fact_rows(planned: Planned) -> Iterator[Row]:
    """Memory, bytes, and each output with its disk and what is there."""
    tiles = f"{planned.workers} x {format_bytes(planned.tile_set_bytes)} of tiles"
    style = "name" if planned.fits_budget else "error"
    yield [
        ("memory  ", "detail"),
        (f"{tiles}, {format_bytes(planned.pool_bytes)} in all, of {format_bytes(planned.budget_bytes)} budget", style),
    ]
    passes = f" in {format_count(planned.passes, 'pass')}".replace("passs", "passes") if planned.passes > 1 else ""
    bytes_said = f"reads {format_bytes(planned.read_bytes)}{passes}, writes {format_bytes(planned.write_bytes)}"
    yield [("bytes   ", "detail"), (bytes_said, "name")]
    for output in planned.outputs:
        yield from _output_rows(output)


def _output_rows(output: PlannedOutput) -> Iterator[Row]:
    copied = f", {output.copied:,} copied" if output.copied else ""
    counted = f"{format_count(output.tensors, 'tensor')}{copied} in {format_count(output.files, 'file')}"
    yield [(f"{output.node:<7} ", "detail"), (from_home(output.path), "name"), (f"   {counted}", "detail")]
    disk = f"{format_bytes(output.write_bytes)} needed, {format_bytes(output.disk_free_bytes)} free on the disk"
    yield [("        ", ""), (disk, "detail" if output.fits else "error")]
    yield [("        ", ""), (standing_text(output), "warning" if is_in_the_way(output) else "done")]


def problem_rows(problems: Sequence[Problem], *, ascii_only: bool = False) -> Iterator[Row]:
    """Each with its mark, where it is and the way out."""
    marks = {"error": "x" if ascii_only else "✗", "warning": "!" if ascii_only else "▲"}
    for problem in problems:
        yield [(f"{marks[problem.severity]} ", problem.severity), (problem.fact, "name")]
        for label, text in (("where", problem.where), ("why", problem.why), ("fix", problem.fix)):
            for line in text.splitlines():
                yield [(f"  {label:<6} ", "detail"), (line, "")]


def decision_row(prepared: Prepared) -> Row:
    """What can be done now."""
    if prepared.may_go_on:
        return [("ready", "done")]
    if prepared.may_begin_anew:
        return [("in the way: begin from the beginning to replace it, or change the path", "warning")]
    return [("it cannot be started like this", "error")]
