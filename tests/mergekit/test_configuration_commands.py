"""`import`, and `run`, `check`, `plan` and `graph` on a mergekit configuration, over models of a few kilobytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

from mergegraph.cli import main
from mergegraph.mergekit.importing import import_configuration
from mergegraph.mergekit.places import Places
from tests.mergekit.texts import lacking
from tests.tiny_models import Tensors, llama_tensors, write_model

LAYERS = 4
CONFIG = {"model_type": "llama", "num_hidden_layers": LAYERS, "vocab_size": 16, "tie_word_embeddings": False}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensors]:
    """`base` and its fine-tunes `one` and `two`, of four layers, in the current folder."""
    monkeypatch.chdir(tmp_path)
    base = llama_tensors(layers=LAYERS, seed=3)
    tuned = {name: llama_tensors(seed=seed, noise_of=base, scale=0.05) for name, seed in (("one", 5), ("two", 7))}
    for name, tensors in {"base": base, **tuned}.items():
        write_model(tmp_path / name, tensors, config=CONFIG)
    return {"base": base, **tuned}


def write(text: str, name: str = "merge.yml") -> str:
    Path(name).write_text(text, "utf-8")
    return name


def made(folder: str = "made") -> Tensors:
    return {name: tensor.double() for name, tensor in load_file(Path(folder) / "model.safetensors").items()}


LINEAR = """\
merge_method: linear
models:
- {model: one, parameters: {weight: 1}}
- {model: two, parameters: {weight: [0, 3]}}
dtype: float32
"""
SLERP = """\
merge_method: slerp
base_model: base
slices:
- sources: [{model: one, layer_range: [0, 4]}, {model: base, layer_range: [0, 4]}]
parameters: {t: 0.3}
dtype: float32
"""
ARITHMETIC = """\
merge_method: task_arithmetic
base_model: base
models:
- {model: one, parameters: {weight: 0.7}}
- {model: two, parameters: {weight: -0.2}}
parameters: {lambda: 0.5}
dtype: float32
"""
STACK = """\
merge_method: passthrough
slices:
- sources: [{model: one, layer_range: [0, 3]}]
- sources: [{model: two, layer_range: [1, 3], parameters: {scale: [{filter: o_proj, value: 0}, {value: 1}]}}]
dtype: float32
"""
STAGES = """\
name: siblings
merge_method: linear
models: [{model: one, parameters: {weight: 1}}, {model: two, parameters: {weight: 3}}]
---
merge_method: task_arithmetic
base_model: base
models: [{model: siblings, parameters: {weight: 2}}]
dtype: float32
"""


def layer_of(name: str) -> int:
    return int(name.split(".")[2]) if ".layers." in name else 0


def linear(held: dict[str, Tensors], name: str) -> torch.Tensor:
    weight = 3 * layer_of(name) / (LAYERS - 1)
    return (held["one"][name].double() + weight * held["two"][name].double()) / (1 + weight)


def slerp(held: dict[str, Tensors], name: str) -> torch.Tensor:
    a, b = held["base"][name].double(), held["one"][name].double()
    cosine = (a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()
    if cosine > 0.9995:
        return 0.7 * a + 0.3 * b
    angle = torch.arccos(cosine)
    return (torch.sin(0.7 * angle) * a + torch.sin(0.3 * angle) * b) / torch.sin(angle)


def arithmetic(held: dict[str, Tensors], name: str) -> torch.Tensor:
    base, one, two = (held[model][name].double() for model in ("base", "one", "two"))
    return base + 0.5 * (0.7 * (one - base) - 0.2 * (two - base))


def stages(held: dict[str, Tensors], name: str) -> torch.Tensor:
    base, one, two = (held[model][name].double() for model in ("base", "one", "two"))
    return base + 2 * ((one + 3 * two) / 4 - base)


@pytest.mark.parametrize(
    ("config", "formula"),
    [(LINEAR, linear), (SLERP, slerp), (ARITHMETIC, arithmetic), (STAGES, stages)],
    ids=["linear", "slerp", "task_arithmetic", "two documents"],
)
def test_run_takes_a_configuration(
    models: dict[str, Tensors], config: str, formula: Callable[[dict[str, Tensors], str], torch.Tensor]
) -> None:
    here = Path.cwd()
    if missing := lacking(import_configuration(config, "merge.yml", Places(here, here, here)).text):
        pytest.skip(f"mergegraph does not have {', '.join(sorted(missing))} yet")
    assert main(["run", write(config), "-o", "made", "--quiet"]) == 0
    found = made()
    assert found.keys() == models["base"].keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, formula(models, name), rtol=0, atol=2e-7)


def test_slices_are_stacked_and_scaled(models: dict[str, Tensors]) -> None:
    assert main(["run", write(STACK), "-o", "made", "--quiet"]) == 0
    found = made()
    sources = ["one.0", "one.1", "one.2", "two.1", "two.2"]
    assert max(map(layer_of, found)) == len(sources) - 1
    for name, tensor in found.items():
        source, _, layer = sources[layer_of(name)].partition(".") if ".layers." in name else ("two", "", "")
        if "embed" in name:
            source = "one"
        old = name.replace(f"layers.{layer_of(name)}.", f"layers.{layer}.") if ".layers." in name else name
        scale = 0 if source == "two" and "o_proj" in name else 1
        assert torch.equal(tensor, scale * models[source][old].double()), name


def test_nothing_is_written_between_documents(models: dict[str, Tensors]) -> None:
    before = {path.name for path in Path().iterdir()}
    assert main(["run", write(STAGES), "-o", "made", "--quiet"]) == 0
    assert {path.name for path in Path().iterdir()} == {*before, "merge.yml", "made"}


def test_import_writes_a_recipe_that_makes_the_same(
    models: dict[str, Tensors], capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(LINEAR)
    assert main(["import", config, "-o", "recipes/merge.yaml"]) == 0
    shown = capsys.readouterr()
    assert "mergegraph check recipes/merge.yaml" in shown.out
    assert "warning: The gradient" in shown.err
    assert "merge.yml:4" in shown.err
    assert main(["run", "recipes/merge.yaml", "-o", "again", "--quiet"]) == 0
    assert main(["run", config, "-o", "made", "--quiet"]) == 0
    assert (Path("made") / "model.safetensors").read_bytes() == (Path("again") / "model.safetensors").read_bytes()


def test_import_prints_the_recipe(models: dict[str, Tensors], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", write(ARITHMETIC)]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("# Imported from the mergekit configuration merge.yml")
    assert "  one:    {op: load, model: ./one}\n" in shown.out
    assert shown.err == ""


def test_import_replaces_a_recipe_only_when_told(
    models: dict[str, Tensors], capsys: pytest.CaptureFixture[str]
) -> None:
    config, there = write(LINEAR), Path(write("mine", "recipe.yaml"))
    assert main(["import", config, "-o", "recipe.yaml"]) == 2
    assert "recipe.yaml is there already" in capsys.readouterr().err
    assert there.read_text() == "mine"
    assert main(["import", config, "-o", "recipe.yaml", "--overwrite"]) == 0
    assert there.read_text().startswith("# Imported")


@pytest.mark.parametrize("command", ["check", "plan", "graph", "run"])
def test_errors_stand_in_the_configuration(
    models: dict[str, Tensors], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, write(LINEAR.replace("weight: 1", "wieght: 1"))]) == 2
    shown = capsys.readouterr().err
    assert "merge.yml:3" in shown
    assert "Did you mean weight?" in shown


def test_what_check_finds_stands_in_the_configuration(
    models: dict[str, Tensors], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", write(LINEAR.replace("model: two", "model: ./gone"))]) == 2
    assert "merge.yml:4" in capsys.readouterr().err
    text = (
        "merge_method: linear\nmodels:\n- {model: one, parameters: {weight: 1}}\n- model: two\n  parameters:\n"
        "    weight:\n    - {filter: no_such, value: 3}\n    - {value: 0}\n"
    )
    assert main(["check", write(text)]) == 2
    shown = capsys.readouterr().err
    assert 'The filter "no_such" of "weight" fits no tensor.' in shown
    assert "merge.yml:7" in shown


PARTLY = """\
merge_method: passthrough
slices:
- sources: [{model: one, layer_range: [0, 2]}]
- sources: [{model: two, layer_range: [1, 3]}]
parameters: {scale: [{filter: special, value: 0.5}, {value: 1}]}
dtype: float32
"""


def test_a_filter_that_fits_nothing_in_one_slice_is_left_out_there(models: dict[str, Tensors]) -> None:
    special = "model.layers.2.special.weight"
    write_model(Path("two"), {**models["two"], special: torch.ones(4, 4)}, config=CONFIG)
    assert main(["import", write(PARTLY), "-o", "recipe.yaml"]) == 0
    assert Path("recipe.yaml").read_text().count("*special*") == 1
    assert main(["run", "recipe.yaml", "-o", "made", "--quiet"]) == 0
    assert torch.equal(made()[special.replace("layers.2", "layers.3")], torch.full((4, 4), 0.5).double())


def test_a_filter_for_a_tied_head_is_only_warned_of(
    models: dict[str, Tensors], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, tensors in models.items():
        tied = {tensor: values for tensor, values in tensors.items() if tensor != "lm_head.weight"}
        write_model(Path(name), tied, config={**CONFIG, "tie_word_embeddings": True})
    config = SLERP.replace("t: 0.3", "t: [{filter: lm_head, value: 1}, {value: 0.3}]")
    assert main(["run", write(config), "-o", "made"]) == 0
    assert "the head is tied" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["ties", "dare_linear", "della", "breadcrumbs"])
def test_densities_beyond_their_range_run(models: dict[str, Tensors], method: str) -> None:
    config = (
        f"merge_method: {method}\nbase_model: base\nmodels:\n- {{model: one, parameters: {{density: 1.5}}}}\n"
        "- {model: two, parameters: {density: -0.5}}\nparameters: {weight: 1, normalize: false}\ndtype: float32\n"
    )
    assert main(["run", write(config), "-o", "made", "--quiet"]) == 0
    for name, tensor in made().items():
        torch.testing.assert_close(tensor, models["one"][name].double(), rtol=0, atol=2e-7)


def test_warnings_of_a_configuration_are_shown_by_check(
    models: dict[str, Tensors], capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(LINEAR)
    assert main(["check", config]) == 0
    shown = capsys.readouterr()
    assert "merge.yml: fine (4 nodes, 2 models" in shown.out
    assert "merge.yml:4" in shown.err
    assert main(["check", config, "--fix-known-faults"]) == 0
    assert capsys.readouterr().err == ""


def test_settings_change_the_nodes_of_a_configuration(models: dict[str, Tensors]) -> None:
    assert main(["run", write(SLERP), "--set", "merged.t=0", "-o", "made", "--quiet"]) == 0
    for name, tensor in made().items():
        torch.testing.assert_close(tensor, models["base"][name].double(), rtol=0, atol=1e-7)


def test_a_chat_template_is_a_file_beside_the_recipe(
    models: dict[str, Tensors], capsys: pytest.CaptureFixture[str]
) -> None:
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    config = write(f"{SLERP}chat_template: '{template}'\n")
    assert main(["import", config]) == 0
    assert "needs merge.jinja beside it" in capsys.readouterr().err
    assert main(["import", config, "-o", "to/recipe.yaml"]) == 0
    assert Path("to/merge.jinja").read_text() == template
    assert main(["run", config, "-o", "made", "--quiet"]) == 0
    assert Path("made/chat_template.jinja").read_text() == template


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", "gone.yml"], "There is no configuration gone.yml"),
        (["import", "recipe.yaml"], "recipe.yaml is no mergekit configuration"),
        (["run", "recipe.yaml", "--fix-known-faults"], "recipe.yaml is a recipe"),
        (["import", "empty.yml"], "empty.yml is no mergekit configuration"),
    ],
)
def test_what_is_no_configuration_is_refused(
    models: dict[str, Tensors], arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write("mergegraph: 1\nnodes:\n  slices: {op: load, model: one}\n", "recipe.yaml")
    write("# base_model: x\n", "empty.yml")
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_importing_needs_no_torch(models: dict[str, Tensors]) -> None:
    code = (
        "import sys\nfrom mergegraph.cli import main\n"
        f"assert main(['import', {write(LINEAR)!r}]) == 0\nassert 'torch' not in sys.modules"
    )
    root = str(Path(__file__).resolve().parents[2])
    ended = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": root}, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
