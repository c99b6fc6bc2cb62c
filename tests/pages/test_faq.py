"""docs/faq.md shows what the commands print."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.pages.commands import DOCS, RECIPES, Command, commands, is_as_shown, run, write_recipes

PAGE = (DOCS / "faq.md").read_text()
LLAMA = RECIPES / "models" / "tiny-llama"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the page speaks of: the recipes of the start page, run once, and the models that are refused."""
    folder = tmp_path_factory.mktemp("faq")
    (folder / "recipes").symlink_to(RECIPES)
    start = (DOCS / "start.md").read_text()
    write_recipes(start, folder)
    for name in ("old", "broken", "added", "templated"):
        shutil.copytree(LLAMA / "french", folder / "models" / name)
    (folder / "models" / "tuned.gguf").write_bytes(b"GGUF\x03\0\0\0")
    (folder / "models" / "old" / "model.safetensors").unlink()
    (folder / "models" / "old" / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    _change(folder / "models" / "broken", lambda tensors: tensors["model.norm.weight"].__setitem__(3, float("nan")))
    _add_tokens(folder / "models" / "added")
    (folder / "models" / "templated" / "chat_template.jinja").write_text("{{ messages[0].content }}")
    shutil.copytree(LLAMA / "base", folder / "models" / "bare", ignore=shutil.ignore_patterns("tokenizer*"))
    text = (folder / "first.yaml").read_text().replace("recipes/models/tiny-llama/base", "./models/bare")
    (folder / "bare.yaml").write_text(text)
    for name in ("added", "templated"):
        text = (folder / "first.yaml").read_text().replace("recipes/models/tiny-llama/french", f"./models/{name}")
        (folder / f"{'template' if name == 'templated' else name}.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run(Command("mergegraph run first.yaml", ()))[0] == 0
        yield folder


def _change(model: Path, change: object) -> None:
    tensors = load_file(model / "model.safetensors")
    change(tensors)  # type: ignore[operator]
    save_file(tensors, model / "model.safetensors", {"format": "pt"})


def _add_tokens(model: Path) -> None:
    """Two tokens more than the others."""

    def grow(tensors: dict[str, torch.Tensor]) -> None:
        rows = tensors["model.embed_tokens.weight"]
        tensors["model.embed_tokens.weight"] = torch.cat([rows, rows[:2]])

    _change(model, grow)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "vocab_size": config["vocab_size"] + 2}))


@pytest.mark.parametrize("command", [pytest.param(each, id=f"{n}-{each.words[1]}")
                                     for n, each in enumerate(commands(PAGE), 1)])  # fmt: skip
def test_a_command_prints_what_the_page_shows(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    _, said = run(command)
    assert is_as_shown(command, said), f"{command.text}\n{said}"
