"""`stats` on a terminal: a record as a summary, a heat map, what stands out, a table, or one tensor in full.

Everything is text: where there is no colour, shades say what colours would.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from mergegraph.cli.stats_maps import show_heat_map
from mergegraph.cli.stats_tables import show_table
from mergegraph.cli.stats_tensor import show_tensor
from mergegraph.cli.stats_text import add, columns, dim, heading, known
from mergegraph.errors import on_one_line
from mergegraph.stats.advice import advice
from mergegraph.stats.hints import Strengths, hints
from mergegraph.stats.metrics import METRICS, SUMMARY, left_out_words, shown, some_subjects
from mergegraph.stats.pooling import Sums, sums
from mergegraph.stats.record import Record
from mergegraph.stats.standing_out import standing_out
from mergegraph.stats.summary import Grid, Overviews, coverage, grid

MOST_SUBJECTS = 6
"""Of a metric in the summary; the others are told of."""


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
        show_tensor(console, record, known(tensor, [t.name for t in record.tensors], "tensor", "tensors"))
        return
    by = METRICS[known(metric or sort or default_metric(record), METRICS, "metric", "metrics")]
    if sort:
        show_table(console, record, by, limit)
        return
    table = table or grid(record)
    overviews = Overviews(record, table.total)
    show_summary(console, record, table.total, overviews)
    show_heat_map(console, record, by, table)
    show_standing_out(console, record, limit, overviews)
    show_advice(console, record, strengths, table, overviews)


def default_metric(record: Record) -> str:
    """What a heat map shows unless something is asked for. Without a base it is whether there could be one: the cosine
    of matrices alone, since norms near 1 are parallel in any two models."""
    return "relative" if record.base else "weight_cosine" if len(record.sources) > 1 else "norm"


def show_summary(
    console: Console, record: Record, both: Sums | None = None, overviews: Overviews | None = None
) -> None:
    """`both` and `overviews`: of the record, where they are known."""
    both = both or sums(record.tensors)
    heading(console, f"{record.result or 'models'}: {', '.join(record.sources)}" + _against(record))
    for line in coverage(record):
        dim(console, line)
    if both.all is None:
        return
    table = columns(("metric", "of", "whole", "lowest", "highest", "by noise"))
    overviews = overviews or Overviews(record, both)
    for name in SUMMARY:
        metric = METRICS[name]
        chosen, left_out = some_subjects(metric, record, MOST_SUBJECTS)
        for number, subject in enumerate(chosen):
            every = (overviews.pooled(metric, subject), *overviews.extremes(metric, subject))
            numbers = (shown(each, metric.unit) for each in every)
            label = "" if number else metric.label_in(record)
            add(table, label, subject.label, *numbers, metric.noise_words(both.asked(metric), subject))
        if left_out:
            add(table, "", left_out_words(left_out), "", "", "", "")
    console.print(table)


def show_standing_out(console: Console, record: Record, limit: int, overviews: Overviews | None = None) -> None:
    heading(console, "Tensors that stand out")
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
        heading(console, "Evidence (it says where to look; it does not predict quality)")
    for each in evidence:
        console.print(Text.assemble((each.topic, "bold"), f"  {_plain(each.says)}"))
        for label, text in (("noise", each.noise), ("people", each.people)):
            console.print(Text(f"    {label}: {_plain(text)}", "dim"))
        for line in each.details:
            console.print(Text(f"    {_plain(line)}"))
    for hint in habits:
        console.print(Text(f"hint: {_plain(hint.says)}. {hint.habit}"))


def _against(record: Record) -> str:
    return f" against {record.base}" if record.base else ", without a base"


def _plain(text: str) -> str:
    """One line that no terminal obeys."""
    return on_one_line(text)
