"""`stats` on a terminal: a record as a summary, a heat map, what stands out, a table, or one tensor in full.

Everything is text: where there is no colour, shades say what colours would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mergegraph.cli.stats_tensor import show_tensor
from mergegraph.cli.stats_text import add, columns, words
from mergegraph.errors import Problem, RecipeError, did_you_mean, on_one_line
from mergegraph.stats.advice import advice
from mergegraph.stats.compare import Comparison, Difference
from mergegraph.stats.hints import Strengths, hints
from mergegraph.stats.metrics import (
    METRICS,
    TAKEN,
    TIER_2,
    Metric,
    Missing,
    Value,
    has_spectra,
    shown,
    subjects,
    takes,
)
from mergegraph.stats.pooling import Sums, sums
from mergegraph.stats.record import Record
from mergegraph.stats.spectral import NOT_ASKED
from mergegraph.stats.standing_out import standing_out
from mergegraph.stats.summary import OUTSIDE, Grid, Overviews, by_kind, coverage, grid, whole
from mergegraph.units import format_count

SUMMARY = (
    "relative", "cosine", "sign_conflict", "weight_cosine", "asymmetry", "mass_conflict", "density_90", "trim_loss",
    "election_loss", "drop_variance", "drop_error", "retention",
    "attribution", "residual", "shrinkage", "outside_hull", "cast_loss", "rounded_away", "stable_rank",
    "leading_energy", "rank_above_rounding", "overlap_left", "overlap_right",
)  # fmt: skip
"""The metrics of the summary, in this order."""
MOST_SUBJECTS = 6
"""Of a metric in the summary; the others are told of."""
WIDE = 110
"""From this width on a heat map splits attention and mlp into their parts."""

_SHADES = " ░▒▓█"
_COLOURS = ("#22304a", "#2d5070", "#3b7290", "#5b95a6", "#90b8b6", "#d3d9c4")
"""Dark to light, in even steps of lightness."""


def show_record(
    console: Console,
    record: Record,
    *,
    metric: str = "",
    tensor: str = "",
    sort: str = "",
    limit: int = 20,
    strengths: Strengths | None = None,
    table: Grid | None = None,
) -> None:
    """The summary, what stands out, advice and the heat map of `metric`; only the table with `sort`, only one tensor
    with `tensor`. `table`: the record's, where it is known. RecipeError for a name that is none."""
    if tensor:
        show_tensor(console, record, _named(tensor, [t.name for t in record.tensors], "tensor", "tensors"))
        return
    by = METRICS[_named(metric or sort or default_metric(record), METRICS, "metric", "metrics")]
    if sort:
        show_table(console, record, by, limit)
        return
    table = table or grid(record)
    overviews = Overviews(record, table.total)
    show_summary(console, record, table.total, overviews)
    show_heat_map(console, record, by, table)
    show_standing_out(console, record, limit, overviews)
    show_advice(console, record, strengths, table, overviews)


def known_metric(name: str) -> None:
    """RecipeError where there is no such metric."""
    if name:
        _named(name, METRICS, "metric", "metrics")


def default_metric(record: Record) -> str:
    """What a heat map shows unless something is asked for."""
    return "relative" if record.base else "cosine" if len(record.sources) > 1 else "norm"


def show_summary(
    console: Console, record: Record, both: Sums | None = None, overviews: Overviews | None = None
) -> None:
    """`both` and `overviews`: of the record, where they are known."""
    both = both or sums(record.tensors)
    total = both.all
    _heading(console, f"{record.result or 'models'}: {', '.join(record.sources)}" + _against(record))
    for line in coverage(record):
        console.print(words(line, "dim"))
    if total is None:
        return
    table = columns(("metric", "of", "whole", "lowest", "highest", "by noise"))
    overviews = overviews or Overviews(record, both)
    for name in SUMMARY:
        metric = METRICS[name]
        every = subjects(metric, record)
        for number, subject in enumerate(every[:MOST_SUBJECTS]):
            lowest, highest = overviews.extremes(metric, subject)
            floor = metric.floor(total, subject)
            noise = (
                "" if floor is None else f"{shown(floor.expected, metric.unit)} ± {shown(floor.spread, metric.unit)}"
            )
            numbers = (shown(each, metric.unit) for each in (overviews.pooled(metric, subject), lowest, highest))
            add(table, "" if number else metric.label, subject.label, *numbers, noise)
        if len(every) > MOST_SUBJECTS:
            add(table, "", f"and {len(every) - MOST_SUBJECTS} more", "", "", "", "")
    console.print(table)


def show_heat_map(console: Console, record: Record, metric: Metric, table: Grid | None = None) -> None:
    """Layers down, kinds across: one map for each source, pair or the result. `table`: the record's, where known."""
    table = table or grid(record)
    table_of, total = table if console.width >= WIDE else by_kind(table), table.total.all
    every = subjects(metric, record)
    if not every:
        console.print()
        console.print(words(f"{metric.label}: {why_none(metric, record)}", "dim"))
    for subject in every[:MOST_SUBJECTS] if not record.result or metric.per != "change" else every[-1:]:
        _heading(console, f"{metric.label}{f' of {subject.label}' if subject.label else ''}   {metric.formula}")
        values = {
            (row, column): metric.value(tensor, subject, total)
            for row in table_of.rows
            for column in table_of.columns
            if (cell := table_of.cells.get((row, column))) is not None and (tensor := cell.asked(metric)) is not None
        }
        numbers = [value for value in values.values() if not isinstance(value, Missing)]
        if not numbers:
            console.print(words(f"no value: {_reason(list(values.values()))}", "dim"))
            continue
        _print_map(console, table_of.rows, table_of.columns, values, metric)
        console.print(Text(f"{_legend(console, numbers, metric)}   {metric.reading}", "dim"))
        if metric.name in TIER_2 and console.width < WIDE:
            console.print(Text(f"Cells of several matrices have no value; from {WIDE} columns on each has one.", "dim"))


def _print_map(
    console: Console,
    rows: Sequence[str],
    columns: Sequence[str],
    values: dict[tuple[str, str], Value],
    metric: Metric,
) -> None:
    shade = _steps([value for value in values.values() if not isinstance(value, Missing)], len(_COLOURS))
    table = Table(box=None, pad_edge=False, padding=0, collapse_padding=True)
    table.add_column("layer  ", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(words(column), justify="right", min_width=max(8, len(column) + 1))
    for row in rows:
        cells = [_cell(console, values.get((row, column)), metric, shade) for column in columns]
        table.add_row(words(f"{'none' if row == OUTSIDE else row}  "), *cells)
    console.print(table)


def _cell(console: Console, value: Value | None, metric: Metric, shade: Callable[[float], int]) -> Text:
    if value is None:
        return Text("")
    text = shown(value, metric.unit)
    if isinstance(value, Missing):
        return Text(f"{text} ")
    step = shade(value)
    if console.color_system is None:
        return Text(f" {text}{_SHADES[step * (len(_SHADES) - 1) // (len(_COLOURS) - 1)]}")
    return Text(f" {text} ", f"{'white' if step < 3 else 'black'} on {_COLOURS[step]}")


def _steps(numbers: Sequence[float], steps: int) -> Callable[[float], int]:
    """Even steps from the lowest to the highest."""
    low, high = min(numbers), max(numbers)
    return lambda value: min(int((value - low) / (high - low) * steps), steps - 1) if high > low else 0


def _legend(console: Console, numbers: Sequence[float], metric: Metric) -> str:
    scale = "dark to light" if console.color_system is not None else "blank to █"
    return f"{scale}: {shown(min(numbers), metric.unit)} to {shown(max(numbers), metric.unit)}"


def show_standing_out(console: Console, record: Record, limit: int, overviews: Overviews | None = None) -> None:
    _heading(console, "Tensors that stand out")
    found = standing_out(record, overviews)
    if not found:
        console.print("none")
    for each in found[:limit]:
        console.print(Text.assemble((_plain(each.tensor.name), "bold"), f"  {each.rule}"))
        console.print(Text(f"    {_plain(each.says)}"))
        console.print(Text(f"    {each.why}", "dim"))
    if len(found) > limit:
        console.print(Text(f"and {len(found) - limit} more", "dim"))


def show_advice(
    console: Console,
    record: Record,
    strengths: Strengths | None = None,
    table: Grid | None = None,
    overviews: Overviews | None = None,
) -> None:
    """Nothing is printed where there is nothing to say."""
    table = table or grid(record)
    evidence, habits = advice(record, table, overviews), hints(record, strengths, table.total.all)
    if evidence:
        _heading(console, "Evidence (it says where to look; it does not predict quality)")
    for each in evidence:
        console.print(Text.assemble((each.topic, "bold"), f"  {_plain(each.says)}"))
        for label, text in (("noise", each.noise), ("people", each.people)):
            console.print(Text(f"    {label}: {_plain(text)}", "dim"))
        for line in each.details:
            console.print(Text(f"    {_plain(line)}"))
    for hint in habits:
        console.print(Text(f"hint: {_plain(hint.says)}. {hint.habit}"))


def show_table(console: Console, record: Record, metric: Metric, limit: int) -> None:
    """Tensors by `metric`, the highest first, with all it has values for beside each other."""
    total, every = whole(record), subjects(metric, record)[:MOST_SUBJECTS]
    if not every:
        console.print(words(f"{metric.label}: {why_none(metric, record)}", "dim"))
        return
    rows = [(t, [metric.value(t, subject, total) for subject in every]) for t in record.tensors]
    rows.sort(key=lambda row: -max((v for v in row[1] if not isinstance(v, Missing)), default=float("-inf")))
    _heading(console, f"{metric.label}   {metric.formula}")
    table = columns(("tensor", *(subject.label or "value" for subject in every)))
    for tensor, values in rows[:limit]:
        add(table, tensor.name, *(shown(value, metric.unit) for value in values))
    console.print(table)
    if len(rows) > limit:
        console.print(Text(f"and {len(rows) - limit} more", "dim"))


def show_comparison(console: Console, comparison: Comparison, *, metric: str = "", limit: int = 10) -> None:
    """The whole model metric by metric, then the tensors that differ most, by `metric` where one is asked for."""
    for line in _comparison_notes(comparison):
        console.print(words(line, "dim"))
    wanted = [_named(metric, METRICS, "metric", "metrics")] if metric else list(SUMMARY)
    _heading(console, "Whole model")
    console.print(_differences([d for d in comparison.whole if d.metric.name in wanted]))
    for by in [METRICS[metric]] if metric else [each for each in METRICS.values() if each.name in SUMMARY]:
        if tensors := comparison.tensors(by):
            _heading(console, f"Tensors that differ most in {by.label}")
            console.print(_differences(tensors[:limit]))
            return


def _differences(differences: Sequence[Difference]) -> Table:
    table = columns(("what", "of", "first", "second", "difference"))
    for each in differences:
        unit, moved = each.metric.unit, each.difference
        moved_text = "–" if moved is None else ("+" if moved > 0 else "") + shown(moved, unit)
        what = each.tensor or each.metric.label
        add(table, what, each.subject, shown(each.a, unit), shown(each.b, unit), moved_text)
    return table


def _comparison_notes(comparison: Comparison) -> Iterator[str]:
    yield from comparison.notes
    for names, which in ((comparison.only_a, "first"), (comparison.only_b, "second")):
        if names:
            shown_names = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            yield f"only in the {which}: {format_count(len(names), 'tensor')} ({shown_names})"


def why_none(metric: Metric, record: Record) -> str:
    """Why a metric has nothing to be about in this record."""
    if metric.name in TIER_2 and not has_spectra(record):
        return f"no value: {NOT_ASKED}, `--tier 2` finds it"
    if metric.name in TAKEN and not takes(record, metric):
        return f"no value: the recipe has no {TAKEN[metric.name]}"
    if len(record.sources) < 2 and metric.per not in ("change", "source"):
        return "no value: it needs two sources" if record.result else "no value: it needs a result or two sources"
    return "no value: it needs a base" if not record.base else "no value: nothing is made"


def _reason(values: Sequence[Value]) -> str:
    return next((value.reason for value in values if isinstance(value, Missing)), "no tensor was looked at")


def _against(record: Record) -> str:
    return f" against {record.base}" if record.base else ", without a base"


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(words(text, "bold"))


def _plain(text: str) -> str:
    """One line that no terminal obeys."""
    return on_one_line(text)


def _named(name: str, known: Iterable[str], one: str, many: str) -> str:
    names = list(known)
    if name not in names:
        raise RecipeError(Problem(f'There is no {one} "{name}".', fix=did_you_mean(name, names, many)))
    return name
