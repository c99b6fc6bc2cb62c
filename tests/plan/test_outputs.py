"""Plans as a whole: where outputs go, in which dtypes, what is read once for several, and what is only copied."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from mergegraph import pipeline
from mergegraph.errors import RecipeError
from mergegraph.expr import Cast, Read
from mergegraph.plan.free_memory import default_budget
from mergegraph.plan.plan import Plan, default_workers
from mergegraph.recipe.load import parse_recipe
from mergegraph.walking import walk
from tests.plan.small_plans import planned, recipe, vector, write_vectors, written
from tests.tiny_models import llama_tensors, write_model

SOUP = "m: {op: soup, inputs: [a, b]}\n"
ONE = SOUP + "out: {op: save, input: m, path: out}"
TWO = SOUP + "full: {op: save, input: m, path: full}\nhalf: {op: save, input: m, path: half, dtype: bf16}"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_vectors(tmp_path)


def refusal(folder: Path, nodes: str, **options: object) -> str:
    with pytest.raises(RecipeError) as refused:
        planned(folder, nodes, **options)
    return "\n".join(str(each) for each in refused.value.problems if each.severity == "error")


# Paths


def test_a_path_is_relative_to_the_recipe(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert planned(models, ONE).outputs[0].path == models / "out"


def test_the_path_of_the_command_is_relative_to_where_one_is(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (models / "here").mkdir()
    monkeypatch.chdir(models / "here")
    assert planned(models, ONE, output=Path("out")).outputs[0].path == models / "here" / "out"


def test_the_path_of_the_command_serves_a_save_without_one(models: Path) -> None:
    nodes = SOUP + "out: {op: save, input: m}"
    assert planned(models, nodes, output=models / "x").outputs[0].path == models / "x"
    assert "add `path: out/NAME`, or -o DIR" in refusal(models, nodes)


def test_one_path_cannot_serve_two_saves(models: Path) -> None:
    said = refusal(models, TWO, output=models / "x")
    assert "-o gives one path, and the recipe has 2 saves." in said
    assert "full, half" in said


def test_a_skipped_save_leaves_one_for_the_path_of_the_command(models: Path) -> None:
    plan = planned(models, TWO.replace("path: full", "path: full, skip: true"), output=models / "x")
    assert [output.node for output in plan.outputs] == ["half"]


OVERLAPS = [
    ("an input itself", "a", 'The output is an input: "a".'),
    ("a folder inside an input", "a/merged", 'The output lies inside an input: "a".'),
    ("an input by another way to write it", "b/../a", 'The output is an input: "a".'),
    ("a link to an input", "link", 'The output is an input: "a".'),
    ("the folder that holds the inputs", ".", 'The output would replace a folder that holds an input: "a".'),
]


@pytest.mark.parametrize(("why", "path", "fact"), OVERLAPS, ids=[row[0] for row in OVERLAPS])
def test_an_output_touches_no_input(why: str, path: str, fact: str, models: Path) -> None:
    (models / "link").symlink_to(models / "a")
    said = refusal(models, "m: {op: soup, inputs: [a, b]}\nout: {op: save, input: m}", output=models / path)
    assert fact in said, why


UNUSABLE = [
    ("the root", "/", "it is the root of the file system"),
    ("a way to the root", "/tmp/..", "it is the root"),
    ("a link to the root", "to_root", "it is the root"),
    ("links in a circle", "circle", "its links lead in a circle"),
    ("the Hub", "hf://org/name", "outputs are local folders"),
    ("a bucket itself", "s3://bucket", "outputs are local folders"),
    ("a way up in a bucket", "s3://bucket/a/../b", "outputs are local folders"),
    ("two slashes in a bucket", "s3://bucket/a//b", "outputs are local folders"),
    ("a web server", "https://host/name", "outputs are local folders"),
    ("a URL of a file", "file:///tmp/x", "outputs are local folders"),
    ("where another is written", "x.partial", "names that end in .partial are those of outputs that are not finished"),
    ("inside such a folder", "x.partial/y", "names that end in .partial are those of outputs that are not finished"),
]


@pytest.mark.parametrize(("why", "path", "fact"), UNUSABLE, ids=[row[0] for row in UNUSABLE])
def test_a_path_that_can_be_no_output_is_refused(why: str, path: str, fact: str, models: Path) -> None:
    (models / "to_root").symlink_to("/")
    (models / "circle").symlink_to(models / "circle")
    said = refusal(models, ONE.replace("path: out", f"path: {path}"))
    assert f"cannot be an output path: {fact}" in said, why
    fix = "path: out/name, then mergegraph push out/name org/name" if path[:3] == "hf:" else "name a folder to make"
    assert fix in said


def test_the_path_of_the_command_is_no_url_and_not_empty(models: Path) -> None:
    assert "outputs are local folders" in refusal(models, ONE, output=Path("https://host/name"))
    assert "the folder that you are in" in refusal(models, ONE, output=Path())


def test_a_path_need_not_be_utf8(models: Path) -> None:
    name = os.fsdecode(b"bad\xff")
    assert planned(models, ONE, output=models / name).outputs[0].path == models / name


def test_an_output_inside_an_input_is_told_once(models: Path) -> None:
    assert refusal(models, ONE, output=models / "a" / "merged").count('lies inside an input: "a"') == 1


INSIDE = [
    ("in the folder of a run", "made/new", "made", "made-new"),
    ("further down", "made/deep/new", "made", "made-deep-new"),
    ("by a link to it", "link/new", "made", "made-new"),
    ("of two, the inner one is left", "made/inner/new", "made/inner", "made/inner-new"),
]


@pytest.mark.parametrize(("why", "path", "outer", "beside"), INSIDE, ids=[row[0] for row in INSIDE])
def test_no_output_is_made_inside_one_that_is_there(why: str, path: str, outer: str, beside: str, models: Path) -> None:
    (models / "made" / "inner").mkdir(parents=True)
    for made in ("made", outer):
        (models / made / "mergegraph.json").touch()
    (models / "link").symlink_to(models / "made")
    for options in ({"output": models / path}, {}):
        said = refusal(models, ONE.replace("path: out", f"path: {path}"), **options)
        assert f"The output lies inside another output: {models / outer}" in said, why
        assert f"choose a path beside it: {models / beside}" in said
    assert planned(models, ONE, output=models / "made").outputs, "replacing it is for the run to decide"


def test_an_output_inside_an_input_that_a_run_made_is_told_once(models: Path) -> None:
    (models / "a" / "mergegraph.json").write_text("{}")
    said = refusal(models, ONE, output=models / "a" / "merged")
    assert 'lies inside an input: "a"' in said
    assert "another output" not in said


def test_an_input_that_is_a_file_may_lie_beside_the_output(tmp_path: Path) -> None:
    write_model(tmp_path / "a", {"w": vector(0)})
    (tmp_path / "a" / "model.safetensors").rename(tmp_path / "one.safetensors")
    (tmp_path / "a").rmdir()
    nodes = "x: {op: load, model: ./one.safetensors}\nout: {op: save, input: x, path: out}"
    assert planned(tmp_path, nodes).outputs[0].path == tmp_path / "out"
    assert 'The output is an input: "x".' in refusal(tmp_path, nodes.replace("path: out", "path: one.safetensors"))


def test_two_saves_cannot_share_a_folder_by_way_of_a_link(models: Path) -> None:
    (models / "real").mkdir()
    (models / "link").symlink_to(models / "real")
    said = refusal(models, TWO.replace("path: full", "path: real/x").replace("path: half", "path: link/x"))
    assert "Two saves meet on disk" in said
    assert '"full" and "half"' in said


def test_every_problem_of_the_outputs_is_told_at_once(models: Path) -> None:
    said = refusal(models, TWO.replace("path: full", "path: a").replace("path: half", "path: b, files_from: c"))
    assert said.count("The output is an input") == 2
    assert "`files_from: c` is not a load node of this merge" in said


# Dtypes


def dtypes(plan: Plan) -> dict[str, str]:
    return {tensor.name: tensor.dtype.code for tensor in plan.outputs[0].tensors}


def mixed(folder: Path) -> Path:
    """`a` in bfloat16 but for a float32 norm, `b` all float32, both with an integer tensor."""
    norm, ids = vector(0), torch.arange(3)
    write_model(folder / "a", {"w": vector(1, dtype=torch.bfloat16), "norm": norm, "ids": ids})
    write_model(folder / "b", {"w": vector(2), "norm": norm + 1, "ids": ids})
    return folder


DTYPES = [
    ("each tensor as the trunk has it", "[a, b]", "", {"ids": "I64", "norm": "F32", "w": "BF16"}),
    ("another trunk", "[b, a]", "", {"ids": "I64", "norm": "F32", "w": "F32"}),
    ("one dtype for all that is floating", "[a, b]", ", dtype: fp16", {"ids": "I64", "norm": "F16", "w": "F16"}),
    (
        "float8 when it is asked for",
        "[a, b]",
        ", dtype: float8_e4m3fn",
        {"ids": "I64", "norm": "F8_E4M3", "w": "F8_E4M3"},
    ),
]


@pytest.mark.parametrize(("why", "inputs", "option", "expected"), DTYPES, ids=[row[0] for row in DTYPES])
def test_the_dtype_of_an_output_tensor(
    why: str, inputs: str, option: str, expected: dict[str, str], tmp_path: Path
) -> None:
    plan = planned(
        mixed(tmp_path), f"m: {{op: soup, inputs: {inputs}}}\nout: {{op: save, input: m, path: out{option}}}"
    )
    assert dtypes(plan) == expected, why


def test_a_selected_tensor_takes_the_dtype_of_the_trunk(tmp_path: Path) -> None:
    nodes = "m: {op: select, cases: [{match: w, from: b}], otherwise: a}\nout: {op: save, input: m, path: out}"
    plan = planned(mixed(tmp_path), nodes)
    assert dtypes(plan)["w"] == "BF16"
    assert written(plan, plan.outputs[0], "w") == "b"


def test_what_is_not_floating_passes_as_a_copy_and_is_compared(tmp_path: Path) -> None:
    plan = planned(mixed(tmp_path), ONE)
    ids = next(tensor for tensor in plan.outputs[0].tensors if tensor.name == "ids")
    assert isinstance(ids.root, Read)
    assert ids.root.path == str(tmp_path / "a" / "model.safetensors")
    (comparison,) = plan.comparisons
    assert (comparison.node, comparison.tensor, comparison.kept) == ("m", "ids", ids.root)
    assert comparison.other.path == str(tmp_path / "b" / "model.safetensors")


def pairs(plan: Plan) -> list[set[str]]:
    """The models whose tensors are compared."""
    return [{Path(read.path).parent.name for read in (each.kept, each.other)} for each in plan.comparisons]


def test_integers_in_a_delta_come_back_from_the_base(tmp_path: Path) -> None:
    nodes = "d: {op: delta, model: a, base: b}\nm: {op: sum, inputs: [b, d]}\nout: {op: save, input: m, path: out}"
    plan = planned(mixed(tmp_path), nodes)
    assert written(plan, plan.outputs[0], "ids") == "b"
    assert pairs(plan) == [{"a", "b"}]


COMPARED = [
    ("an expression", "m: b + 0.3*(a - b)", [{"a", "b"}]),
    ("one pair in several nodes", "m: b + 0.3*(a - b) + 0.2*(c - b) - 0.1*(b - a)", [{"a", "b"}, {"b", "c"}]),
    ("deltas that a method forms", "t: {op: ties, base: b, inputs: [a, c]}\nm: b + t", [{"a", "b"}, {"b", "c"}]),
    ("a delta beside a soup", "s: {op: soup, inputs: [a, c]}\nm: s + 0.5*(c - a)", [{"a", "c"}]),
    ("a delta of deltas", "d: {op: delta, model: a, base: b}\nn: {op: negate, input: d}\nm: b + n", [{"a", "b"}]),
    ("what is folded away", "m: b + 0*(a - b)", [{"a", "b"}]),
]


@pytest.mark.parametrize(("why", "nodes", "expected"), COMPARED, ids=[row[0] for row in COMPARED])
def test_integers_are_compared_across_deltas_once_a_pair(
    why: str, nodes: str, expected: list[set[str]], tmp_path: Path
) -> None:
    write_model(mixed(tmp_path) / "c", {"w": vector(3), "norm": vector(0), "ids": torch.arange(3)})
    assert pairs(planned(tmp_path, f"{nodes}\nout: {{op: save, input: m, path: out}}")) == expected, why


def test_every_computed_tensor_is_rounded_once_at_its_root(models: Path) -> None:
    plan = planned(models, TWO)
    for output in plan.outputs:
        (tensor,) = output.tensors
        casts = [expr for expr in walk(tensor.root) if isinstance(expr, Cast)]
        assert casts == [tensor.root]


# Groups and reads


def test_two_saves_of_one_value_read_their_inputs_once(models: Path) -> None:
    plan = planned(models, TWO)
    assert plan.read_bytes == planned(models, ONE).read_bytes == 2 * 16
    assert [group.members for group in plan.groups] == [((0, 0), (1, 0))]
    assert plan.write_bytes == sum(output.layout.total_bytes for output in plan.outputs)


def test_saves_that_share_one_of_their_inputs_are_computed_together(models: Path) -> None:
    plan = planned(models, "one: {op: soup, inputs: [a, b]}\ntwo: {op: soup, inputs: [b, c]}\n"
                   "x: {op: save, input: one, path: x}\ny: {op: save, input: two, path: y}")  # fmt: skip
    assert len(plan.groups) == 1
    assert plan.read_bytes == 3 * 16


def test_saves_that_share_nothing_stay_apart(models: Path) -> None:
    plan = planned(
        models, "x: {op: save, input: a, path: x, dtype: bf16}\ny: {op: save, input: b, path: y, dtype: bf16}"
    )
    assert [group.members for group in plan.groups] == [((0, 0),), ((1, 0),)]


def test_a_copy_is_not_computed_because_something_else_is(models: Path) -> None:
    """a is copied by one save and averaged by the other: NaN in it may pass as a copy only."""
    plan = planned(models, ONE + "\nsame: {op: save, input: a, path: same}")
    assert [group.members for group in plan.groups] == [((0, 0),), ((1, 0),)]


def test_float64_in_one_save_does_not_change_another(tmp_path: Path) -> None:
    """c is float64; a + c is computed in float64, and a + b in float32 as if it were alone."""
    write_vectors(tmp_path, ("a", "b"), c={"w": vector(3, dtype=torch.float64)})
    plan = planned(tmp_path, ONE + "\nn: {op: soup, inputs: [a, c]}\nwide: {op: save, input: n, path: wide}")
    assert [group.members for group in plan.groups] == [((0, 0),), ((1, 0),)]


def test_groups_follow_the_output_file(tmp_path: Path) -> None:
    base = llama_tensors()
    for seed, name in enumerate("ab"):
        write_model(tmp_path / name, llama_tensors(noise_of=base, seed=seed), shards=3)
    plan = planned(tmp_path, TWO)
    (full, _) = plan.outputs
    offsets = [full.layout.files[0].offsets[full.tensors[group.members[0][1]].name] for group in plan.groups]
    assert offsets == sorted(offsets)
    assert all(len(group.members) == 2 for group in plan.groups)
    assert len(plan.inputs) == 6


def test_only_files_that_are_needed_are_inputs(models: Path) -> None:
    nodes = "d1: {op: delta, model: a, base: base}\nd2: {op: delta, model: b, base: base}\n"
    nodes += (
        "mean: {op: soup, inputs: [d1, d2]}\nm: {op: sum, inputs: [base, mean]}\nout: {op: save, input: m, path: out}"
    )
    plan = planned(models, nodes)
    assert [file.label for file in plan.inputs] == ["a", "b"]
    assert plan.unread == ("base",)


def test_without_a_finished_output_the_rest_stays(models: Path) -> None:
    plan = planned(models, TWO)
    rest = plan.without(["full"])
    assert [output.node for output in rest.outputs] == ["half"]
    assert [group.members for group in rest.groups] == [((0, 0),)]
    assert plan.without([]) is plan


# The whole


def test_a_diamond_of_sixty_levels_has_few_expressions(models: Path) -> None:
    """Each level uses the two below it twice: 2^60 if what is shared were not one object."""
    lines = ["x0: {op: soup, inputs: [a, b]}", "y0: {op: clamp, input: x0, within: [a, base]}"]
    for level in range(1, 61):
        below = f"x{level - 1}, {{from: y{level - 1}, weight: 2}}"
        lines.append(f"x{level}: {{op: soup, inputs: [{below}]}}")
        lines.append(f"y{level}: {{op: clamp, input: x{level}, within: [x{level - 1}, y{level - 1}]}}")
    plan = planned(models, "\n".join([*lines, "out: {op: save, input: y60, path: out}"]))
    (tensor,) = plan.outputs[0].tensors
    assert sum(1 for _ in walk(tensor.root)) == 3 + 2 * 61 + 1
    assert len(plan.inputs) == 3


def test_a_sweep_is_one_plan_that_reads_each_input_once(models: Path) -> None:
    text = "mergegraph: 1\nmodels: {a: ./a, base: ./base}\nnodes:\n  d: a - base\n  s: {op: scale, input: d, by: 0.5}\n"
    text += "  m: {op: sum, inputs: [base, s]}\n  out: {op: save, input: m, path: 'out/{s.by}'}\n"
    swept = parse_recipe(text, file="sweep.yaml", folder=models, sweeps=["s.by=0.2:0.8:0.2"])
    plan = pipeline.plan(swept)
    assert [output.path.name for output in plan.outputs] == ["0.2", "0.4", "0.6", "0.8"]
    assert plan.read_bytes == 2 * 16
    assert len(plan.groups) == 1


def test_a_plan_keeps_its_recipe(models: Path) -> None:
    plan = planned(models, ONE)
    assert parse_recipe(plan.recipe_text, file="again.yaml", folder=models) == recipe(models, ONE)


def test_the_budget_and_workers_follow_the_machine_unless_they_are_given(models: Path) -> None:
    assert 0 < default_budget() <= 2 << 30
    assert 1 <= default_workers([]) <= 2
    plan = planned(models, ONE, budget_bytes=12_345_678, workers=3)
    assert (plan.projection.budget_bytes, plan.projection.workers) == (12_345_678, 3)


def test_a_plan_of_delta_tensors_is_marked_as_one(models: Path) -> None:
    plan = planned(models, "d: {op: delta, model: a, base: b}\nout: {op: save, input: d, path: out, format: delta}")
    (output,) = plan.outputs
    assert output.space == "delta"
    assert b'"mergegraph.space":"delta"' in output.layout.files[0].header.replace(b" ", b"")
