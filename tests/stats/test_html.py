"""A report is one file that is well formed, escaped, loads nothing, and stays small."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import torch

from mergegraph.stats.html import report
from mergegraph.stats.html.style import (
    DIVERGING,
    DIVERGING_DARK,
    LINES,
    LINES_DARK,
    SEQUENTIAL,
    SEQUENTIAL_DARK,
    ink,
    luminance,
)
from mergegraph.stats.metrics import METRICS, Missing, Subject, subjects
from mergegraph.stats.record import Record, TensorRecord
from mergegraph.stats.standing_out import standing_out
from tests.stats import made
from tests.stats.shown import healthy, hostile, huge, spectral, unrelated

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Every element is closed in order; collects ids, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append((self.open[-1] if self.open else "", data))

    def ids(self) -> list[str]:
        return [str(attrs["id"]) for _, attrs in self.elements if "id" in attrs]

    def targets(self) -> list[str]:
        """Where links lead, all of them within the page."""
        links = [str(attrs["href"]) for tag, attrs in self.elements if tag == "a"]
        assert all(link.startswith("#") for link in links)
        return [link[1:] for link in links]

    def data(self) -> dict[str, dict[str, dict[str, list[dict[str, str]]]]]:
        start = next(i for i, (tag, attrs) in enumerate(self.elements) if attrs.get("id") == "data")
        assert self.elements[start][1]["type"] == "application/json"
        (found,) = (text for tag, text in self.text if tag == "script" and text.startswith('{"cells"'))
        return json.loads(found)


def nothing_made() -> Record:
    return made.record({n: made.checkpoint(f"digits-vit/soup-{n}") for n in "12"}, made.checkpoint("digits-vit/base"))


def without_base() -> Record:
    return made.record({n: made.checkpoint(f"digits-vit/soup-{n}") for n in "12"})


def one_alone() -> Record:
    return made.record({"a": made.checkpoint("digits-vit/soup-1")})


def empty() -> Record:
    return Record("base", ("a",), "merged", ())


RECORDS = [healthy, spectral, unrelated, hostile, huge, nothing_made, one_alone, empty]


@pytest.mark.parametrize("record", RECORDS)
def test_a_report_is_well_formed_and_its_links_lead_somewhere(record: Callable[[], Record]) -> None:
    page = Page(report(record()))
    ids = page.ids()
    assert len(ids) == len(set(ids))
    targets = page.targets()
    assert set(targets) <= set(ids)
    to_tensors = [target for target in targets if re.fullmatch(r"t\d+", target)]
    assert len(set(to_tensors)) == min(len(record().tensors), 60), "all that are shown in full"


@pytest.mark.parametrize("record", RECORDS)
def test_a_report_loads_nothing(record: Callable[[], Record]) -> None:
    text = report(record())
    page = Page(text)
    assert not re.search(r"(?i)https?:|//\w|url\(|@import|@font-face|fetch\(|XMLHttp|WebSocket|import\(", text)
    assert {tag for tag, _ in page.elements} & {"link", "img", "iframe", "object", "embed", "base", "form"} == set()
    assert not [attrs for _, attrs in page.elements if {"src", "srcset", "action", "xlink:href"} & set(attrs)]
    assert [a["content"] for t, a in page.elements if t == "meta" and "default-src 'none'" in str(a.get("content"))]


def harmless() -> Record:
    """`hostile` with names that need no escape."""
    tensors = [replace(t, name=f"model.layers.{i}.plain.weight") for i, t in enumerate(hostile().tensors)]
    return replace(hostile(), sources=("one", "two"), tensors=tuple(tensors))


def test_names_are_text_and_nothing_else() -> None:
    text = report(hostile())
    page = Page(text)
    assert "alert" not in "".join(t for tag, t in page.text if tag == "script" and not t.startswith('{"cells"'))
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 2
    assert Counter(tag for tag, _ in page.elements) == Counter(tag for tag, _ in Page(report(harmless())).elements)
    assert any("</script><script>alert(1)</script>" in t for tag, t in page.text if tag not in ("script", "style"))
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def test_the_switch_has_every_cell_of_every_series() -> None:
    data = Page(report(healthy())).data()
    assert set(data["metrics"]) <= set(METRICS)
    assert {"relative", "cosine", "retention", "cast_loss", "sign_conflict"} <= set(data["metrics"])
    for metric in data["metrics"].values():
        for series in metric["series"]:
            assert len(series["text"].split("|")) == len(series["steps"]) == len(data["cells"])
            assert set(series["steps"]) <= set("0123456789a-")


@pytest.mark.parametrize(
    ("record", "metric"), [(healthy, "relative"), (without_base, "weight_cosine"), (one_alone, "norm")]
)
def test_a_page_opens_with_what_there_is_to_ask_first(record: Callable[[], Record], metric: str) -> None:
    shown = [attrs for tag, attrs in Page(report(record())).elements if tag == "figure" and attrs.get("data-lines")]
    assert [attrs["data-lines"] for attrs in shown if "hidden" not in attrs] == [metric]


def test_the_default_is_there_without_javascript() -> None:
    page = Page(report(healthy()))
    cells = [attrs for tag, attrs in page.elements if tag == "td" and "data-c" in attrs]
    assert len(cells) == 4 * 8 + 2
    assert all(re.fullmatch(r"s(\d|10)", str(attrs["class"])) for attrs in cells)


def test_spectra_are_drawn_where_they_were_asked_for() -> None:
    page = Page(report(spectral()))
    captions = [text for tag, text in page.text if tag == "figcaption" and text == "Leading singular values"]
    assert len(captions) == sum(len(tensor.shape) == 2 for tensor in spectral().tensors)
    assert {"stable_rank", "overlap_right"} <= set(page.data()["metrics"])
    assert any("looks like a LoRA of rank" in text for _, text in page.text)
    assert "No singular values: it is no matrix." in [text for _, text in page.text]
    assert "tier 2 was not asked for" not in report(spectral())
    assert "Leading singular values" not in report(healthy())
    assert "missing: tier 2 was not asked for" in report(healthy())


def test_what_stands_out_is_listed_and_linked() -> None:
    page = report(unrelated())
    section = Page(page[page.index('<section id="odd">') : page.index('<section id="summary">')])
    items = [attrs for tag, attrs in section.elements if tag == "li"]
    assert len(items) == min(len(standing_out(unrelated())), 60) > 10
    assert len(section.targets()) == len(items)
    assert set(section.targets()) <= set(Page(page).ids())
    text = "".join(t for _, t in section.text)
    assert "near-orthogonal weights" in text
    assert "cosine of full weights" in text


def column(record: Record, label: str) -> list[float]:
    """What the table of tensors has in the column that begins so."""
    page = report(record)
    table = page[page.index('class="plain sort"') :]
    heads = re.findall(r'<button type="button">(.*?)</button>', table)
    (place,) = (number for number, head in enumerate(heads) if head.startswith(label))
    rows = re.findall("<tr>(.*?)</tr>", table[table.index("<tbody>") : table.index("</tbody>")])
    cells = [re.findall("<t[dh].*?</t[dh]>", row)[place] for row in rows]
    return [float(re.search('data-v="(.*?)"', cell)[1]) for cell in cells]  # type: ignore[index]


@pytest.mark.parametrize(
    ("metric", "choose"),
    [
        ("density_90", min),  # low is worth a look
        ("kurtosis", max),  # high is
        ("cosine", lambda values: max(values, key=abs)),  # far from the centre is
    ],
)
def test_of_several_sources_a_table_has_the_value_most_worth_a_look(
    metric: str, choose: Callable[[list[float]], float]
) -> None:
    record = three()
    values = [
        [METRICS[metric].value(tensor, subject) for subject in subjects(METRICS[metric], record)]
        for tensor in record.tensors
    ]
    numbers = [[each for each in row if not isinstance(each, Missing)] for row in values]
    assert column(record, METRICS[metric].label) == pytest.approx([choose(row) for row in numbers], rel=1e-3)


def three() -> Record:
    """Two alike and one against both, so that lowest, highest and furthest differ; nothing is made."""
    torch.manual_seed(3)
    base = {f"model.layers.{i}.mlp.up_proj.weight": torch.randn(20, 30) for i in range(3)}
    steps = [{name: torch.randn(20, 30) for name in base} for _ in range(2)]
    taus = [steps[0], {n: steps[1][n] ** 3 for n in base}, {n: -steps[0][n] - 0.3 * steps[1][n] for n in base}]
    return made.record({k: {n: base[n] + t[n] for n in base} for k, t in zip("abc", taus, strict=True)}, base)


def test_a_value_has_what_noise_gives_and_is_pale_within_it() -> None:
    page = report(three())
    in_full = page[page.index('<section id="in-full">') :]
    floor = METRICS["kurtosis"].noise_words(three().tensors[0], Subject("a", 0))
    assert f"<br><small>{floor}</small>" in in_full
    tensors = page[page.index('<section id="tensors">') : page.index('<section id="in-full">')]
    assert 'class="n dim" data-v=' in tensors
    assert re.search(r'class="n" data-v="[0-9.-]+" title="noise 0 ± [0-9.]+"', tensors), "cosines of -1 are not pale"


def test_of_many_sources_the_result_stays_and_the_rest_is_told() -> None:
    many = replace(healthy(), sources=tuple(f"s{i}" for i in range(20)))
    size = 22
    tensors = [
        replace(t, gram=(1.0,) * (size * (size + 1) // 2), changes=(t.changes[0],) * 21, pairs={}, together=None)
        for t in healthy().tensors[:2]
    ]
    page = report(replace(many, tensors=tuple(tensors)))
    for section in ("summary", "in-full"):
        part = page[page.index(f'<section id="{section}">') :]
        part = part[: part.index("</section>")]
        assert "and 5 more (s15, s16, s17, …)" in part
        assert re.search(r">merged</t[dh]>", part)


def test_what_was_not_looked_at_is_named() -> None:
    skipped = TensorRecord("the.ids", "int64", (3,), skipped="it is int64")
    text = report(replace(healthy(), tensors=(*healthy().tensors, skipped)))
    assert "Not looked at: 1 tensor" in text
    assert "<li>the.ids: it is int64</li>" in text


def test_a_sample_is_not_called_exact() -> None:
    sampled = tuple(replace(t, counted=max(t.elements // 4, 1)) for t in healthy().tensors)
    assert "counts and moments of 25.0%" in report(replace(healthy(), tensors=sampled))
    assert "Whole: all tensors as one, of every element." in report(healthy())


def test_a_large_model_stays_a_small_file_and_says_what_is_left_out() -> None:
    (some,) = (t for t in healthy().tensors if t.name == "model.layers.1.mlp.up_proj.weight")
    names = [f"model.layers.{i}.mlp.experts.{e}.up_proj.weight" for i in range(40) for e in range(25)]
    large = replace(healthy(), tensors=tuple(replace(some, name=name) for name in names))
    text = report(large)
    assert "Of 1,000 tensors the table has 400 and 60 are shown in full" in text
    assert len(text) < 1_500_000
    assert len([1 for tag, _ in Page(text).elements if tag == "details"]) == 60


@pytest.mark.parametrize("ramp", [SEQUENTIAL, SEQUENTIAL_DARK])
def test_a_ramp_goes_evenly_from_light_to_dark(ramp: tuple[str, ...]) -> None:
    lightness = [116 * luminance(colour) ** (1 / 3) - 16 for colour in ramp]
    steps = [abs(b - a) for a, b in pairwise(lightness)]
    assert lightness in (sorted(lightness), sorted(lightness, reverse=True))
    assert max(steps) < 2.0 * min(steps)


@pytest.mark.parametrize("ramp", [SEQUENTIAL, SEQUENTIAL_DARK, DIVERGING, DIVERGING_DARK])
def test_numbers_can_be_read_on_every_step(ramp: tuple[str, ...]) -> None:
    for colour in ramp:
        dark, light = sorted((luminance(colour), luminance(in_full(ink(colour)))))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour


def in_full(short: str) -> str:
    return "#" + "".join(digit * 2 for digit in short[1:])


@pytest.mark.parametrize(("lines", "page"), [(LINES, "#ffffff"), (LINES_DARK, "#191f29")])
def test_lines_can_be_told_from_the_page(lines: tuple[str, ...], page: str) -> None:
    for colour in lines:
        dark, light = sorted((luminance(colour), luminance(page)))
        assert (light + 0.05) / (dark + 0.05) >= 3.0, colour
