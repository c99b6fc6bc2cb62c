"""Models that belong together merge in silence; other bases, tokenizers and architectures are refused with numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from mergegraph import pipeline
from mergegraph.errors import Problem, RecipeError
from mergegraph.lineage import median_cosine
from mergegraph.recipe.load import parse_recipe
from mergegraph.tensors.checkpoint import open_checkpoint
from tests.tiny_adapters import matrices, write_adapter
from tests.tiny_models import llama_tensors, write_model

MODELS = Path(__file__).resolve().parents[1] / "recipes" / "models"
Tensors = Mapping[str, torch.Tensor]
BASE = llama_tensors()
TUNED = llama_tensors(noise_of=BASE, seed=1)
STRANGER = llama_tensors(seed=2)
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.float32)
SOUP = "{op: soup, inputs: [one, two]}"


def findings(
    folder: Path, one: str, two: str, node: str = SOUP, *, allow_unrelated: bool = False
) -> tuple[Problem, ...]:
    """The warnings of a check of two models, or the problems it refuses them with."""
    text = (
        f"mergegraph: 1\nnodes:\n  one: {{op: load, model: {one}}}\n  two: {{op: load, model: {two}}}\n"
        f"  m: {node}\n  out: {{op: save, input: m, path: out}}\n"
    )
    recipe = parse_recipe(text, file="merge.yaml", folder=folder)
    try:
        return pipeline.check(recipe, allow_unrelated=allow_unrelated).warnings
    except RecipeError as error:
        return error.problems


def pair(folder: Path, one: Tensors = BASE, two: Tensors = TUNED) -> Path:
    write_model(folder / "one", one)
    write_model(folder / "two", two)
    return folder


# One base


def test_relatives_are_silent(tmp_path: Path) -> None:
    assert findings(pair(tmp_path), "one", "two") == ()


def test_another_base_is_refused_with_its_number(tmp_path: Path) -> None:
    (problem,) = findings(pair(tmp_path, two=STRANGER), "one", "two")
    measured = re.search(r"the median cosine of their matrices is (-?[\d.]+)\.$", problem.fact)
    assert measured
    assert abs(float(measured[1])) < 0.5
    assert problem.severity == "error"
    assert (problem.node, str(problem.at), problem.model) == ("m", "merge.yaml:5", "two")
    assert "--allow-unrelated" in problem.fix


def test_allow_unrelated_turns_it_into_a_warning(tmp_path: Path) -> None:
    (problem,) = findings(pair(tmp_path, two=STRANGER), "one", "two", allow_unrelated=True)
    assert problem.severity == "warning"
    assert "different bases" in problem.fact


@pytest.mark.parametrize(
    "node",
    [
        "one + 0.5*(two - one)",
        "{op: clamp, input: one, within: [two]}",
        "{op: select, cases: [{kind: mlp, from: two}], otherwise: one}",
        "{op: stack, slices: [{from: one, layers: '0:1'}, {from: two, layers: '1:2'}]}",
    ],
)
def test_every_node_with_several_inputs_is_looked_at(node: str, tmp_path: Path) -> None:
    assert findings(pair(tmp_path), "one", "two", node) == ()
    (problem,) = findings(pair(tmp_path, two=STRANGER), "one", "two", node)
    assert "different bases" in problem.fact


def test_a_pair_that_meets_twice_is_reported_once(tmp_path: Path) -> None:
    node = "one + 0.5*(two - one)\n  n: {op: soup, inputs: [m, one, two]}\n  z: {op: save, input: n, path: z}"
    assert len(findings(pair(tmp_path, two=STRANGER), "one", "two", node)) == 1


@pytest.mark.parametrize("dtypes", list(pairwise(DTYPES)))
def test_models_stored_in_different_dtypes_are_compared(dtypes: Sequence[torch.dtype], tmp_path: Path) -> None:
    one, two = ({name: tensor.to(dtype) for name, tensor in BASE.items()} for dtype in dtypes)
    pair(tmp_path, one, two)
    held = [open_checkpoint(name, tmp_path).tensors for name in ("one", "two")]
    assert median_cosine(*held) == pytest.approx(1, abs=1e-3)
    strangers = {name: tensor.to(dtypes[1]) for name, tensor in STRANGER.items()}
    assert len(findings(pair(tmp_path, one, strangers), "one", "two")) == 1


def test_tensors_longer_than_a_piece_are_compared_at_the_same_place(tmp_path: Path) -> None:
    """bfloat16 and float32 pieces of one tensor: as many elements of each, from the same element on."""
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(331, 257, generator=generator)
    write_model(tmp_path / "one", {"w": values})
    write_model(tmp_path / "two", {"w": values.bfloat16()})
    held = [open_checkpoint(name, tmp_path).tensors for name in ("one", "two")]
    assert median_cosine(*held) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (torch.zeros(8, 8), "no direction"),
        (torch.full((8, 8), torch.nan), "nothing to compare"),
        (torch.full((8, 8), torch.inf), "nothing to compare"),
        (torch.full((8, 8), 1e300, dtype=torch.float64), "its square is infinite"),
        (torch.zeros(0, 8), "empty"),
    ],
)
def test_matrices_that_say_nothing_are_left_out(held: torch.Tensor, why: str, tmp_path: Path) -> None:
    pair(tmp_path, {**BASE, "w": held}, {**TUNED, "w": held})
    checkpoints = [open_checkpoint(name, tmp_path).tensors for name in ("one", "two")]
    assert median_cosine(*checkpoints) == pytest.approx(1, abs=0.01), why
    pair(tmp_path, {"w": held}, {"w": held})
    alone = [open_checkpoint(name, tmp_path).tensors for name in ("one", "two")]
    assert median_cosine(*alone) is None, why
    assert findings(tmp_path, "one", "two") == ()


def test_norms_and_vectors_do_not_count(tmp_path: Path) -> None:
    """Unrelated models agree in their norms, all near 1; over all tensors they would look like relatives."""
    norms = {f"model.layers.{layer}.input_layernorm.weight": torch.ones(4_099) for layer in range(40)}
    (problem,) = findings(pair(tmp_path, {**BASE, **norms}, {**STRANGER, **norms}), "one", "two")
    assert "different bases" in problem.fact


def test_a_stored_delta_has_no_direction_to_compare(tmp_path: Path) -> None:
    write_model(tmp_path / "one", BASE)
    write_model(tmp_path / "two", STRANGER, metadata={"mergegraph.space": "delta"})
    assert findings(tmp_path, "one", "two", "one + two") == ()


# Tokenizers

WORDS = {"<s>": 0, "hello": 1, "world": 2, "model": 3}
SWAPPED = {"<s>": 0, "hello": 2, "world": 1, "model": 3}
SHORTER = {"<s>": 0, "hello": 1, "world": 2}


def bpe(vocabulary: Mapping[str, int], **more: object) -> str:
    return json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": dict(vocabulary)}, **more})


def unigram(*pieces: str) -> str:
    return json.dumps({"model": {"type": "Unigram", "vocab": [[piece, -1.5] for piece in pieces]}})


def added(token: str, row: int) -> list[dict[str, object]]:
    return [{"id": row, "content": token, "special": True}]


def tokenizer_findings(folder: Path, file: str, one: str | bytes, two: str | bytes) -> tuple[Problem, ...]:
    pair(folder)
    for name, content in (("one", one), ("two", two)):
        (folder / name / file).write_bytes(content.encode() if isinstance(content, str) else content)
    return findings(folder, "one", "two")


SWAP = "4 tokens each, 2 rows differ: row 1 is 'hello' and 'world'; row 2 is 'world' and 'hello'"
CUT = "4 and 3 tokens, 1 row differs: row 3 is 'model' and 'absent'"


@pytest.mark.parametrize(
    ("file", "one", "two", "why"),
    [
        ("tokenizer.json", bpe(WORDS), bpe(SWAPPED), SWAP),
        ("tokenizer.json", bpe(WORDS), bpe(SHORTER), CUT),
        ("tokenizer.json", bpe(SHORTER, added_tokens=added("model", 3)), bpe(SHORTER, added_tokens=added("pad", 3)),
         "4 tokens each, 1 row differs: row 3 is 'model' and 'pad'"),
        ("tokenizer.json", unigram(*WORDS), unigram("<s>", "world", "hello", "model"), SWAP),
        ("tokenizer.json", unigram(*WORDS), bpe(SHORTER), CUT),
        ("vocab.json", json.dumps(WORDS), json.dumps(SWAPPED), SWAP),  # "model" is a token here, not a section
        ("vocab.txt", "<s>\nhello\nworld\nmodel\n", "<s>\nworld\nhello\nmodel\n", SWAP),
        ("vocab.txt", "<s>\nhello\nworld\nmodel\n", "<s>\nhello\nworld\n", CUT),
    ],
)  # fmt: skip
def test_vocabularies_that_differ_are_refused_with_the_first_rows(
    file: str, one: str, two: str, why: str, tmp_path: Path
) -> None:
    (problem,) = tokenizer_findings(tmp_path, file, one, two)
    assert problem.fact == '"one" and "two" have different tokenizers.'
    assert problem.why == why
    assert (problem.severity, problem.node, str(problem.at)) == ("error", "m", "merge.yaml:5")


@pytest.mark.parametrize(
    ("file", "one", "two"),
    [
        ("tokenizer.json", bpe(WORDS), bpe(WORDS, truncation=None)),  # other settings, one vocabulary
        ("tokenizer.json", bpe(WORDS), bpe(SHORTER, added_tokens=added("model", 3))),  # added, at the same row
        ("tokenizer.json", bpe(WORDS), bpe(WORDS, added_tokens=None)),
        ("tokenizer.json", bpe(WORDS), unigram(*WORDS)),
        ("vocab.json", json.dumps(WORDS), json.dumps(WORDS, indent=2)),
        ("vocab.txt", "<s>\nhello\n", "<s>\nhello"),  # with and without the last newline
        ("vocab.txt", "<s>\nhello\n", "<s>\r\nhello\r\n"),
        ("tokenizer.json", bpe(WORDS), "not JSON"),  # an unknown form says nothing
        ("tokenizer.json", bpe(WORDS), "[]"),
        ("tokenizer.json", bpe(WORDS), '{"model": {"type": "other"}}'),
        ("tokenizer.json", bpe(WORDS), bpe(SHORTER, added_tokens=[{"text": "model"}])),
        ("vocab.txt", "<s>\nhello\n", b"\xff\xfe"),
        ("spiece.model", b"\x00same", b"\x00same"),
    ],
)
def test_vocabularies_that_agree_are_silent(file: str, one: str | bytes, two: str | bytes, tmp_path: Path) -> None:
    assert tokenizer_findings(tmp_path, file, one, two) == ()


@pytest.mark.parametrize("file", ["tokenizer.model", "spiece.model"])
def test_models_of_sentencepiece_are_compared_by_content_with_a_warning(file: str, tmp_path: Path) -> None:
    (problem,) = tokenizer_findings(tmp_path, file, b"\x00one", b"\x00two")
    assert (problem.severity, problem.why) == ("warning", f"{file} differs")


def test_a_model_without_a_tokenizer_is_not_held_against_one_that_has_it(tmp_path: Path) -> None:
    pair(tmp_path)
    (tmp_path / "one" / "tokenizer.json").write_text(bpe(WORDS))
    assert findings(tmp_path, "one", "two") == ()


def test_tokens_that_differ_are_refused_with_a_way_to_align_them(tmp_path: Path) -> None:
    (problem,) = tokenizer_findings(tmp_path, "tokenizer.json", bpe(WORDS), bpe(SWAPPED))
    assert "`vocab: {align: one}`" in problem.fix
    assert 'the load node "two"' in problem.fix


# What the models say of themselves


def declared(folder: Path, one: str, two: str, *, other: Tensors = TUNED) -> tuple[Problem, ...]:
    pair(folder, two=other)
    for name, base in (("one", one), ("two", two)):
        if base:
            (folder / name / "README.md").write_text(f"---\nbase_model: {base}\n---\n")
    return findings(folder, "one", "two")


@pytest.mark.parametrize(
    ("one", "two", "why"),
    [
        ("meta/llama", "meta/llama", "one base"),
        ("meta/llama", "./models/Llama", "one base, by the last part of its name"),
        ("meta/llama", "", "only one says anything"),
        ("meta/llama", "someone/one", "a fine-tune of the other"),
    ],
)
def test_declared_bases_that_agree_are_silent(one: str, two: str, why: str, tmp_path: Path) -> None:
    assert declared(tmp_path, one, two) == (), why


def test_declared_bases_that_contradict_each_other_are_a_warning(tmp_path: Path) -> None:
    (problem,) = declared(tmp_path, "meta/llama", "qwen/qwen3")
    assert problem.severity == "warning"
    assert problem.why == '"one" names meta/llama as its base; "two" names qwen/qwen3 as its base'


def test_strangers_are_refused_with_what_they_declare(tmp_path: Path) -> None:
    (problem,) = declared(tmp_path, "meta/llama", "meta/llama", other=STRANGER)
    assert problem.severity == "error"
    assert problem.why.endswith('"one" names meta/llama as its base; "two" names meta/llama as its base')


@pytest.mark.parametrize(
    ("names", "says", "warns"),
    [("meta/llama", "Llama", False), ("meta/llama", "qwen/qwen3", True), ("", "qwen/qwen3", False)],
)
def test_an_adapter_for_another_model_is_a_warning(names: str, says: str, warns: bool, tmp_path: Path) -> None:
    """As far as the model says what it is: `names` is what its config does, `says` what the adapter does."""
    write_model(tmp_path / "one", BASE, config={"_name_or_path": names})
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    factors = {f"{module}.lora_A.weight": torch.ones(2, 8), f"{module}.lora_B.weight": torch.ones(8, 2)}
    write_model(tmp_path / "lora", factors)
    (tmp_path / "lora" / "model.safetensors").rename(tmp_path / "lora" / "adapter_model.safetensors")
    config = json.dumps({**settings, "base_model_name_or_path": says})
    (tmp_path / "lora" / "adapter_config.json").write_text(config)
    text = (
        "mergegraph: 1\nnodes:\n  one: {op: load, model: one}\n  d: {op: lora, adapter: lora, base: one}\n"
        "  m: {op: sum, inputs: [one, d]}\n  out: {op: save, input: m, path: out}\n"
    )
    found = pipeline.check(parse_recipe(text, file="merge.yaml", folder=tmp_path)).warnings
    assert [problem.why for problem in found] == (['it names qwen/qwen3; "one" names meta/llama'] if warns else [])


@pytest.mark.parametrize(("says", "warns"), [("meta/llama", False), ("someone/Llama", False), ("qwen/qwen3", True)])
def test_a_model_in_a_hub_cache_is_called_what_its_place_says(says: str, warns: bool, tmp_path: Path) -> None:
    place = "models--meta--llama/snapshots/abc"
    write_model(tmp_path / place, BASE, config={})
    factors = matrices({"model.layers.0.self_attn.q_proj": (8, 8)})
    write_adapter(tmp_path / "lora", factors, base_model_name_or_path=says)
    text = (
        f"mergegraph: 1\nnodes:\n  one: {{op: load, model: {place}}}\n  d: {{op: lora, adapter: lora, base: one}}\n"
        "  m: {op: sum, inputs: [one, d]}\n  out: {op: save, input: m, path: out}\n"
    )
    found = pipeline.check(parse_recipe(text, file="merge.yaml", folder=tmp_path)).warnings
    assert [problem.why for problem in found] == (['it names qwen/qwen3; "one" names meta/llama'] if warns else [])


# Architectures

CONFIG = {"model_type": "llama", "hidden_size": 8, "num_attention_heads": 2, "rope_theta": 10_000.0}


def config_findings(
    folder: Path, change: Mapping[str, object], *, allow_unrelated: bool = False
) -> tuple[Problem, ...]:
    write_model(folder / "one", BASE, config=CONFIG)
    write_model(folder / "two", TUNED, config={**CONFIG, **change})
    return findings(folder, "one", "two", allow_unrelated=allow_unrelated)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("model_type", "mistral", "model_type: llama and mistral"),
        ("num_attention_heads", 4, "num_attention_heads: 2 and 4"),  # same shapes, other meaning
        ("hidden_size", 16, "hidden_size: 8 and 16"),
    ],
)
def test_another_architecture_is_refused_with_what_differs(key: str, value: object, why: str, tmp_path: Path) -> None:
    (problem,) = config_findings(tmp_path, {key: value})
    assert (problem.severity, problem.why) == ("error", why)
    (allowed,) = config_findings(tmp_path, {key: value}, allow_unrelated=True)
    assert (allowed.severity, allowed.why) == ("warning", why)


@pytest.mark.parametrize(
    ("change", "warns"),
    [
        ({"rope_theta": 500_000.0}, "rope_theta: 10000.0 and 500000.0"),
        ({"head_dim": 4}, ""),  # only one of them says it
        ({"use_cache": False, "dtype": "bfloat16"}, ""),  # nothing a merge depends on
    ],
)
def test_other_keys_warn_or_are_silent(change: Mapping[str, object], warns: str, tmp_path: Path) -> None:
    warnings = config_findings(tmp_path, change)
    assert [warning.why for warning in warnings] == ([warns] if warns else [])
    assert all(warning.severity == "warning" for warning in warnings)


# The checkpoints that ship with the repository

DIGITS, LLAMA = MODELS / "digits-vit", MODELS / "tiny-llama"
SIBLINGS = {
    "soups": ["base", *(f"soup-{index}" for index in range(10))],
    "one run": [f"run-epoch-{epoch}" for epoch in range(16, 25, 2)],
    "tasks": ["general", *(f"task-{view}" for view in ("upright", "rot90", "invert", "mirror"))],
}


@pytest.mark.parametrize("names", SIBLINGS.values(), ids=SIBLINGS)
def test_real_siblings_are_silent(names: list[str]) -> None:
    for one, two in pairwise(names):
        assert findings(DIGITS, one, two) == (), (one, two)


def test_real_language_models_are_silent() -> None:
    for name in ("french", "python", "legal"):
        assert findings(LLAMA, "base", name) == (), name


@pytest.mark.parametrize("stranger", ["other-init", "task-mirror"])
def test_real_strangers_are_refused(stranger: str) -> None:
    """All are vision transformers of one shape, trained on the same digits, from three initialisations."""
    (problem,) = findings(DIGITS, "soup-5", stranger)
    assert problem.severity == "error"
    assert '"one" and "two" have different bases' in problem.fact
    assert f"soup-5 and {stranger} were initialised apart" in problem.why
