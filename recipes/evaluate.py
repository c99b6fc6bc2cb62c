"""Accuracy and loss of the models of this folder, and of what recipes make of them.

    python recipes/evaluate.py recipes/models/digits-vit/soup-* recipes/out/uniform-soup
    python recipes/evaluate.py recipes/out/task-addition --view all
    python recipes/evaluate.py recipes/models/tiny-llama/*

An image classifier is scored on handwritten digits, a language model on four texts (`recipes/evaluation`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import get_args

# Started as a script, Python looks beside this file and not at the repository's root.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from recipes.evaluation import CannotEvaluate, Score, evaluate
from recipes.evaluation.digits import Split, View

ALL_VIEWS: tuple[View, ...] = get_args(View)


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate every folder named, and print as each is done. Returns the exit code: 2 for a folder without a model."""
    options = _parser().parse_args(arguments)
    folders: list[Path] = options.models
    views: tuple[View, ...] = ALL_VIEWS if options.view == "all" else (options.view,)
    width = max(len(_name(folder)) for folder in folders)
    if not options.json:
        print(f"{'model':<{width}}  {'on':<8} {'accuracy':>8}  {'loss':>7}  right")
    for folder in folders:
        try:
            scores = evaluate(folder, options.split, views)
        except CannotEvaluate as problem:
            print(problem, file=sys.stderr)
            return 2
        lines = _records(folder, scores) if options.json else _rows(f"{_name(folder):<{width}}", scores)
        print(*lines, sep="\n", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="a model folder")
    parser.add_argument("--split", choices=get_args(Split), default="test", help="which digits (default test)")
    parser.add_argument("--view", choices=(*ALL_VIEWS, "all"), default="upright", help="how the digits are shown")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


def _name(folder: Path) -> str:
    return folder.resolve().name


def _rows(name: str, scores: dict[str, Score]) -> Iterable[str]:
    for on, score in scores.items():
        yield f"{name}  {on:<8} {score.accuracy:>7.2f}%  {score.loss:>7.4f}  {score.correct}/{score.count}"
    if len(scores) > 1:
        accuracy = fmean(score.accuracy for score in scores.values())
        loss = fmean(score.loss for score in scores.values())
        yield f"{name}  {'mean':<8} {accuracy:>7.2f}%  {loss:>7.4f}"


def _records(folder: Path, scores: dict[str, Score]) -> Iterable[str]:
    for on, score in scores.items():
        found = {"accuracy": score.accuracy, "loss": score.loss, "correct": score.correct, "count": score.count}
        yield json.dumps({"model": str(folder), "on": on, **found})


if __name__ == "__main__":
    sys.exit(main())
