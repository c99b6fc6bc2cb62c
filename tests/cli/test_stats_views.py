"""A record on a terminal: 80 columns are enough, a pipe gets shades instead of colours, and names are never obeyed."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from rich.cells import cell_len
from rich.console import Console

from mergegraph.cli.stats_tables import show_comparison
from mergegraph.cli.stats_views import show_record
from mergegraph.errors import RecipeError
from mergegraph.stats.compare import compare
from mergegraph.stats.metrics import METRICS
from mergegraph.stats.record import Record
from tests.stats import made
from tests.stats.shown import healthy, hostile, huge, spectral, unrelated

LEAST = "vit.encoder.layer.3.layernorm_after.weight"
TENSOR = "model.layers.1.mlp.up_proj.weight"


def drawn(show: Callable[[Console], None], *, width: int = 80, colour: bool = False) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width, force_terminal=colour, color_system="truecolor" if colour else None))
    return out.getvalue()


VIEWS: dict[str, Callable[[Console], None]] = {
    "record": lambda c: show_record(c, healthy()),
    "unrelated": lambda c: show_record(c, unrelated()),
    "tensor": lambda c: show_record(c, healthy(), tensor=TENSOR),
    "spectra": lambda c: show_record(c, spectral()),
    "spectra of a tensor": lambda c: show_record(c, spectral(), tensor=TENSOR),
    "table": lambda c: show_record(c, healthy(), sort="kurtosis"),
    "comparison": lambda c: show_comparison(c, compare(healthy(), healthy())),
    "other names": lambda c: show_comparison(c, compare(healthy(), unrelated())),
    "hostile": lambda c: show_record(c, hostile()),
    "huge": lambda c: show_record(c, huge()),
    "huge, compared": lambda c: show_comparison(c, compare(huge(), huge())),
    "empty": lambda c: show_record(c, Record("base", ("a",), "merged", ())),
}


def test_without_a_base_the_map_is_of_matrices() -> None:
    """Norms near 1 are parallel in any two models."""
    alone = made.record({name: made.checkpoint(f"digits-vit/{name}") for name in ("soup-5", "other-init")})
    text = drawn(lambda c: show_record(c, alone), width=120)
    assert re.search(r"cosine of full weights of soup-5 and other-init +⟨W_i, W_j⟩", text)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(view: str, width: int) -> None:
    text = drawn(VIEWS[view], width=width)
    assert text.strip()
    assert max(map(cell_len, text.split("\n"))) <= width
    assert "\x1b" not in text


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_that_a_terminal_would_obey_is_sent(view: str) -> None:
    assert not [c for c in drawn(VIEWS[view]) if c != "\n" and not c.isprintable()]


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_has_a_heat_map(metric: str) -> None:
    text = drawn(lambda c: show_record(c, spectral(), metric=metric), width=200)
    assert METRICS[metric].formula in text
    assert re.search(r"\n\s*3 .*\d", text), "a row for layer 3"


def test_a_pipe_gets_shades_and_a_terminal_colours() -> None:
    show = VIEWS["record"]
    assert "█" in drawn(show)
    coloured = drawn(show, colour=True)
    assert "\x1b[" in coloured
    assert "█" not in coloured


def test_a_tensor_is_shown_with_histogram_and_energy() -> None:
    text = drawn(VIEWS["tensor"])
    assert "512 × 192" in text
    assert "2^-9 ████" in text
    assert "energy in the largest elements" in text


def test_a_tensor_is_shown_with_its_singular_values_where_they_were_asked_for() -> None:
    text = drawn(VIEWS["spectra of a tensor"])
    assert re.search(r"\n +1 █{40} +0\.300\n +2 █{20} +0\.150\n", text)
    assert "100 % of the energy; it looks like a LoRA of rank 9" in text
    assert "no singular values: tier 2 was not asked for (--tier 2)" in drawn(VIEWS["tensor"])
    asked = drawn(lambda c: show_record(c, healthy(), metric="stable_rank"))
    assert "no value: tier 2 was not asked for" in asked


def test_what_stands_out_comes_with_its_rule() -> None:
    text = drawn(VIEWS["unrelated"])
    assert "near-orthogonal weights" in text
    assert re.search(r"and \d+ more", text)


def test_a_table_is_sorted_by_its_metric() -> None:
    lines = drawn(lambda c: show_record(c, healthy(), sort="asymmetry", limit=9), width=120).split("\n")
    values = [float(line.split()[-1]) for line in lines if line.startswith("model.")]
    assert len(values) == 9
    assert values == sorted(values, reverse=True)


def many() -> Record:
    """Eight sources, of which the seventh moved `LEAST` most and all others least of all tensors, and a result."""
    base = made.checkpoint("digits-vit/base")
    sources = [made.checkpoint(f"digits-vit/soup-{i}") for i in range(8)]
    sources[6] = {**sources[6], LEAST: 5 * base[LEAST]}
    return made.record({f"s{i}": each for i, each in enumerate(sources)}, base, sources[0])


def test_of_many_sources_the_result_is_shown_and_the_rest_is_told() -> None:
    record = many()
    summary = drawn(lambda c: show_record(c, record), width=120)
    assert re.search(r"\n *merged +\d.*\n +and 3 more \(s5, s6, s7\) *\n", summary)
    table = drawn(lambda c: show_record(c, record, sort="relative", limit=1), width=120)
    assert re.search(r"tensor +s0 +s1 +s2 +s3 +merged +by noise\n", table)
    assert f"\n{LEAST} " in table, "s6 orders though it has no column"
    assert "and 4 more (s4, s5, s6, …) have no column" in table
    maps = drawn(lambda c: show_record(c, record, metric="retention"), width=120)
    assert "and 2 more (s6, s7) without a map" in maps


def test_tables_have_what_noise_gives() -> None:
    assert re.search(r"kurtosis.*\n.*by noise\n.* 3.00 ± ", drawn(VIEWS["table"], width=120))
    compared = drawn(lambda c: show_comparison(c, compare(healthy(), healthy()), metric="retention"), width=120)
    assert re.search(r"difference +by noise\nretention .*0 +± [0-9.]+", compared)


def test_the_noise_of_a_metric_of_matrices_is_that_of_the_matrices() -> None:
    torch.manual_seed(1)
    base = {"a.weight": torch.randn(10, 10), "b.bias": torch.randn(900)}
    record = made.record({"a": {name: weight + 0.1 for name, weight in base.items()}}, base)
    assert re.search(r"cosine of full weights .* 0 ± 0\.100 *\n", drawn(lambda c: show_record(c, record), width=120))


def test_a_comparison_shows_as_many_tensors_as_are_asked_for() -> None:
    def lines(limit: int) -> list[str]:
        show = drawn(lambda c: show_comparison(c, compare(healthy(), other), metric="norm", limit=limit), width=120)
        return show[show.index("differ most") :].strip().split("\n")[2:]

    other = replace(
        healthy(), tensors=tuple(replace(t, gram=tuple(2.0 * x for x in t.gram)) for t in healthy().tensors)
    )
    assert len(lines(7)) == 8
    assert re.fullmatch(r"and \d+ more", lines(7)[-1].strip())
    assert len(lines(1000)) > 100


def test_a_comparison_shows_both_values_and_the_difference() -> None:
    text = drawn(lambda c: show_comparison(c, compare(healthy(), unrelated()), metric="residual"))
    assert re.search(r"residual share +0.00 % +0.00 %", text)
    assert "only in the first: 38 tensors" in text


@pytest.mark.parametrize(
    ("options", "says"),
    [({"metric": "cosin"}, "Did you mean cosine?"), ({"tensor": "model.norm"}, "model.norm.weight")],
)
def test_a_misspelt_name_is_refused_with_the_nearest(options: dict[str, str], says: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(says)):
        drawn(lambda c: show_record(c, healthy(), **options))  # type: ignore[arg-type]
