"""What a search asks of a model of this folder: its numbers on one split, with the probabilities behind them.

`digits` scores an image classifier on the digits as they are and, as the slice `shifted`, on images moved by one
pixel, which no training saw. `views` and `texts` give one number for each skill.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors.torch import load

from recipes.evaluation.checkpoint import read_checkpoint
from recipes.evaluation.digits import IMAGES, VIEWS, Split, View
from recipes.evaluation.vit import vit_logits

SHIFTED = "shifted"


def digits(model: Path, split: str) -> dict[str, Any]:
    """Probabilities and labels, from which accuracy, loss and calibration error follow."""
    images, labels = _split(split)
    moved = images.roll(1, 3)
    moved[..., 0] = -1.0
    return {"predictions": {"": _predicted(model, images, labels), SHIFTED: _predicted(model, moved, labels)}}


def views(model: Path, split: str) -> dict[str, Any]:
    """The accuracy on each view of the digits, and their mean with its examples."""
    images, labels = _split(split)
    right = {view: _right(model, VIEWS[view](images), labels) for view in get_args(View)}
    mean = torch.stack(list(right.values())).mean(0)
    found: dict[str, Any] = {f"accuracy@{view}": 100 * each.mean().item() for view, each in right.items()}
    return found | {"accuracy": 100 * mean.mean().item(), "examples": {"accuracy": (100 * mean).tolist()}}


def _split(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    if split not in get_args(Split):
        raise ValueError(f'the digits have no split "{split}", only {", ".join(get_args(Split))}')
    stored = load(IMAGES.read_bytes())
    images = stored[f"{cast('Split', split)}_images"].to(torch.float64).unsqueeze(1) / 8 - 1
    return images, stored[f"{split}_labels"].long()


def _logits(model: Path, images: torch.Tensor) -> torch.Tensor:
    checkpoint = read_checkpoint(model)
    with torch.inference_mode():
        return vit_logits(checkpoint.as_dtype(torch.float64), checkpoint.config, images)


def _predicted(model: Path, images: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    return {"probabilities": _logits(model, images).softmax(-1).tolist(), "labels": labels.tolist()}


def _right(model: Path, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (_logits(model, images).argmax(-1) == labels).to(torch.float64)
