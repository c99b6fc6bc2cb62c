"""A report is one file that is well formed, escaped, loads nothing, and stays small."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

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
from mergegraph.stats.metrics import METRICS
from mergegraph.stats.record import Record
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

    def data(self) -> dict[str, dict[str, dict[str, list[dict[str, str]]]]]:
        start = next(i for i, (tag, attrs) in enumerate(self.elements) if attrs.get("id") == "data")
        assert self.elements[start][1]["type"] == "application/json"
        (found,) = (text for tag, text in self.text if tag == "script" and text.startswith('{"cells"'))
        return json.loads(found)


def nothing_made() -> Record:
    return made.record({n: made.checkpoint(f"digits-vit/soup-{n}") for n in "12"}, made.checkpoint("digits-vit/base"))


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
    targets = [str(attrs["href"]) for tag, attrs in page.elements if tag == "a" and str(attrs["href"]).startswith("#t")]
    assert {target[1:] for target in targets} <= set(ids)


@pytest.mark.parametrize("record", RECORDS)
def test_a_report_loads_nothing(record: Callable[[], Record]) -> None:
    text = report(record())
    page = Page(text)
    assert not re.search(r"(?i)https?:|//\w|url\(|@import|@font-face|fetch\(|XMLHttp|WebSocket|import\(", text)
    assert {tag for tag, _ in page.elements} & {"link", "img", "iframe", "object", "embed", "base", "form"} == set()
    assert not [attrs for _, attrs in page.elements if {"src", "srcset", "action", "xlink:href"} & set(attrs)]
    assert [a["content"] for t, a in page.elements if t == "meta" and "default-src 'none'" in str(a.get("content"))]


def test_names_are_text_and_nothing_else() -> None:
    text = report(hostile())
    page = Page(text)
    assert "alert" not in "".join(t for tag, t in page.text if tag == "script" and not t.startswith('{"cells"'))
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 2
    assert not [tag for tag, _ in page.elements if tag in ("b", "i") and "alert" in tag]
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


def test_the_default_is_there_without_javascript() -> None:
    page = Page(report(healthy()))
    cells = [attrs for tag, attrs in page.elements if tag == "td" and "data-c" in attrs]
    assert len(cells) == 4 * 8 + 2
    assert all(re.fullmatch(r"s(\d|10)", str(attrs["class"])) for attrs in cells)
    visible = [attrs for tag, attrs in page.elements if tag == "figure" and attrs.get("data-lines")]
    assert [attrs["data-lines"] for attrs in visible if "hidden" not in attrs] == ["relative"]


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
    text = "".join(t for _, t in Page(report(unrelated())).text)
    assert "near-orthogonal weights" in text
    assert "cosine of full weights" in text


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
