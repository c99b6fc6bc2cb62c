"""What is foretold of a changed number is what a merge with that number measures."""

from __future__ import annotations

from pathlib import Path

import pytest
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.checking import check_text
from mergegraph_tui.model.fields import FormField, form_of
from mergegraph_tui.model.loaded import LoadedRecord, load_record
from mergegraph_tui.model.mixing import Mixing, NotLinear, Tried
from mergegraph_tui.model.preview import Preview, compare_tried, kept_by_layer, mixing_of, preview

from mergegraph.fields import Rule
from mergegraph.resolve import Resolved
from mergegraph.stats.metrics import METRICS, Subject
from mergegraph.stats.predict import expected_cast_loss
from tests.tui.conftest import TWO_TUNED


def loaded(path: Path) -> LoadedRecord:
    found = load_record(path)
    assert isinstance(found, LoadedRecord)
    return found


def checked(nodes: str) -> Checked:
    """`TWO_TUNED` with other nodes before its save."""
    head, _, tail = TWO_TUNED.partition("  merged: ")
    return check_text(f"{head}{nodes.rstrip()}\n{tail.partition(chr(10))[2]}")


AS_NODES = """
  d: {op: delta, model: code, base: base}
  e: {op: delta, model: french, base: base}
  half: {op: scale, input: d, by: 0.6}
  rest: {op: scale, input: e, by: 0.4}
  merged: {op: sum, inputs: [base, half, rest]}
""".lstrip("\n")

AS_SOUP = """
  merged:
    op: soup
    inputs: [base, {from: code, weight: 3}, {from: french, weight: 2}]
    normalize: true
""".lstrip("\n")


@pytest.mark.parametrize(
    ("nodes", "node", "path", "typed", "is_rule"),
    [
        ("  merged: base + 0.6*(code - base) + 0.4*(french - base)", "merged", (),
         "base + 0.3*(code - base) + 0.4*(french - base)", False),
        (AS_NODES, "half", ("by",), "0.3", False),
        (AS_NODES, "half", ("by",), "[0.3, 0.3]", False),
        (AS_NODES, "half", ("by",), "[{kind: mlp, value: 0.3}, {value: 0.3}]", False),
        (AS_NODES.replace("0.6", "[{kind: mlp, value: 0.6}, {value: 0.3}]"), "half", ("by", 0, "value"), "0.3", False),
        (AS_NODES, "half", ("by",), "value: 0.3", True),
    ],
    ids=["an expression", "a number", "a gradient", "rules", "the number of a rule", "a new rule"],
)  # fmt: skip
def test_the_preview_is_what_the_other_strength_measures(
    nodes: str, node: str, path: tuple[str | int, ...], typed: str, is_rule: bool, record_file: Path,
    weaker_record: Path,
) -> None:  # fmt: skip
    weaker = loaded(weaker_record).total.all
    assert weaker is not None
    here = checked(nodes)
    found = preview(loaded(record_file), here, node, field(here, node, path), typed, is_rule=is_rule)
    assert isinstance(found, Preview)
    predicted = found.then.predicted
    for index in range(2):
        subject = Subject("", index)
        assert predicted.retention[index] == pytest.approx(METRICS["retention"].value(weaker, subject), rel=1e-4)
        assert predicted.attribution[index] == pytest.approx(METRICS["attribution"].value(weaker, subject), rel=1e-4)
    assert predicted.norm == pytest.approx(METRICS["norm"].value(weaker, Subject("", 2)), rel=1e-4)
    assert found.then.cast_loss == pytest.approx(METRICS["cast_loss"].value(weaker, Subject("")), rel=0.1)
    assert found.now.cast_loss is not None
    assert found.then.cast_loss > found.now.cast_loss
    assert {row[0]: row[2] for row in found.rows()}["attribution to code"] == "0.300"


def field(here: Checked, node: str, path: tuple[str | int, ...]) -> FormField:
    form = form_of(here, node)
    assert form is not None
    return next(each for each in form.fields if each.path == path)


@pytest.mark.parametrize(
    ("path", "typed", "is_rule", "why"),
    [
        (("by",), "0.", False, ""),
        (("by",), "", False, "not a number yet"),
        (("by",), "[0.3", False, "not a number yet"),
        (("by",), "kind: mlp", True, "not a rule yet"),
        (("by",), "kind: mpl, value: 1", True, "not a rule yet"),
        ((0,), "", False, "not a number yet"),
    ],
    ids=["a number begun", "no number", "a gradient begun", "no value", "no kind", "another field"],
)  # fmt: skip
def test_what_is_half_typed_foretells_nothing_and_never_fails(
    path: tuple[str | int, ...], typed: str, is_rule: bool, why: str, record_file: Path
) -> None:
    here = checked(AS_NODES)
    of = field(here, "half", path) if path == ("by",) else FormField(path, "x", "schedule")
    found = preview(loaded(record_file), here, "half", of, typed, is_rule=is_rule)
    assert (found if isinstance(found, str) else "") == why


def test_a_soup_of_models_is_foretold(record_file: Path) -> None:
    """1 : 3 : 2 are a half of the code's change and a third of the french one's."""
    record = loaded(record_file).record
    coefficients = Mixing(must(checked(AS_SOUP)), record).coefficients()
    assert coefficients(record.tensors[5]) == pytest.approx((1 / 2, 1 / 3))
    tried = Tried("merged", ("inputs", 1, "weight"), (Rule(value=0.0, kind="mlp"), Rule(value=3.0)))
    of = Mixing(must(checked(AS_SOUP)), record).coefficients(tried)
    kinds = {tensor.role.kind: of(tensor) for tensor in record.tensors}
    assert kinds["mlp"] == pytest.approx((0.0, 2 / 3))
    assert kinds["attention"] == pytest.approx((1 / 2, 1 / 3))


def must(found: Checked) -> Resolved:
    assert found.resolved is not None, found.problems
    return found.resolved


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        (
            "  t: {op: ties, base: base, inputs: [code, french], density: 0.5}\n  merged: base + t",
            "ties is not a plain sum",
        ),
        ("  merged: 0.5*base + 0.5*code", ""),
        ("  merged: {op: scale, input: code, by: 0.5}", "add up to one, but to 0.5"),
        ("  merged: {op: slerp, a: base, b: nobody, t: 0.5}", "the recipe has a problem"),
    ],
    ids=["not linear", "an average", "a model that shrinks", "no recipe"],
)
def test_what_cannot_be_foretold_is_said(nodes: str, why: str, record_file: Path) -> None:
    record = loaded(record_file).record
    found = mixing_of(checked(nodes), record)
    if isinstance(found, str):
        assert found == why
    elif why:
        with pytest.raises(NotLinear, match=why):
            found.coefficients()(record.tensors[5])
    else:
        assert found.coefficients()(record.tensors[5]) == pytest.approx((0.5, 0.0))


def test_kept_by_layer_follows_a_curve(record_file: Path) -> None:
    here = checked(AS_NODES)
    record = loaded(record_file)
    code, french = kept_by_layer(record, here, Tried("half", ("by",), (0.0, 0.9)))
    values = [value for value in code.values if value is not None]
    assert values == sorted(values)
    assert values[0] < 0.1
    assert values[-1] > 0.85
    assert all(value is not None and 0.3 < value < 0.5 for value in french.values)
    assert isinstance(compare_tried(record, here, Tried("nobody", ("by",), 1.0)), str)


def test_the_expected_cast_loss_is_near_what_was_measured(record_file: Path) -> None:
    found = loaded(record_file)
    coefficients = Mixing(must(checked(AS_NODES)), found.record).coefficients()
    assert found.total.all is not None
    measured = METRICS["cast_loss"].value(found.total.all, Subject(""))
    assert expected_cast_loss(found.record.tensors, coefficients) == pytest.approx(measured, rel=0.1)
    # No more can be lost than there is.
    assert expected_cast_loss(found.record.tensors, lambda tensor: (1e-9, 0.0)) == pytest.approx(1.0)
    assert expected_cast_loss(found.record.tensors, lambda tensor: (0.0, 0.0)) is None
