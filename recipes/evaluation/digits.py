"""Scores an image classifier on the handwritten digits, seen in one of four ways.

In float64: a count of right answers then does not depend on the machine's matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load
from torch import Tensor
from torch.nn.functional import cross_entropy

from recipes.evaluation.checkpoint import Checkpoint
from recipes.evaluation.score import Score
from recipes.evaluation.vit import vit_logits

Split = Literal["train", "select", "test"]
View = Literal["upright", "rot90", "invert", "mirror"]

IMAGES = Path(__file__).parent.parent / "models" / "digits-vit" / "digits.safetensors"

# Of images [n, 1, 8, 8] with values in [-1, 1].
VIEWS: dict[View, Callable[[Tensor], Tensor]] = {
    "upright": lambda images: images,
    "rot90": lambda images: torch.rot90(images, 1, (2, 3)),
    "invert": lambda images: -images,
    "mirror": lambda images: images.flip(3),
}


def score_digits(checkpoint: Checkpoint, split: Split, views: Sequence[View]) -> dict[str, Score]:
    """One score a view, over all images of `split`."""
    digits = load(IMAGES.read_bytes())
    images = digits[f"{split}_images"].to(torch.float64).unsqueeze(1) / 8 - 1
    labels = digits[f"{split}_labels"].long()
    tensors = checkpoint.as_dtype(torch.float64)
    with torch.inference_mode():
        return {view: _score(vit_logits(tensors, checkpoint.config, VIEWS[view](images)), labels) for view in views}


def _score(logits: Tensor, labels: Tensor) -> Score:
    correct = int((logits.argmax(-1) == labels).sum().item())
    return Score(cross_entropy(logits, labels).item(), correct, len(labels))
