"""Stacked and merged models load in transformers, where it is installed, and give finite numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.execute.merging import merged, planned

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SMALL = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 4, "vocab_size": 48, "max_position_embeddings": 64,
}  # fmt: skip
SHAPED = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", {"tie_word_embeddings": False}),
    "llama, tied": ("LlamaConfig", "LlamaForCausalLM", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {"tie_word_embeddings": False, "max_window_layers": 3}),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", {
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 8,
        "query_pre_attn_scalar": 4,
    }),
}  # fmt: skip


def model(kind: str, seed: int, **changes: object) -> Any:
    config, architecture, more = SHAPED[kind]
    torch.manual_seed(seed)
    return getattr(transformers, architecture)(getattr(transformers, config)(**{**SMALL, **more, **changes})).eval()


def pair(folder: Path, kind: str) -> None:
    """A model and a fine-tune of it."""
    base = model(kind, 0)
    base.save_pretrained(folder / "a")
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.add_(torch.randn_like(parameter) * 1e-4)
    base.save_pretrained(folder / "b")


def loaded(folder: Path) -> tuple[Any, Any]:
    """The model, and what transformers says of how it loaded."""
    made, said = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    return made.eval(), said


def complete(said: Any) -> bool:
    return not any(said.get(key) for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def logits(made: Any) -> torch.Tensor:
    with torch.no_grad():
        return made(torch.arange(1, 13).unsqueeze(0)).logits


LOADS = "a: {op: load, model: a}\nb: {op: load, model: b}\n"


@pytest.mark.parametrize("kind", SHAPED)
def test_a_stack_loads_and_runs(kind: str, tmp_path: Path) -> None:
    pair(tmp_path, kind)
    stack = 'm: {op: stack, slices: [{from: a, layers: "0:2"}, {from: b, layers: "1:3"}]}\n'
    merged(planned(tmp_path, LOADS + stack + "out: {op: save, input: m, path: out}"))
    made, said = loaded(tmp_path / "out")
    assert complete(said), said
    assert made.config.num_hidden_layers == 4
    layers = getattr(made.config, "layer_types", None)
    assert layers is None or len(layers) == 4
    assert logits(made).isfinite().all()


@pytest.mark.parametrize("kind", SHAPED)
def test_a_soup_loads_and_lies_between_its_models(kind: str, tmp_path: Path) -> None:
    pair(tmp_path, kind)
    save = "m: {op: soup, inputs: [a, b]}\nout: {op: save, input: m, path: out, pad_to_multiple_of: 32}"
    merged(planned(tmp_path, LOADS + save))
    made, said = loaded(tmp_path / "out")
    assert complete(said), said
    assert made.config.vocab_size == 64
    middle = (logits(loaded(tmp_path / "a")[0]) + logits(loaded(tmp_path / "b")[0])) / 2
    assert torch.allclose(logits(made)[..., :48], middle, atol=1e-3)


def test_tied_and_untied_models_give_one_that_loads_untied(tmp_path: Path) -> None:
    pair(tmp_path, "llama, tied")
    tied = loaded(tmp_path / "a")[0]
    free = model("llama", 0)
    free.load_state_dict(tied.state_dict(), strict=False)
    with torch.no_grad():
        free.lm_head.weight.copy_(tied.lm_head.weight * 1.5)
    free.save_pretrained(tmp_path / "b")
    merged(planned(tmp_path, LOADS + "m: {op: soup, inputs: [a, b]}\nout: {op: save, input: m, path: out}"))
    made, said = loaded(tmp_path / "out")
    assert complete(said), said
    assert made.config.tie_word_embeddings is False
    assert torch.allclose(made.lm_head.weight, tied.lm_head.weight * 1.25, atol=1e-6)
    assert torch.allclose(logits(made), logits(tied) * 1.25, atol=1e-4)


def test_an_aligned_model_reads_text_as_it_did(tmp_path: Path) -> None:
    """The same words under other ids: aligned, the model gives the same scores for the same text."""
    words = [f"w{n}" for n in range(48)]
    order = torch.randperm(48, generator=torch.Generator().manual_seed(3))
    base = model("llama", 0)
    base.save_pretrained(tmp_path / "a")
    permuted = model("llama", 0)
    with torch.no_grad():
        permuted.model.embed_tokens.weight.copy_(base.model.embed_tokens.weight[order])
        permuted.lm_head.weight.copy_(base.lm_head.weight[order])
    permuted.save_pretrained(tmp_path / "b")
    for name, listed in (("a", words), ("b", [words[row] for row in order])):
        vocabulary = {word: row for row, word in enumerate(listed)}
        text = {
            "version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": None, "decoder": None, "truncation": None, "padding": None,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"},
        }  # fmt: skip
        (tmp_path / name / "tokenizer.json").write_text(json.dumps(text))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64}
        (tmp_path / name / "tokenizer_config.json").write_text(json.dumps(settings))
    nodes = "a: {op: load, model: a}\nb: {op: load, model: b, vocab: {align: a}}\n"
    merged(planned(tmp_path, nodes + "m: {op: soup, inputs: [b]}\nout: {op: save, input: m, path: out}"))
    assert torch.equal(
        load_file(tmp_path / "out" / "model.safetensors")["lm_head.weight"], base.lm_head.weight.detach()
    )
    made = loaded(tmp_path / "out")[0]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokenizer("w5 w7 w11", return_tensors="pt")["input_ids"]
    assert ids.tolist() == [[5, 7, 11]]
    with torch.no_grad():
        assert torch.allclose(made(ids).logits, base(ids).logits, atol=1e-6)
