"""Tasks of lm-eval on a model folder; the numbers are called TASK/METRIC. In the worker's process."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from typing import Any

from mergegraph.search.evaluators import LmEval


def evaluate(model: str, split: str, wanted: LmEval, folder: Path) -> dict[str, Any]:
    """Every number of every task, and those of each example where the task's number is their mean. `folder`: of the
    search."""
    try:
        lm_eval: Any = import_module("lm_eval")
    except ImportError as error:
        raise ImportError("lm-eval is not installed: pip install 'mergegraph[eval]'") from error
    found: dict[str, dict[str, Any]] = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": model},
        tasks=list(wanted.tasks_of(split)),
        num_fewshot=wanted.few_shot,
        batch_size=wanted.batch_size,
        device=wanted.device,
        limit=wanted.limit,
        log_samples=True,
        task_manager=_own_tasks(folder / wanted.tasks_from) if wanted.tasks_from is not None else None,
    )
    metrics: dict[str, Any] = {}
    examples: dict[str, list[float]] = {}
    results: dict[str, dict[str, object]] = found["results"]
    for task, numbers in results.items():
        for key, value in numbers.items():
            name, _, filtered = key.partition(",")
            if isinstance(value, bool) or not isinstance(value, int | float) or name.endswith("_stderr"):
                continue
            called = f"{task}/{name}" + (f",{filtered}" if filtered not in ("", "none") else "")
            metrics[called] = float(value)
            each = _examples(found.get("samples", {}).get(task, ()), name, filtered, float(value))
            if each:
                examples[called] = each
    return {**metrics, "examples": examples}


def _own_tasks(folder: Path) -> Any:
    tasks: Any = import_module("lm_eval.tasks")
    return tasks.TaskManager(include_path=str(folder), include_defaults=False)


def _examples(samples: Any, metric: str, filtered: str, mean: float) -> list[float]:
    """The metric of every sample; [] where the task's number is not their mean, as that of a perplexity."""
    values: list[Any] = [s.get(metric) for s in samples if s.get("filter", filtered) == filtered]
    numbers = [float(value) for value in values if isinstance(value, bool | int | float)]
    if not numbers or len(numbers) != len(values):
        return []
    return numbers if math.isclose(math.fsum(numbers) / len(numbers), mean, rel_tol=1e-6, abs_tol=1e-6) else []
