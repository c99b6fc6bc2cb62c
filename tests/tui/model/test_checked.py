"""The check says what `mergegraph check` prints, opens nothing twice, and always ends with the newest text."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.checker import Checker
from mergegraph_tui.model.checking import check_text
from mergegraph_tui.model.choices import operations, targets
from mergegraph_tui.model.fields import form_of
from mergegraph_tui.model.headers import Headers
from mergegraph_tui.model.schedules import RuleCount, schedule_view

from mergegraph.errors import MergegraphError
from mergegraph.pipeline import check
from mergegraph.recipe.load import load_recipe
from mergegraph.tensors.checkpoint import open_checkpoint
from mergegraph.tensors.header import DEFAULT_HEADER_BYTES

RECIPES = Path(__file__).resolve().parents[3] / "recipes"
DARE = (RECIPES / "dare-ties.yaml").read_text()


def checked(text: str) -> Checked:
    found = check_text(text, RECIPES / "dare-ties.yaml")
    assert found.failure == ""
    return found


BROKEN = [
    ("by: 0.2", "by: 0.2", "nothing is wrong"),
    ("by: 0.2", "by: [", "no YAML"),
    ("op: scale", "op: scael", "a misspelt op"),
    ("input: agreed", "input: agred", "a misspelt node"),
    ("input: agreed", "input: merged", "a cycle"),
    ("inputs: [general, boost]", "inputs: [general, rot90]", "two models summed"),
    ("./models/digits-vit/general", "./models/nowhere", "a model that is not there"),
    ("./models/digits-vit/general", "./models/tiny-llama/base", "models of two families"),
    ("by: 0.2", 'by: [{layers: "0:2", value: 1}]', "tensors without a number"),
    ("density: 0.5", "density: 1.5", "a warning"),
]


@pytest.mark.parametrize(("old", "new", "reason"), BROKEN, ids=[row[2] for row in BROKEN])
def test_the_problems_are_those_of_the_command(
    old: str, new: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").symlink_to(RECIPES / "models")
    path = tmp_path / "merge.yaml"
    path.write_text(DARE.replace(old, new, 1))
    found = check_text(path.read_text(), path)
    try:
        expected = check(load_recipe(path)).warnings
    except MergegraphError as error:
        expected = error.problems

    assert (found.failure, found.problems) == ("", expected), reason


def test_each_stage_is_there_as_far_as_it_came() -> None:
    fine = checked(DARE)
    missing = checked(DARE.replace("./models/digits-vit/general", "./models/nowhere"))
    wrong = checked(DARE.replace("input: agreed", "input: agred"))

    assert fine.is_fine
    assert (fine.counts.nodes, fine.counts.models, fine.counts.tensors) == (13, 5, 72)
    assert (missing.graph is not None, missing.resolved, missing.is_fine) == (True, None, False)
    assert (wrong.recipe, wrong.outline is not None) == (None, True)
    assert [problem.fact for problem in wrong.at("boost")] == ['There is no node "agred".']


def test_a_header_is_read_again_only_when_a_file_changed(tmp_path: Path) -> None:
    source = RECIPES / "models" / "tiny-llama" / "base"
    model = tmp_path / "model"
    model.mkdir()
    for file in source.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    headers = Headers()

    def opened() -> object:
        return headers("model", tmp_path, max_header_bytes=DEFAULT_HEADER_BYTES)

    first = opened()
    assert first == open_checkpoint("model", tmp_path)
    assert opened() is first
    config = model / "config.json"
    config.write_text(config.read_text() + " ")
    os.utime(config, ns=(1, 1))
    assert opened() is not first


def test_only_the_newest_text_is_checked() -> None:
    results: list[str] = []
    gate = threading.Event()

    def keep(found: Checked) -> None:
        results.append(found.text)
        gate.wait(10)

    checker = Checker(keep)
    checker.submit("first: 1")
    while not results:
        gate.wait(0.001)
    for number in range(20):
        checker.submit(f"a: {number}")
    gate.set()

    assert checker.wait(10)
    assert results == ["first: 1", "a: 19"]
    assert checker.newest is not None
    assert checker.newest.text == "a: 19"
    checker.close()


def test_a_form_has_the_fields_of_the_operation() -> None:
    found = form_of(checked(DARE.replace("density: 0.5", "density: 1.5", 1)), "d_upright")
    assert found is not None
    fields = {field.label: field for field in found.fields}

    assert [field.label for field in found.fields] == [
        "base", "input", "rescale", "density", "seed", "skip", "except", "missing", "extra",
    ]  # fmt: skip
    assert (found.space, found.tensor_count, found.read_by) == ("delta", 72, ("agreed",))
    assert (fields["density"].kind, fields["density"].text, fields["density"].is_required) == ("schedule", "1.5", True)
    assert fields["density"].problem is not None
    assert fields["input"].problem is None
    assert (fields["rescale"].choices, fields["rescale"].default) == (("none", "l1", "expected"), "expected")
    assert (fields["skip"].kind, fields["skip"].default) == ("boolean", "false")
    assert (fields["base"].kind, fields["base"].accepts, fields["base"].text) == ("input", "weights", "general")


def test_a_schedule_shows_its_number_in_each_layer_and_what_its_rules_decide() -> None:
    rules = '[{layers: "0:1", value: 0.1}, {kind: mlp, value: [0, 1]}, {value: 3}]'
    view = schedule_view(checked(DARE.replace("by: 0.2", f"by: {rules}")), "boost", ("by",))

    assert view is not None
    assert view.rules == (RuleCount(16, 16), RuleCount(16, 12), RuleCount(72, 44))
    assert [(each.layer, round(each.least, 3), each.most) for each in view.layers] == [
        (0, 0.1, 0.1), (1, 0.333, 3.0), (2, 0.667, 3.0), (3, 1.0, 3.0),
    ]  # fmt: skip


def test_the_picker_and_the_targets_know_the_space() -> None:
    now = checked(DARE)
    after_model = operations(now, "general")
    after_delta = {each.op: each.fits for each in operations(now, "agreed")}
    model_of = {name: problem is None for name, problem in targets(now, "boost").items()}

    assert [each.op for each in after_model[:3]] == ["delta", "soup", "slerp"]
    assert after_delta["scale"]
    assert not after_delta["delta"]
    assert operations(now, "", "task vector")[0].op in ("negate", "delta")
    assert operations(now)[0].op == "load"
    assert model_of["merged"]
    assert not model_of["agreed"], "a cycle"
    assert not model_of["general"], "a model takes nothing"
    wrong = targets(checked(DARE + "  d: {op: delta, model: upright, base: general}\n"), "agreed")["d"]
    assert wrong is not None
    assert wrong.fact == 'delta takes no delta, and "agreed" is delta.'
    assert wrong.fix == "put another node between: {op: sum, inputs: [BASE, agreed]}"


def test_nothing_of_the_model_needs_textual() -> None:
    folder = Path(__file__).resolve().parents[3] / "tui" / "mergegraph_tui" / "model"
    names = [f"mergegraph_tui.model.{path.stem}" for path in folder.glob("[a-z]*.py")]
    assert len(names) > 10
    code = (
        "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
        "print([name for name in ('textual', 'torch') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
