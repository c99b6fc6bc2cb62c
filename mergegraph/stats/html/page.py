"""A report from top to bottom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mergegraph.stats.advice import Evidence, advice
from mergegraph.stats.hints import Hint, Strengths, hints
from mergegraph.stats.html.charts import Line, by_layer
from mergegraph.stats.html.elements import prose, short, table, text
from mergegraph.stats.html.heat import data, heat_map, switch
from mergegraph.stats.html.script import SCRIPT
from mergegraph.stats.html.series import MOST_SUBJECTS, Series, all_series, left_out, line
from mergegraph.stats.html.style import stylesheet
from mergegraph.stats.html.tensors import MOST_ROWS, ROWS, Chosen, choose, in_full, linked, tensor_table
from mergegraph.stats.metrics import METRICS, Missing, has_spectra, left_out_words, shown, some_subjects, subjects
from mergegraph.stats.pooling import Sums
from mergegraph.stats.record import Record
from mergegraph.stats.spectral import NOT_ASKED
from mergegraph.stats.standing_out import StandingOut, standing_out
from mergegraph.stats.summary import OUTSIDE, Grid, Overviews, counted_share, coverage, grid
from mergegraph.units import format_count

MOST_ODD = 60
"""Tensors that stand out that are listed; the others are counted."""
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
_SECTIONS = {
    "evidence": "Evidence",
    "heat-map": "Heat map",
    "odd": "Standing out",
    "summary": "All metrics",
    "tensors": "Tensors",
    "in-full": "In full",
}
_TILES = ("relative", "asymmetry", "mass_conflict", "shrinkage", "cast_loss")


def report(record: Record, strengths: Strengths | None = None, table_of: Grid | None = None) -> str:
    """One HTML file, as text. `strengths` of the recipe make hints about it, where they are known; `table_of`: the
    record's, where it is known."""
    table_of = table_of or grid(record)
    overviews = Overviews(record, table_of.total)
    found = standing_out(record, overviews)
    title = f"{record.result or 'models'}: merge statistics"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>{text(title)}</title>'
        f"<style>{stylesheet()}</style></head><body><main>"
        + "".join(_parts(record, table_of, found, strengths, overviews))
        + "</main></body></html>\n"
    )


def _parts(
    record: Record,
    table_of: Grid,
    found: Sequence[StandingOut],
    strengths: Strengths | None,
    overviews: Overviews,
) -> Iterator[str]:
    total, chosen = table_of.total, choose(record, found)
    series = all_series(record, table_of, total)
    sections = list(_sections(record, overviews, found, strengths, table_of, chosen, series))
    yield _head(record, total, [place for place, _ in sections])
    yield from (section for _, section in sections)
    yield (
        '<p class="note">Statistics of weights say where to look. They do not predict how good a model is, and a merge '
        "holds no knowledge that none of its inputs has.</p>"
    )
    yield f'<script type="application/json" id="data">{data(table_of, series)}</script><script>{SCRIPT}</script>'


def _sections(
    record: Record,
    overviews: Overviews,
    found: Sequence[StandingOut],
    strengths: Strengths | None,
    table_of: Grid,
    chosen: Chosen,
    series: Sequence[Series],
) -> Iterator[tuple[str, str]]:
    """Place and HTML of each section there is something for."""
    total = table_of.total
    yield "evidence", _evidence(advice(record, table_of, overviews), hints(record, strengths, total.all))
    if series:
        yield "heat-map", _pictures(record, table_of, total, series)
    yield "odd", _odd(found, chosen)
    if total.all is not None:
        yield "summary", _summary(record, total, overviews)
        yield "tensors", _section("tensors", "Tensors", _note(chosen.note) + tensor_table(record, chosen, total))
        yield "in-full", _section("in-full", "Each tensor in full", in_full(record, chosen, found, total))


def _head(record: Record, total: Sums, places: Sequence[str]) -> str:
    against = f" against {text(record.base)}" if record.base else ", without a base"
    nav = "".join(f'<a href="#{place}">{_SECTIONS[place]}</a>' for place in places)
    return (
        f"<header><h1>{text(record.result or 'Models')}</h1>"
        f"<p>{text(', '.join(record.sources))}{against}</p>"
        + "".join(f'<p class="note">{text(line)}</p>' for line in coverage(record))
        + _not_looked_at(record)
        + f"<nav>{nav}</nav></header>"
        + f'<div class="tiles">{"".join(_tiles(record, total))}</div>'
    )


def _not_looked_at(record: Record) -> str:
    """All names with their reasons, to be opened; as many as the table of tensors has rows."""
    skipped = [tensor for tensor in record.tensors if tensor.skipped]
    items = "".join(f"<li>{text(each.name)}: {text(each.skipped)}</li>" for each in skipped[:ROWS])
    items += f"<li>and {len(skipped) - ROWS:,} more</li>" if len(skipped) > ROWS else ""
    words = f"Not looked at: {format_count(len(skipped), 'tensor')}"
    return f'<details class="note" id="skipped"><summary>{words}</summary><ul>{items}</ul></details>' if skipped else ""


def _tiles(record: Record, total: Sums) -> Iterator[str]:
    """A few numbers of the whole."""
    for name in _TILES:
        metric = METRICS[name]
        every = subjects(metric, record)
        if not every or total.all is None:
            continue
        subject = every[-1]
        value, floor = metric.value(total.all, subject), metric.floor(total.all, subject)
        if isinstance(value, Missing):
            continue
        spread = "" if floor is None or not floor.spread else f" ± {shown(floor.spread, metric.unit)}"
        noise = "" if floor is None else f"noise {shown(floor.expected, metric.unit)}{spread}"
        of = f" of {subject.label}" if subject.label else ""
        yield (
            f'<div class="tile" title="{text(metric.formula)}"><b>{short(value, metric.unit)}</b>'
            f"<span>{text(metric.label_in(record) + of)}</span><small>{text(noise)}</small></div>"
        )


def _evidence(evidence: Sequence[Evidence], habits: Sequence[Hint]) -> str:
    cards = "".join(
        f'<div class="card"><h3>{text(each.topic)}</h3><p>{prose(each.says)}</p>'
        + (f"<ul>{''.join(f'<li>{text(line)}</li>' for line in each.details)}</ul>" if each.details else "")
        + f'<p class="dim">Noise: {text(each.noise)}.</p><p class="dim">{prose(each.people)}</p></div>'
        for each in evidence
    )
    cards += "".join(
        f'<div class="card"><h3>hint</h3><p>{text(each.says)}</p><p class="dim">{text(each.habit)}</p></div>'
        for each in habits
    )
    return _section("evidence", "Evidence", f'<div class="evidence">{cards}</div>' if cards else "<p>None.</p>")


def _pictures(record: Record, table_of: Grid, total: Sums, series: Sequence[Series]) -> str:
    default = _default(record, series)
    note = f"Of each metric {MOST_SUBJECTS} sources or pairs are shown, and the result." if left_out(record) else ""
    body = switch(record, series, default) + heat_map(table_of, default, last_first=bool(record.result))
    if sum(row != OUTSIDE for row in table_of.rows) > 1:
        body += '<h2 style="margin-top:22px">By layer</h2>' + _lines(record, table_of, total, series, default)
    return _section("heat-map", "Layers and kinds", body + _note(note))


def _lines(record: Record, table_of: Grid, total: Sums, series: Sequence[Series], default: Series) -> str:
    """One chart a metric; only the default's is shown before the switch."""
    layers = [row for row in table_of.rows if row != OUTSIDE]
    charts: list[str] = []
    for name in dict.fromkeys(one.metric.name for one in series):
        lines: list[Line] = []
        for one in (each for each in series if each.metric.name == name):
            values = [value for _, value in line(one, table_of, total)]
            points = tuple((float(i), None if isinstance(v, Missing) else v) for i, v in enumerate(values))
            if any(y is not None for _, y in points):
                lines.append(Line(one.subject.label or "all sources", len(lines), points))
        hidden = "" if name == default.metric.name else " hidden"
        drawn = (
            by_layer(lines, layers, METRICS[name].unit, f"{METRICS[name].label_in(record)} by layer") if lines else ""
        )
        charts.append(f'<figure data-lines="{name}"{hidden}>{drawn or "<p>No value in any layer.</p>"}</figure>')
    return "".join(charts)


def _odd(found: Sequence[StandingOut], chosen: Chosen) -> str:
    items = "".join(
        f'<li>{linked(each.tensor.name, chosen)} <span class="rule">{text(each.rule)}</span><br>{text(each.says)}<br>'
        f'<span class="dim">{text(each.why)}</span></li>'
        for each in found[:MOST_ODD]
    )
    more = f"and {len(found) - MOST_ODD:,} more" if len(found) > MOST_ODD else ""
    body = f'<ul class="odd">{items}</ul>{_note(more)}' if found else "<p>None: no rule fired.</p>"
    return _section("odd", "Tensors that stand out", body)


def _summary(record: Record, total: Sums, overviews: Overviews) -> str:
    """Every metric of the whole model."""
    assert total.all is not None
    rows: list[list[str]] = []
    for metric in METRICS.values():
        chosen, others = some_subjects(metric, record, MOST_ROWS)
        for number, subject in enumerate(chosen):
            over, noise = overviews.of(metric, subject), metric.noise_words(total.asked(metric), subject)
            spread = (over.by_parameters, over.by_energy, over.lowest, over.highest)
            label = "" if number else f'<span title="{text(metric.formula)}">{text(metric.label_in(record))}</span>'
            numbers = [short(value, metric.unit) for value in spread]
            rows.append([label, text(subject.label), short(over.pooled, metric.unit), text(noise), *numbers])
        if others:
            rows.append(["", text(left_out_words(others)), *[""] * 6])
    head = ["metric", "of", "whole", "noise", "mean by parameters", "mean by energy", "lowest", "highest"]
    share = counted_share(record.tensors)
    explained = (
        f"Whole: all tensors as one. Norms and inner products are of every element, counts and moments of {share:.1%}, "
        "and the largest change is the largest of those."
        if share < 1.0
        else "Whole: all tensors as one, of every element."
    )
    explained += " Means are over tensors, weighted by their parameters or by the energy of their change."
    explained += "" if has_spectra(record) else f" Those of singular values are missing: {NOT_ASKED} (--tier 2)."
    return _section("summary", "All metrics", _note(explained) + table(head, rows, numbers_from=2))


def _default(record: Record, series: Sequence[Series]) -> Series:
    """The relative change of the result; without a base the cosines of matrices."""
    for name in ("relative", "weight_cosine", "norm"):
        having = [one for one in series if one.metric.name == name]
        if having:
            return having[-1] if record.result else having[0]
    return series[0]


def _section(place: str, title: str, body: str) -> str:
    return f'<section id="{place}"><h2>{title}</h2>{body}</section>'


def _note(words: str) -> str:
    return f'<p class="note">{text(words)}</p>' if words else ""
