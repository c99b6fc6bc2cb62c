"""lm-eval as an evaluator: what it is asked, and which of its numbers become metrics. A stand-in takes its place, which
answers in the form of lm-eval 0.4."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from mergegraph.errors import RunError
from tests.search.searches import entries, run, write_search

STAND_IN = """\
def simple_evaluate(model, model_args, tasks, num_fewshot, batch_size, device, limit, log_samples, task_manager):
    assert model == "hf" and device == "cpu" and log_samples
    assert (num_fewshot, batch_size, limit) == (2, 4, 3)
    right = {"a": 3, "b": 1, "c": 2, "d": 0}.get(model_args["pretrained"].rstrip("/").split("/")[-1], 3)
    hits = [float(i < right) for i in range(3)]
    samples = [{"doc_id": i, "filter": "none", "acc": hit} for i, hit in enumerate(hits)]
    (task,) = tasks
    return {
        "results": {task: {"alias": task, "acc,none": sum(hits) / 3, "acc_stderr,none": 0.1,
                           "perplexity,none": 12.5, "exact,strict": 0.25}},
        "samples": {task: samples},
    }
"""
EVALUATOR = {
    "lm_eval": {"tasks": {"select": ["easy"], "test": ["hard"]}, "few_shot": 2, "batch_size": 4, "limit": 3},
}


def test_its_numbers_are_called_after_task_and_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "lm_eval.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"), prepend=":")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    metrics = {"easy/acc": "max"}
    path = write_search(tmp_path, evaluator=EVALUATOR, metrics=metrics, accept={"noise": 1})
    result = run(path)
    first = entries(tmp_path, "evaluated")[0]
    assert first["metrics"] == {"easy/acc": 1.0, "easy/perplexity": 12.5, "easy/exact,strict": 0.25}
    assert first["details"]
    assert result.selected["easy/acc"] == 1.0
    assert result.reported["hard/acc"] == 1.0, "the other split has tasks of its own"


def test_without_it_the_search_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "lm_eval.py").write_text("raise ImportError('not here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"), prepend=":")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    path = write_search(tmp_path, "uniform", evaluator=EVALUATOR, metrics={"easy/acc": "max"}, report_on=None)
    with pytest.raises(RunError, match="pip install"):
        run(path)


TASK = """\
task: words
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_target: "{{label}}"
doc_to_choice: "{{choices}}"
metric_list: [{metric: acc}]
"""
MODELS = Path(__file__).resolve().parents[2] / "recipes" / "models" / "tiny-llama"


@pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm-eval is not installed: mergegraph[eval]")
def test_a_task_of_ones_own_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    documents = [
        {"text": f"The {word} is", "label": 0, "choices": [" here", " zq xj"]} for word in ("law", "cat", "sea")
    ]
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "words.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (tmp_path / "tasks" / "words.yaml").write_text(TASK.replace("DATA", str(tmp_path / "tasks" / "words.jsonl")))
    evaluator = {"lm_eval": {"tasks": ["words"], "tasks_from": "./tasks"}, "timeout_seconds": 300}
    candidates = [str(MODELS / name) for name in ("base", "legal")]
    path = write_search(
        tmp_path, candidates=candidates, evaluator=evaluator, metrics={"words/acc": "max"}, report_on=None
    )
    result = run(path)
    assert 0 <= result.selected["words/acc"] <= 1
    first = entries(tmp_path, "evaluated")[0]
    assert first["details"], "the number of every example is there"
