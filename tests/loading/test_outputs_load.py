"""An output is a model that other tools load: transformers, safetensors and peft read it, and it computes the merge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import mergegraph as mg

pytest.importorskip("transformers", reason="transformers is not installed: pip install 'mergegraph[eval]'")
pytest.importorskip("peft", reason="peft is not installed: pip install peft")

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from tests.loading.shapes import SHAPES, Shape, logits, make_pair, tuned

pytestmark = [
    # peft 0.21.2 asks transformers 5.24 for an attribute under its old name.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


def loaded(shape: Shape, folder: Path) -> Any:
    """As a user loads it; no tensor may be missing, left over or of another shape."""
    model, found = shape.loader.from_pretrained(folder, output_loading_info=True)
    assert not any(found.values()), found
    return model


def averaged(shape: Shape, first: Path, second: Path) -> Any:
    """A model whose tensors are the means of two models', without mergegraph."""
    model, other = loaded(shape, first), loaded(shape, second)
    with torch.no_grad():
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            mine.copy_((mine.float() + theirs.float()) / 2)
    return model


@pytest.mark.parametrize("name", SHAPES)
def test_an_average_loads_and_computes_what_the_mean_of_the_weights_does(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name]
    first, second = make_pair(shape, tmp_path)
    mg.save(mg.soup([mg.load(first), mg.load(second)]), tmp_path / "out").run()
    merged, wanted = loaded(shape, tmp_path / "out"), averaged(shape, first, second)
    for (key, mine), theirs in zip(merged.named_parameters(), wanted.parameters(), strict=True):
        assert torch.equal(mine, theirs), key
    torch.testing.assert_close(logits(merged), logits(wanted))
    assert not torch.allclose(logits(merged), logits(loaded(shape, first)))
    head, embedding = merged.get_output_embeddings().weight, merged.get_input_embeddings().weight
    assert (head is embedding) == shape.is_tied


def test_a_bfloat16_model_in_several_files_stays_one(tmp_path: Path) -> None:
    shape = SHAPES["qwen2"]
    first, second = make_pair(shape, tmp_path, torch.bfloat16)
    mg.save(mg.soup([mg.load(first), mg.load(second)]), tmp_path / "out", max_shard_size="10KB").run()
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 2
    merged, wanted = loaded(shape, tmp_path / "out"), averaged(shape, first, second)
    assert merged.dtype == torch.bfloat16
    torch.testing.assert_close(logits(merged), logits(wanted))


def test_a_stack_of_layers_loads_with_as_many_layers(tmp_path: Path) -> None:
    shape = SHAPES["llama"]
    first, second = map(mg.load, make_pair(shape, tmp_path))
    mg.save(mg.stack([(first, "0:2"), (second, "1:3")]), tmp_path / "out").run()
    merged = loaded(shape, tmp_path / "out")
    assert len(merged.model.layers) == merged.config.num_hidden_layers == 4
    ids = merged.generate(torch.tensor([[3, 14]]), attention_mask=torch.ones(1, 2), max_new_tokens=3, do_sample=False)
    assert ids.shape[1] > 2


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_tokenizer_and_settings_come_along(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name]
    first, second = make_pair(shape, tmp_path)
    mg.save(mg.soup([mg.load(first), mg.load(second)]), tmp_path / "out").run()
    out = tmp_path / "out"
    text = "w3 w7 w11"
    assert (
        AutoTokenizer.from_pretrained(out)(text)["input_ids"] == AutoTokenizer.from_pretrained(first)(text)["input_ids"]
    )
    assert GenerationConfig.from_pretrained(out).to_dict() == GenerationConfig.from_pretrained(first).to_dict()
    ours, theirs = (AutoConfig.from_pretrained(folder).to_dict() for folder in (out, first))
    assert {**ours, "_name_or_path": ""} == {**theirs, "_name_or_path": ""}


def test_safetensors_reads_the_output_with_the_metadata_that_transformers_looks_for(tmp_path: Path) -> None:
    first, second = make_pair(SHAPES["gpt2"], tmp_path)
    mg.save(mg.soup([mg.load(first), mg.load(second)]), tmp_path / "out").run()
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as out:
        assert out.metadata()["format"] == "pt"
        with safe_open(first / "model.safetensors", framework="pt") as source:
            assert set(out.keys()) == set(source.keys())


def base_and_adapters(folder: Path, *, name: str = "llama") -> tuple[Path, list[Path]]:
    """A base, and two LoRA adapters for it as peft writes them, of ranks 2 and 3."""
    shape = SHAPES[name]
    torch.manual_seed(7)
    base = tuned(shape.loader.from_config(shape.config()), folder / "base", seed=1)
    adapters: list[Path] = []
    modules = ["c_attn", "c_proj"] if name == "gpt2" else ["q_proj", "v_proj", "down_proj"]
    for rank in (2, 3):
        settings = LoraConfig(r=rank, lora_alpha=5, target_modules=modules, fan_in_fan_out=name == "gpt2")
        model = get_peft_model(loaded(shape, base), settings)
        with torch.no_grad():
            for key, tensor in model.named_parameters():
                if "lora_B" in key:
                    tensor.normal_(std=0.3)
        adapters.append(folder / f"adapter-{rank}")
        model.save_pretrained(adapters[-1])
    return base, adapters


def with_adapter(shape: Shape, base: Path, adapter: Path) -> torch.Tensor:
    return logits(PeftModel.from_pretrained(loaded(shape, base), adapter))


@pytest.mark.parametrize("name", ["llama", "gpt2"])  # GPT-2's matrices are stored transposed
def test_a_merged_adapter_computes_what_peft_computes_with_it(name: str, tmp_path: Path) -> None:
    base, adapters = base_and_adapters(tmp_path, name=name)
    loads = mg.load(base)
    merged = loads + mg.node("lora", adapter=str(adapters[0]), base=loads)
    mg.save(merged, tmp_path / "out").run()
    wanted = with_adapter(SHAPES[name], base, adapters[0])
    torch.testing.assert_close(logits(loaded(SHAPES[name], tmp_path / "out")), wanted)
    assert not torch.allclose(wanted, logits(loaded(SHAPES[name], base)))


def test_two_adapters_become_one_that_peft_loads(tmp_path: Path) -> None:
    shape = SHAPES["llama"]
    base, adapters = base_and_adapters(tmp_path)
    loads = mg.load(base)
    deltas = [mg.node("lora", adapter=str(adapter), base=loads) for adapter in adapters]
    mg.save(mg.soup(deltas), tmp_path / "out", format="peft").run()
    mg.save(loads + mg.soup(deltas), tmp_path / "whole").run()
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["r"] == 5
    wanted = logits(loaded(shape, tmp_path / "whole"))
    torch.testing.assert_close(with_adapter(shape, base, tmp_path / "out"), wanted, rtol=1e-4, atol=1e-5)


def test_what_low_rank_keeps_of_a_fine_tune_is_an_adapter_that_peft_loads(tmp_path: Path) -> None:
    shape = SHAPES["llama"]
    first, second = map(mg.load, make_pair(shape, tmp_path))
    in_layers = mg.select([{"match": "*_proj.weight", "from": second - first}])
    mg.save(mg.node("low_rank", input=in_layers, rank=4), tmp_path / "out", format="peft").run()
    mg.save(first + mg.node("low_rank", input=in_layers, rank=4), tmp_path / "whole").run()
    wanted = logits(loaded(shape, tmp_path / "whole"))
    torch.testing.assert_close(with_adapter(shape, tmp_path / "a", tmp_path / "out"), wanted, rtol=1e-4, atol=1e-5)
