"""A greedy soup grows from its running average: what a step reads, and when it must not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mergegraph.search import making
from mergegraph.search.run import FOUND
from tests import tiny_models
from tests.cli.tiny_models import tensors, write_model
from tests.search.searches import entries, run, write_search
from tests.tiny_adapters import matrices, write_adapter

ALWAYS = "import json\ndef score(model, split):\n    return {'loss': 1.0}\n"


def test_every_step_merges_two_models_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight models, each accepted: the seven soups are made from their own recipes, and before that six proposals
    (the first pair is its own) and their running averages, each from two models."""
    (tmp_path / "always.py").write_text(ALWAYS)
    for number in range(8):
        write_model(tmp_path / "many" / f"m{number}", tensors(shift=number / 10))
    reads: list[int] = []
    execute = making.execute

    def counting(planned, options):  # type: ignore[no-untyped-def]
        reads.append(len(planned.inputs))
        return execute(planned, options)

    monkeypatch.setattr(making, "execute", counting)
    result = run(write_search(tmp_path, candidates=["./many/*"], evaluator={"python": "always:score"}))
    assert result.label.count("+") == 7
    pairs = reads.count(2)
    assert sorted(count for count in reads if count != 2) == [3, 4, 5, 6, 7, 8, 8], "the own recipes, and what ships"
    assert pairs == 1 + 6 + 6, "the first pair, six proposals, six running averages"


def test_a_search_goes_on_from_the_running_average_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "always.py").write_text(ALWAYS)
    fields = {"evaluator": {"python": "always:score"}}
    run(write_search(tmp_path, limits={"evaluations": 6}, **fields))
    result = run(write_search(tmp_path, **fields))
    assert result.label == "a + b + c + d"


def test_a_proposal_has_the_files_of_what_would_ship(tmp_path: Path) -> None:
    write_search(tmp_path)
    for name in "abcd":
        (tmp_path / "models" / name / "tokenizer_config.json").write_text(json.dumps({"of": name}))
    (tmp_path / "whose.py").write_text(
        "import json\nfrom pathlib import Path\ndef score(model, split):\n"
        "    whose = json.loads((model / 'tokenizer_config.json').read_text())['of']\n"
        "    with (Path(__file__).parent / 'whose.log').open('a') as log: print(whose, file=log)\n"
        "    return {'loss': 1.0}\n"
    )
    run(write_search(tmp_path, evaluator={"python": "whose:score"}))
    said = (tmp_path / "whose.log").read_text().split()
    assert said[:4] == list("abcd"), "the models themselves"
    assert set(said[4:]) == {"a"}


@pytest.mark.parametrize("takes", ["folder", "tensors"])
def test_models_of_other_dtypes_are_evaluated_from_their_own_recipes(tmp_path: Path, takes: str) -> None:
    """A proposal in the dtype of what is added would be judged on weights that never ship."""
    for name, dtype in (("a", torch.float32), ("b", torch.float32), ("c", torch.bfloat16)):
        tiny_models.write_model(tmp_path / "mixed" / name, tiny_models.llama_tensors(seed=1, dtype=dtype))
    (tmp_path / "always.py").write_text(ALWAYS)
    evaluator = {"python": "always:score", "takes": takes}
    result = run(write_search(tmp_path, candidates=["./mixed/*"], evaluator=evaluator))
    assert result.label == "a + b + c"
    assert not any(entry["proposal"] for entry in entries(tmp_path, "evaluated"))


@pytest.mark.parametrize("takes", ["folder", "tensors"])
def test_a_base_with_its_adapter_may_be_a_candidate(tmp_path: Path, takes: str) -> None:
    modules = {"model.layers.0.mlp.up_proj": (8, 8)}
    write_adapter(tmp_path / "lora", matrices(modules), target_modules=["up_proj"], lora_alpha=0.01)
    (tmp_path / "always.py").write_text(ALWAYS)
    candidates = ["./models/a+./lora", "./models/b", "./models/c"]
    result = run(write_search(tmp_path, candidates=candidates, evaluator={"python": "always:score", "takes": takes}))
    assert result.label.count("+") == 2, "all three"
    assert result.recipe is not None
    assert "lora" in result.recipe.read_text()


def test_a_found_recipe_of_unrelated_models_says_how_it_runs(tmp_path: Path) -> None:
    result = run(write_search(tmp_path, "uniform", allow_unrelated=True))
    assert result.command.endswith(f"{FOUND} --allow-unrelated")
    assert result.recipe is not None
    assert "--allow-unrelated" in result.recipe.read_text()
