"""The files beside the weights: which are copied, from which model, and what config.json says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from mergegraph.dtypes import BY_CODE
from mergegraph.errors import RecipeError
from mergegraph.plan.plan import Plan, Sidecars
from mergegraph.plan.sidecars import repaired_config
from tests.plan.small_plans import planned, vector
from tests.tiny_models import llama_tensors, write_model

TRAVELS = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt",
    "special_tokens_map.json", "added_tokens.json", "spiece.model", "sentencepiece.bpe.model", "chat_template.jinja",
    "generation_config.json", "preprocessor_config.json", "processor_config.json", "modeling_custom.py",
)  # fmt: skip
STAYS = (
    "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "training_args.bin", "trainer_state.json", "pytorch_model.bin",
    "README.md", ".gitattributes", "events.out.tfevents", "model.safetensors.index.json.bak", "mergegraph.json",
)  # fmt: skip
SOUP = "m: {op: soup, inputs: [a, b]}\nout: {op: save, input: m, path: out%s}"


def model(folder: Path, seed: int = 0, files: Mapping[str, str] | None = None, **config: object) -> Path:
    write_model(folder, {"w": vector(seed)}, config=config)
    for name, text in (files or {}).items():
        (folder / name).write_text(text)
    return folder


def saved(plan: Plan) -> Sidecars:
    (output,) = plan.outputs
    return output.sidecars


def said(plan: Plan) -> str:
    return "\n".join(map(str, plan.warnings))


def test_only_files_on_the_list_travel(tmp_path: Path) -> None:
    model(tmp_path / "a", files=dict.fromkeys((*TRAVELS, *STAYS), "{}"))
    copies = saved(planned(tmp_path, "out: {op: save, input: a, path: out}")).copies
    assert sorted(name for name, _ in copies) == sorted(TRAVELS)
    assert all(path == str(tmp_path / "a" / name) for name, path in copies)


def test_a_single_file_brings_none_of_its_neighbours(tmp_path: Path) -> None:
    model(tmp_path / "a", files={"tokenizer.json": "{}"})
    (tmp_path / "only").mkdir()
    (tmp_path / "only.safetensors").write_bytes((tmp_path / "a" / "model.safetensors").read_bytes())
    (tmp_path / "tokenizer.json").write_text("{}")
    plan = planned(tmp_path, "x: {op: load, model: ./only.safetensors}\nout: {op: save, input: x, path: out}")
    assert saved(plan).copies == ()
    assert saved(plan).config == {}


FROM = [
    ("the first input, unless it is said otherwise", "", ("a", "a", "a")),
    ("files from another model", ", files_from: b", ("b", "b", "b")),
    ("only the tokenizer from another model", ", tokenizer_from: b", ("a", "b", "a")),
    ("each from its own", ", files_from: b, tokenizer_from: a", ("b", "a", "b")),
]


@pytest.mark.parametrize(("why", "options", "expected"), FROM, ids=[row[0] for row in FROM])
def test_which_model_gives_the_files(why: str, options: str, expected: tuple[str, str, str], tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        model(tmp_path / name, seed, {"tokenizer.json": "{}", "generation_config.json": "{}"}, who=name)
    sidecars = saved(planned(tmp_path, SOUP % options))
    sources = {file: Path(path).parent.name for file, path in sidecars.copies}
    found = sources["generation_config.json"], sources["tokenizer.json"], sidecars.config["who"]
    assert found == expected, why


def test_a_delta_on_its_base_takes_the_files_of_the_base(tmp_path: Path) -> None:
    for seed, name in enumerate(["a", "base"]):
        model(tmp_path / name, seed, who=name)
    nodes = (
        "d: {op: delta, model: a, base: base}\nm: {op: sum, inputs: [d, base]}\nout: {op: save, input: m, path: out}"
    )
    assert saved(planned(tmp_path, nodes)).config["who"] == "base"


def test_what_a_stack_changed_is_changed_in_another_models_config(tmp_path: Path) -> None:
    base = llama_tensors(2)
    for seed, name in enumerate("ab"):
        config = {"num_hidden_layers": 2, "eos_token_id": 5, "layer_types": ["x", "y"], "who": name}
        write_model(tmp_path / name, llama_tensors(noise_of=base, seed=seed), config=config)
    nodes = 'm: {op: stack, slices: [{from: a, layers: "0:2"}, {from: b, layers: "1:2"}]}'
    config = saved(planned(tmp_path, f"{nodes}\nout: {{op: save, input: m, path: out, files_from: b}}")).config
    assert config["who"] == "b"
    assert config["num_hidden_layers"] == 3
    assert config["layer_types"] == ["x", "y", "y"]


@pytest.mark.parametrize("field", ["files_from", "tokenizer_from"])
def test_files_come_from_a_model_of_the_merge(field: str, tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        model(tmp_path / name, seed)
    with pytest.raises(RecipeError) as refused:
        planned(tmp_path, SOUP % f", {field}: m")
    (problem,) = [each for each in refused.value.problems if each.severity == "error"]
    assert problem.fact == f"`{field}: m` is not a load node of this merge."
    assert problem.fix == "name one of the models that are merged: a, b"
    assert str(problem.at) == "test.yaml:7"


CONFIGS: list[tuple[str, dict[str, object], list[str], dict[str, object]]] = [
    ("no config stays none", {}, ["F32"], {}),
    ("the key of older versions", {"torch_dtype": "float32"}, ["BF16"], {"torch_dtype": "bfloat16"}),
    ("the key of newer versions", {"dtype": "float32"}, ["F16"], {"dtype": "float16"}),
    (
        "both",
        {"dtype": "float32", "torch_dtype": "float32"},
        ["BF16"],
        {"dtype": "bfloat16", "torch_dtype": "bfloat16"},
    ),
    ("a config that does not say", {"x": 1}, ["BF16"], {"x": 1, "dtype": "bfloat16"}),
    ("most tensors decide", {"dtype": "x"}, ["F32", "BF16", "BF16"], {"dtype": "bfloat16"}),
    ("no floating tensors", {"dtype": "x"}, [], {"dtype": "x"}),
]


@pytest.mark.parametrize(("why", "config", "codes", "repaired"), CONFIGS, ids=[row[0] for row in CONFIGS])
def test_the_config_says_the_dtype_of_the_output(
    why: str, config: dict[str, object], codes: list[str], repaired: dict[str, object]
) -> None:
    assert repaired_config(config, [BY_CODE[code] for code in codes]) == repaired, why


def test_the_dtype_is_that_of_the_save(tmp_path: Path) -> None:
    model(tmp_path / "a", torch_dtype="float32", hidden_size=8)
    write_model(tmp_path / "a", {"w": vector(0), "ids": torch.arange(3)}, config={"torch_dtype": "float32"})
    plan = planned(tmp_path, "out: {op: save, input: a, path: out, dtype: bf16}")
    assert saved(plan).config == {"torch_dtype": "bfloat16"}


def test_a_given_chat_template_takes_the_place_of_the_models(tmp_path: Path) -> None:
    model(tmp_path / "a", files={"chat_template.jinja": "old", "tokenizer.json": "{}"})
    (tmp_path / "new.jinja").write_text("new")
    sidecars = saved(planned(tmp_path, "out: {op: save, input: a, path: out, chat_template: new.jinja}"))
    assert sidecars.chat_template == str(tmp_path / "new.jinja")
    assert [name for name, _ in sidecars.copies] == ["tokenizer.json"]


def test_a_chat_template_that_is_not_there(tmp_path: Path) -> None:
    model(tmp_path / "a")
    with pytest.raises(RecipeError, match=r"The chat template .*/new.jinja is not a file"):
        planned(tmp_path, "out: {op: save, input: a, path: out, chat_template: new.jinja}")


def in_settings(template: object) -> dict[str, str]:
    return {"tokenizer_config.json": json.dumps({"chat_template": template})}


TEMPLATES: list[tuple[str, dict[str, str], dict[str, str], bool]] = [
    ("neither has one", {}, {}, False),
    ("the same file", {"chat_template.jinja": "x"}, {"chat_template.jinja": "x"}, False),
    ("different files", {"chat_template.jinja": "x"}, {"chat_template.jinja": "y"}, True),
    ("only one has a file", {"chat_template.jinja": "x"}, {}, True),
    ("the same inside the tokenizer's settings", in_settings("x"), in_settings("x"), False),
    ("different inside the tokenizer's settings", in_settings("x"), in_settings("y"), True),
    ("the same, one as a file", {"chat_template.jinja": "x"}, in_settings("x"), False),
    ("settings without one", {}, {"tokenizer_config.json": "{}"}, False),
    ("settings that cannot be read", {}, {"tokenizer_config.json": "[]"}, False),
]


@pytest.mark.parametrize(("why", "ours", "theirs", "warned"), TEMPLATES, ids=[row[0] for row in TEMPLATES])
def test_different_chat_templates_are_told(
    why: str, ours: dict[str, str], theirs: dict[str, str], warned: bool, tmp_path: Path
) -> None:
    model(tmp_path / "a", 0, ours)
    model(tmp_path / "b", 1, theirs)
    fact = '"a" and "b" differ in their chat template; the output takes that of "a".'
    assert (fact in said(planned(tmp_path, SOUP % ""))) == warned, why


def test_different_ends_of_text_are_told_with_their_numbers(tmp_path: Path) -> None:
    model(tmp_path / "a", 0, eos_token_id=2)
    model(tmp_path / "b", 1, eos_token_id=[2, 7])
    warning = said(planned(tmp_path, SOUP % ""))
    assert 'differ in their eos_token_id (2 and [2, 7]); the output takes that of "a"' in warning
    assert "add `files_from: b` to take the other" in warning
    other = planned(tmp_path, SOUP % ", files_from: b")
    assert "differ in" not in said(other)
    assert saved(other).config["eos_token_id"] == [2, 7]


@pytest.mark.parametrize("field", ["files_from: b", "tokenizer_from: b", "chat_template: mine.jinja"])
def test_a_save_that_says_whose_template_it_takes_is_not_warned(field: str, tmp_path: Path) -> None:
    model(tmp_path / "a", 0, {"chat_template.jinja": "x"})
    model(tmp_path / "b", 1, {"chat_template.jinja": "y"})
    (tmp_path / "mine.jinja").write_text("z")
    assert "chat template" not in said(planned(tmp_path, SOUP % f", {field}"))


WORDS = {"tokenizer.json": "{}"}
LACKING: list[tuple[str, dict[str, str], dict[str, str], str, str, str]] = [
    ("no tokenizer, and another has one", {}, WORDS, "", "tokenizer", "tokenizer_from: b"),
    ("words of an older kind", {}, {"merges.txt": "", "vocab.json": ""}, "", "tokenizer", "tokenizer_from: b"),
    ("both have one", WORDS, WORDS, "", "", ""),
    ("none has one", {}, {}, "", "", ""),
    ("only settings beside the words", {}, {"tokenizer_config.json": "{}"}, "", "", ""),
    ("what was told to type", {}, WORDS, ", tokenizer_from: b", "", ""),
    ("all files of the one that has one", {}, WORDS, ", files_from: b", "", ""),
]


@pytest.mark.parametrize(("why", "ours", "theirs", "options", "what", "fix"), LACKING, ids=[row[0] for row in LACKING])
def test_an_output_without_a_tokenizer_is_told(
    why: str, ours: dict[str, str], theirs: dict[str, str], options: str, what: str, fix: str, tmp_path: Path
) -> None:
    model(tmp_path / "a", 0, ours)
    model(tmp_path / "b", 1, theirs)
    facts = [(each.fact, each.fix) for each in planned(tmp_path, SOUP % options).warnings]
    assert facts == ([(f'"a" has no {what}, so the output has none.', f"add `{fix}`")] if what else []), why


def test_an_output_without_a_config_is_told_and_no_token_id_is_compared(tmp_path: Path) -> None:
    model(tmp_path / "a", 0)
    (tmp_path / "a" / "config.json").unlink()
    model(tmp_path / "b", 1, eos_token_id=7)
    plan = planned(tmp_path, SOUP % "")
    (warning,) = plan.warnings
    assert warning.fact == '"a" has no config.json, so the output has none.'
    assert (warning.node, warning.why, warning.fix) == ("out", '"b" has one', "add `files_from: b`")
    mended = planned(tmp_path, SOUP % ", files_from: b")
    assert mended.warnings == ()
    assert saved(mended).config["eos_token_id"] == 7


CARDS = [
    ("the same in all", ("license: mit", "license: mit"), "mit", False),
    ("none in all", ("tags: [x]", None), "", False),
    ("different ones", ("license: mit", "license: llama3"), "", True),
    ("one that has none", ("license: mit", None), "", True),
    ("a card that is not YAML", ("license: [", "license: ["), "", False),
    ("a card that is no mapping", ("- x", None), "", False),
]


@pytest.mark.parametrize(("why", "cards", "licence", "warned"), CARDS, ids=[row[0] for row in CARDS])
def test_a_licence_is_kept_where_all_agree(
    why: str, cards: tuple[str | None, str | None], licence: str, warned: bool, tmp_path: Path
) -> None:
    for seed, (name, matter) in enumerate(zip("ab", cards, strict=True)):
        model(tmp_path / name, seed, {"README.md": f"---\n{matter}\n---\n# Model"} if matter else None)
    plan = planned(tmp_path, SOUP % "")
    assert saved(plan).licence == licence, why
    assert ("different licences" in said(plan)) == warned


def test_only_models_of_the_hub_are_named_as_base_models(tmp_path: Path) -> None:
    """A folder's name says nothing to others; a Hub cache's does."""
    model(tmp_path / "a")
    cached = tmp_path / "hub" / "models--my-org--my-model" / "snapshots" / "3f1c2ab"
    write_model(cached, {"w": vector(1)})
    nodes = f"x: {{op: load, model: {cached}}}\nm: {{op: soup, inputs: [a, x]}}\nout: {{op: save, input: m, path: out}}"
    assert saved(planned(tmp_path, nodes)).base_models == ("my-org/my-model",)


def test_a_link_that_leads_out_of_its_model_is_named(tmp_path: Path) -> None:
    model(tmp_path / "a", files={"tokenizer.json": "{}"})
    (tmp_path / "vocabulary").write_text("{}")
    (tmp_path / "a" / "vocab.json").symlink_to(tmp_path / "vocabulary")
    (tmp_path / "a" / "vocab.txt").symlink_to(tmp_path / "a" / "tokenizer.json")
    (tmp_path / "a" / "notes.txt").symlink_to(tmp_path / "vocabulary")
    plan = planned(tmp_path, "out: {op: save, input: a, path: out}")
    assert [name for name, _ in saved(plan).copies] == ["tokenizer.json", "vocab.txt"]
    (warning,) = plan.warnings
    assert warning.fact == "vocab.json is left out: it is a link to a file outside its model."
    assert str(tmp_path / "vocabulary") in warning.why
    assert (warning.node, warning.model) == ("out", "./a")


@pytest.mark.parametrize(("cache", "travels"), [("models--org--name", True), ("backup", False)])
def test_links_into_the_blobs_of_a_hub_cache_travel(cache: str, travels: bool, tmp_path: Path) -> None:
    model(tmp_path / "a")
    (tmp_path / cache / "blobs").mkdir(parents=True)
    (tmp_path / cache / "blobs" / "0a1b").write_text("{}")
    (tmp_path / "a" / "vocab.json").symlink_to(tmp_path / cache / "blobs" / "0a1b")
    plan = planned(tmp_path, "out: {op: save, input: a, path: out}")
    assert [name for name, _ in saved(plan).copies] == (["vocab.json"] if travels else [])
    assert bool(plan.warnings) != travels


def _large(path: Path) -> None:
    path.touch()
    os.truncate(path, (256 << 20) + 1)


LEFT_OUT: list[tuple[str, Callable[[Path], None], str]] = [
    ("tokenizer.json", os.mkfifo, "not a regular file"),
    ("tokenizer_config.json", os.mkfifo, "not a regular file"),
    ("tokenizer", Path.mkdir, "not a regular file"),
    ("vocab.json", lambda path: path.symlink_to("vocab.json"), "a link that leads nowhere"),
    ("merges.txt", lambda path: path.symlink_to("gone"), "a link that leads nowhere"),
    ("tokenizer.model", _large, "larger than 256.0 MiB"),
]


@pytest.mark.parametrize(("name", "make", "told"), LEFT_OUT, ids=[f"{row[0]}: {row[2]}" for row in LEFT_OUT])
def test_what_cannot_be_copied_is_named(name: str, make: Callable[[Path], None], told: str, tmp_path: Path) -> None:
    model(tmp_path / "a", 0)
    model(tmp_path / "b", 1)
    make(tmp_path / "a" / name)
    plan = planned(tmp_path, SOUP % "")
    assert saved(plan).copies == ()
    (warning,) = plan.warnings
    assert warning.fact == f"{name} is left out: it is {told}."
    assert (warning.node, warning.model) == ("out", "./a")
    assert warning.fix
