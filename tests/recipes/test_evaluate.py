"""The evaluator finds what the checkpoints are known to hold; counts are exact, so a wrong forward pass shows."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from recipes.evaluate import main
from recipes.evaluation import CannotEvaluate, Score, evaluate
from recipes.evaluation.bpe import read_encoder
from recipes.evaluation.checkpoint import Checkpoint, read_checkpoint
from recipes.evaluation.digits import Split, View
from recipes.evaluation.llama import llama_logits
from recipes.evaluation.texts import DOMAINS, score_tokens

MODELS = Path(__file__).resolve().parents[2] / "recipes" / "models"
DIGITS, LLAMA = MODELS / "digits-vit", MODELS / "tiny-llama"


@pytest.mark.parametrize(
    ("model", "split", "view", "correct", "count", "loss"),
    [
        ("base", "test", "upright", 568, 597, 0.1669),
        ("soup-0", "test", "upright", 585, 597, 0.0779),
        ("soup-6", "test", "upright", 567, 597, 0.1915),  # the weakest of the ten
        ("soup-5", "test", "upright", 586, 597, 0.1236),
        ("soup-5", "select", "upright", 389, 400, 0.1354),  # another split, the same model
        ("run-epoch-24", "test", "upright", 566, 597, 0.1582),
        ("task-upright", "test", "upright", 565, 597, 0.2002),
        ("task-rot90", "test", "rot90", 564, 597, 0.1916),  # a wrong direction of turning gives another count
        ("task-invert", "test", "invert", 548, 597, 0.2224),
        ("task-mirror", "test", "mirror", 558, 597, 0.2033),
        ("task-upright", "test", "mirror", 468, 597, 0.5554),  # a view that the fine-tune has forgotten
    ],
)
def test_digits_models_score_as_measured(
    model: str, split: Split, view: View, correct: int, count: int, loss: float
) -> None:
    score = evaluate(DIGITS / model, split, (view,))[view]
    assert (score.correct, score.count) == (correct, count)
    assert score.accuracy == pytest.approx(100 * correct / count)
    assert score.loss == pytest.approx(loss, abs=5e-5)


@pytest.mark.parametrize(
    ("members", "correct", "loss"),
    [
        ([f"soup-{index}" for index in range(10)], 586, 0.0867),  # ten relatives
        ([f"run-epoch-{epoch}" for epoch in range(16, 25, 2)], 576, 0.1132),
        (["soup-5", "other-init"], 89, 2.6433),  # no relatives: near chance
    ],
)
def test_plain_averages_score_as_measured(tmp_path: Path, members: list[str], correct: int, loss: float) -> None:
    models = [read_checkpoint(DIGITS / member).as_dtype(torch.float64) for member in members]
    average = {name: torch.stack([model[name] for model in models]).mean(0).float() for name in models[0]}
    shutil.copy(DIGITS / "base" / "config.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(save(average))
    score = evaluate(tmp_path)["upright"]
    assert score.correct == correct
    assert score.loss == pytest.approx(loss, abs=5e-5)


@cache
def language_scores(model: str) -> dict[str, Score]:
    return evaluate(LLAMA / model)


# English, French and legal text lie in the repository; the Python text depends on the Python that runs this.
@pytest.mark.parametrize(
    ("model", "losses"),
    [
        ("base", {"english": 4.8657, "french": 4.9719, "legal": 3.8748}),
        ("french", {"english": 4.9571, "french": 4.8296, "legal": 4.0008}),
        ("python", {"english": 4.8596, "french": 5.0848, "legal": 3.9201}),
        ("legal", {"english": 4.8681, "french": 5.0369, "legal": 3.6173}),
    ],
)
def test_language_models_score_as_measured(model: str, losses: dict[str, float]) -> None:
    scores = language_scores(model)
    assert list(scores) == list(DOMAINS)
    assert {domain: scores[domain].loss for domain in losses} == pytest.approx(losses, abs=5e-4)


@pytest.mark.parametrize("domain", ["french", "python", "legal"])
def test_a_fine_tune_knows_its_own_domain_better_than_base(domain: str) -> None:
    base, tuned = language_scores("base")[domain], language_scores(domain)[domain]
    assert tuned.loss < base.loss - 0.1
    assert tuned.correct > base.correct


def _llama() -> Checkpoint:
    base = read_checkpoint(LLAMA / "base")
    return Checkpoint(base.folder, base.config, base.as_dtype(torch.float32))


def test_a_later_token_changes_no_earlier_prediction() -> None:
    model = _llama()
    tokens = torch.arange(3, 40).unsqueeze(0)
    changed = tokens.clone()
    changed[0, 29] = 1000
    first, second = (llama_logits(model.tensors, model.config, seen) for seen in (tokens, changed))
    torch.testing.assert_close(first[:, :29], second[:, :29])
    assert not torch.allclose(first[:, 29], second[:, 29])


def test_a_separate_head_is_used_where_there_is_one() -> None:
    model = _llama()
    tokens = torch.arange(130)
    tied = score_tokens(model, tokens)
    embedding = model.tensors["model.embed_tokens.weight"]
    same = Checkpoint(model.folder, model.config, model.tensors | {"lm_head.weight": embedding})
    zero = Checkpoint(model.folder, model.config, model.tensors | {"lm_head.weight": torch.zeros_like(embedding)})
    assert score_tokens(same, tokens) == tied
    assert score_tokens(zero, tokens).loss == pytest.approx(torch.tensor(2048.0).log().item(), abs=1e-5)


def test_tokens_beyond_the_last_full_window_do_not_count() -> None:
    tokens = torch.arange(129 + 127)
    assert score_tokens(_llama(), tokens) == score_tokens(_llama(), tokens[:129])
    assert score_tokens(_llama(), torch.arange(129 + 128)).count == 2 * 128


# As the tokenizers library encodes them.
@pytest.mark.parametrize(
    ("text", "symbols", "reason"),
    [
        (" the the", ["Ġthe", "Ġthe"], "a space belongs to the word after it"),
        ("\n\n  x", ["ĊĊ", "Ġ", "Ġx"], "the last of a run of spaces too"),
        ("    return", ["ĠĠĠ", "Ġreturn"], "and indentation is what is left"),
        ("don't", ["d", "on", "'t"], "a contraction is a piece"),
        ("l'été", ["l", "'", "Ã©", "tÃ©"], "a letter beyond ASCII is a letter, in two bytes"),
        ("a_b1", ["a", "_", "b", "1"], "an underscore and a digit are no letters"),
        ("12345", ["12", "3", "4", "5"], "a merge of digits goes by rank, from the left"),
        ("", [], "nothing gives nothing, and no special token"),
    ],
)
def test_encoding_follows_the_byte_alphabet_and_the_merges(text: str, symbols: list[str], reason: str) -> None:
    tokenizer_file = LLAMA / "base" / "tokenizer.json"
    vocabulary: dict[str, int] = json.loads(tokenizer_file.read_text(encoding="utf-8"))["model"]["vocab"]
    assert read_encoder(tokenizer_file)(text) == [vocabulary[symbol] for symbol in symbols], reason


def test_the_texts_have_the_token_counts_of_the_tokenizers_library() -> None:
    encode = read_encoder(LLAMA / "base" / "tokenizer.json")
    counts = {"english": 1073, "french": 1214, "legal": 3593}
    assert {domain: len(encode(DOMAINS[domain].read_text(encoding="utf-8"))) for domain in counts} == counts


def test_a_sharded_model_scores_as_the_whole(tmp_path: Path) -> None:
    tensors = load((DIGITS / "base" / "model.safetensors").read_bytes())
    shutil.copy(DIGITS / "base" / "config.json", tmp_path)
    names = sorted(tensors)
    for index, part in enumerate((names[:30], names[30:]), start=1):
        shard = tmp_path / f"model-{index:05}-of-00002.safetensors"
        shard.write_bytes(save({name: tensors[name] for name in part}))
    assert evaluate(tmp_path) == evaluate(DIGITS / "base")


def test_a_folder_that_cannot_be_evaluated_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(CannotEvaluate, match=r"no config\.json"):
        evaluate(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(CannotEvaluate, match="no model"):
        evaluate(tmp_path)
    shutil.copy(DIGITS / "base" / "model.safetensors", tmp_path)
    with pytest.raises(CannotEvaluate, match="'gpt2'"):
        evaluate(tmp_path)


def test_the_command_prints_a_row_for_each_view_and_their_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(DIGITS / "general"), "--view", "all"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1] for row in rows] == ["on", "upright", "rot90", "invert", "mirror", "mean"]
    assert rows[1] == ["general", "upright", "89.95%", "0.3025", "537/597"]
    assert rows[-1] == ["general", "mean", "90.62%", "0.2851"]


def test_the_command_prints_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(DIGITS / "base"), str(DIGITS / "soup-4"), "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(record["on"], record["correct"]) for record in records] == [("upright", 568), ("upright", 587)]
    assert records[0]["model"] == str(DIGITS / "base")


def test_the_command_says_what_is_wrong_with_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "is not a model folder" in capsys.readouterr().err
