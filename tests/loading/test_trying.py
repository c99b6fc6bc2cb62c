"""`mergegraph try`: what models go on with, side by side, and what it refuses."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mergegraph as mg
from mergegraph.cli import main
from mergegraph.cli.trying import side_by_side

MODELS = Path(__file__).resolve().parents[2] / "recipes" / "models"
BASE, FRENCH = MODELS / "tiny-llama" / "base", MODELS / "tiny-llama" / "french"
needs_transformers = pytest.mark.skipif(
    find_spec("transformers") is None,
    reason="transformers is not installed: pip install 'mergegraph[eval]'",
)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert main(["try", *arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@needs_transformers
def test_a_merge_and_its_inputs_go_on_with_one_prompt_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    mg.save(mg.soup([mg.load(BASE), mg.load(FRENCH)]), tmp_path / "out").run()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FRENCH, "french")
    assert main(["try", "french", "out", "--prompt", "Article 3", "--tokens", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Article 3"
    assert lines[1].split() == ["[french]", "[out]"]
    assert len(lines) > 2


@needs_transformers
def test_what_is_drawn_depends_on_the_seed_alone_and_temperature_0_on_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = [str(BASE), "--prompt", "The", "--tokens", "8"]
    drawn = [*one, "--temperature", "1", "--seed"]
    texts = [said(capsys, *drawn, seed)[0]["text"] for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]
    assert said(capsys, *one) == said(capsys, *one, "--seed", "9")


@needs_transformers
def test_the_likeliest_token_is_the_one_that_transformers_finds(capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(BASE, dtype="auto"), AutoTokenizer.from_pretrained(BASE)
    ids = tokenizer("The", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        likeliest = tokenizer.decode(model(input_ids=ids).logits[0, -1].argmax())
    (only,) = said(capsys, str(BASE), "--prompt", "The", "--tokens", "1")
    assert (only["text"], only["tokens"]) == (likeliest, 1)


@needs_transformers
def test_a_prompt_goes_through_the_chat_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Path(shutil.copytree(BASE, tmp_path / "model"))
    (model / "chat_template.jinja").write_text("{% for m in messages %}SEE ALSO{{ m.content }}{% endfor %}")
    with_template = said(capsys, str(model), "--chat", "--prompt", "\nexit", "--tokens", "4")
    plain = said(capsys, str(model), "--prompt", "SEE ALSO\nexit", "--tokens", "4")
    assert with_template[0]["text"] == plain[0]["text"]


def _without(model: Path, *names: str) -> None:
    for name in names:
        (model / name).unlink()


def _with_nan(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


def _lacking(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


def _of_kind(model: Path, **changed: object) -> None:
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def _a_delta(model: Path) -> None:
    save_file(load_file(model / "model.safetensors"), model / "model.safetensors", {"mergegraph.space": "delta"})


def _an_adapter(model: Path) -> None:
    shutil.rmtree(model)
    shutil.copytree(MODELS / "tiny-llama" / "legal-lora", model)


REFUSED: list[tuple[str, Callable[[Path], None], tuple[str, ...], str, str, int]] = [
    ("there is none", shutil.rmtree, (), "There is no", "", 2),
    ("transformers would make one up", lambda model: _without(model, "tokenizer.json", "tokenizer_config.json"), (),
     "has no tokenizer", "tokenizer_from", 2),
    ("a merge that was allowed to hold NaN", _with_nan, (), "computes NaN or Inf", "--allow-non-finite", 1),
    ("transformers would fill it at random", _lacking, (), "lacks 1 tensor", "config.json", 1),
    ("an image model", lambda model: _of_kind(model, architectures=["ViTForImageClassification"]), (),
     "goes on with a text", "search", 2),
    ("a family that transformers does not know",
     lambda model: _of_kind(model, model_type="novel", architectures=["LlamaForCausalLM"]), (),
     "transformers cannot load", "mergegraph info", 2),
    ("a change is no model", _a_delta, (), "is a delta", "sum", 2),
    ("an adapter is no model", _an_adapter, (), "is a LoRA adapter", "+", 2),
    ("no template", lambda model: None, ("--chat",), "no chat template", "chat_template", 2),
    ("positions end", lambda model: None, ("--tokens", "600"), "takes 512 tokens", "--tokens 51", 2),
    ("no such device", lambda model: None, ("--device", "tpu"), "no device", "--device cpu", 2),
]  # fmt: skip


@needs_transformers
@pytest.mark.parametrize(("spoil", "options", "fact", "fix", "code"), [row[1:] for row in REFUSED],
                         ids=[row[0] for row in REFUSED])  # fmt: skip
def test_what_cannot_be_tried_is_said_with_a_fix(
    spoil: Callable[[Path], None], options: tuple[str, ...], fact: str, fix: str, code: int, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    model = Path(shutil.copytree(BASE, tmp_path / "model"))
    spoil(model)
    assert main(["try", str(model), "--prompt", "The", *options]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert fact in shown.err
    assert fix in shown.err
    assert "Traceback" not in shown.err


ELSEWHERE = [
    ("org/name", "hf download org/name --local-dir ./name", "an id of the Hub"),
    ("hf://org/name@v2", "hf download org/name --revision v2 --local-dir ./name", "an address of the Hub"),
    ("s3://bucket/models/a", "mergegraph run -e a -m a=s3://bucket/models/a -o ./a", "a model in a bucket"),
    ("there/nam", "/there/name?", "a folder that is misspelt"),
]


@pytest.mark.parametrize(("model", "fix", "reason"), ELSEWHERE, ids=[row[2] for row in ELSEWHERE])
def test_a_model_that_is_elsewhere_is_told_with_how_to_get_it(
    model: str, fix: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if "there" in model and find_spec("transformers") is None:
        pytest.skip("transformers is not installed, which is said first")
    (tmp_path / "there" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert main(["try", model]) == 2
    shown = capsys.readouterr().err
    assert fix in shown, reason
    assert "hf:/o" not in shown.replace("hf://", "")


def test_without_transformers_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["try", str(BASE)]) == 2
    assert "pip install 'mergegraph[eval]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("texts", "width", "lines"),
    [
        (["one text"], 40, ["one text"]),  # one needs no name
        (["some words", "others\n\nhere"], 60, [  # columns, blank lines kept
            "[a]                            [b]",
            "some words                     others",
            "",
            "                               here",
        ]),
        (["some words", "others"], 40, ["[a]", "some words", "[b]", "others"]),  # too narrow for two
        (["字" * 20, "x"], 60, [  # two cells a character
            "[a]                            [b]", "字" * 14 + "   x", "字" * 6,
        ]),
        (["\x1b[31mred"], 40, ["\\x1b[31mred"]),  # what a terminal would obey is shown
    ],
)  # fmt: skip
def test_texts_stand_in_columns_where_there_is_room(texts: list[str], width: int, lines: list[str]) -> None:
    assert list(side_by_side(["a", "b"][: len(texts)], texts, width)) == lines
