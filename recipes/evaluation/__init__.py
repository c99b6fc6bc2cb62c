"""How good a checkpoint of `recipes/` is: accuracy and loss, from plain torch and nothing else of this project.

    checkpoint.py   a folder in Hugging Face layout, read whole
    score.py        what an evaluation found
    vit.py          forward pass of a ViT image classifier
    digits.py       the handwritten digits: four views, three splits
    llama.py        forward pass of a Llama language model
    bpe.py          text to tokens
    texts.py        the four texts a language model is scored on

Independent of mergegraph on purpose: what judges a merge must not share code with what made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recipes.evaluation.checkpoint import CannotEvaluate as CannotEvaluate
from recipes.evaluation.checkpoint import read_checkpoint
from recipes.evaluation.digits import Split, View, score_digits
from recipes.evaluation.score import Score as Score
from recipes.evaluation.texts import score_texts


def evaluate(folder: Path, split: Split = "test", views: Sequence[View] = ("upright",)) -> dict[str, Score]:
    """The score of the model in `folder`: one for each view of the digits, or one for each text.

    The family is read from `config.json`. `split` and `views` are about the digits; a language model is always
    scored on every text. Raises `CannotEvaluate` for a folder without a model, or of another family.
    """
    checkpoint = read_checkpoint(folder)
    match checkpoint.config.get("model_type"):
        case "vit":
            return score_digits(checkpoint, split, views)
        case "llama":
            return score_texts(checkpoint)
        case other:
            raise CannotEvaluate(
                f"No evaluation for a model of type {other!r}.\n"
                f"  where   {folder / 'config.json'}, model_type\n"
                f"  why     the checkpoints of recipes/models are vit and llama"
            )
