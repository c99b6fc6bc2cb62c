"""An adapter given to a command that looks at models: what is told to type works, wherever the base lies."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.bad_inputs import Refused, said
from tests.cli.tiny_models import write_blend
from tests.mistakes.spoiling import lora

MERGED = "merge it first: "
MODELS = [
    ("an adapter", "code"),
    ("the file of an adapter", "code/adapter_model.safetensors"),
    ("what a recipe takes for a model", "base+code"),
]
COMMANDS = ["info {}", "stats {}", "try {}", "stats base --base {}", "stats blend.yaml --base ./{}"]
BASES = [
    ("a path from the folder that training began in", "./base", "./base"),
    ("the same, without a dot", "shared/base", "./shared/base"),
    ("a model of the Hub", "org/base", "org/base"),
    ("a folder of another machine", "/somewhere/base", "BASE"),
    ("not said", "", "BASE"),
]


def typed(line: str, folder: Path) -> Refused:
    with patch("mergegraph.cli.completing.require_transformers"):
        return said(shlex.split(line), folder)


def told(refused: Refused) -> str:
    assert refused.exit_code == 2, refused.error
    fixes = [line.partition(MERGED)[2] for line in refused.error.splitlines() if MERGED in line]
    assert len(fixes) == 1, refused.error
    return fixes[0].removeprefix("mergegraph ")


@pytest.mark.parametrize(("why", "model"), MODELS, ids=[row[0] for row in MODELS])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_adapter_is_merged_first_and_then_looked_at(command: str, why: str, model: str, tmp_path: Path) -> None:
    write_blend(tmp_path)
    lora(tmp_path)
    if "blend" in command:  # which then needs no adapter itself
        recipe = tmp_path / "blend.yaml"
        recipe.write_text(recipe.read_text().replace("./code", "./base"))
    fix = told(typed(command.format(model), tmp_path))
    assert fix == "run -e a -m a=./base+./code -o out/with-adapter", why
    assert typed(fix, tmp_path).exit_code == 0
    if not command.startswith("try"):
        looked = typed(command.format("out/with-adapter"), tmp_path)
        assert looked.exit_code == 0, looked.error


@pytest.mark.parametrize(("why", "named", "shown"), BASES, ids=[row[0] for row in BASES])
def test_the_base_of_an_adapter_is_told_as_it_is_reached_from_here(
    why: str, named: str, shown: str, tmp_path: Path
) -> None:
    write_blend(tmp_path)
    lora(tmp_path)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "base").symlink_to(tmp_path / "base")
    settings = tmp_path / "code" / "adapter_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "base_model_name_or_path": named}))
    assert told(typed("info code", tmp_path)) == f"run -e a -m a={shown}+./code -o out/with-adapter", why


def test_a_recipe_is_told_what_it_takes(tmp_path: Path) -> None:
    write_blend(tmp_path)
    lora(tmp_path)
    refused = typed("stats blend.yaml", tmp_path)
    assert MERGED not in refused.error
    assert "{op: lora, adapter: " in refused.error
