"""What a search asks of a model of this folder: its numbers on one split, with the probabilities behind them.

`digits` scores an image classifier on the digits as they are and, as the slice `shifted`, on images moved by one
pixel, which no training saw. `views` gives one number for each view.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors.torch import load

from recipes.evaluation.checkpoint import Checkpoint, read_checkpoint
from recipes.evaluation.digits import IMAGES, VIEWS, Split, View
from recipes.evaluation.vit import vit_logits

SHIFTED = "shifted"


def digits(model: Path, split: str, shifted: bool = True) -> dict[str, Any]:
    """Probabilities and labels, from which accuracy, loss and calibration error follow."""
    images, labels = _split(split)
    checkpoint = read_checkpoint(model)
    predictions = {"": _predicted(checkpoint, images, labels)}
    if shifted:
        moved = images.roll(1, 3)
        moved[..., 0] = -1.0
        predictions[SHIFTED] = _predicted(checkpoint, moved, labels)
    return {"predictions": predictions}


def views(model: Path, split: str) -> dict[str, Any]:
    """The accuracy on each view of the digits, and their mean with its examples."""
    images, labels = _split(split)
    checkpoint = read_checkpoint(model)
    right = {view: _right(checkpoint, VIEWS[view](images), labels) for view in get_args(View)}
    mean = torch.stack(list(right.values())).mean(0)
    found: dict[str, Any] = {f"accuracy@{view}": 100 * each.mean().item() for view, each in right.items()}
    return found | {"accuracy": 100 * mean.mean().item(), "examples": {"accuracy": (100 * mean).tolist()}}


def _split(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    if split not in get_args(Split):
        raise ValueError(f'the digits have no split "{split}", only {", ".join(get_args(Split))}')
    stored = load(IMAGES.read_bytes())
    images = stored[f"{cast('Split', split)}_images"].to(torch.float64).unsqueeze(1) / 8 - 1
    return images, stored[f"{split}_labels"].long()


def _logits(checkpoint: Checkpoint, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode(), _one_thread():
        return vit_logits(checkpoint.as_dtype(torch.float64), checkpoint.config, images)


@contextmanager
def _one_thread() -> Generator[None]:
    """Matrices of this size are done sooner by one thread than by several that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _predicted(checkpoint: Checkpoint, images: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    return {"probabilities": _logits(checkpoint, images).softmax(-1).tolist(), "labels": labels.tolist()}


def _right(checkpoint: Checkpoint, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (_logits(checkpoint, images).argmax(-1) == labels).to(torch.float64)
