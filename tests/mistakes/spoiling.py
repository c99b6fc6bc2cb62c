"""What makes a folder, a disk or a terminal wrong."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from mergegraph.tensors.writer import OutputFolder
from tests.bad_inputs import instead, said
from tests.cli.test_refusals import adapter, replace_code
from tests.cli.tiny_models import tensors, write_file, write_sharded
from tests.mistakes.mistake import Spoil


def file(name: str, text: str | bytes) -> Spoil:
    return lambda folder: (folder / name).write_bytes(text.encode() if isinstance(text, str) else text) and None


def recipe(text: str) -> Spoil:
    return file("blend.yaml", text)


def replaced(held: dict[str, tuple[list[int], list[float]]], **config: object) -> Spoil:
    return lambda folder: replace_code(folder, held, **config)


def no_config(folder: Path) -> None:
    (folder / "base" / "config.json").unlink()


def finished(folder: Path) -> None:
    assert said(["run", "blend.yaml"], folder).exit_code == 0


def deeper() -> dict[str, tuple[list[int], list[float]]]:
    return {**tensors(shift=0.25), "model.layers.2.mlp.up_proj.weight": ([8, 8], [0.5] * 64)}


def renamed() -> dict[str, tuple[list[int], list[float]]]:
    return {name.replace("model.", "transformer."): held for name, held in tensors(shift=0.25).items()}


def with_nan(folder: Path) -> None:
    held = tensors(shift=0.25)
    held["model.embed_tokens.weight"][1][5] = float("nan")
    replace_code(folder, held)


def more_words(folder: Path) -> None:
    held = tensors(shift=0.25)
    _, rows = held["model.embed_tokens.weight"]
    replace_code(folder, {**held, "model.embed_tokens.weight": ([24, 8], [*rows, *[0.5] * 64])})
    for model, words in (("base", 16), ("code", 24)):
        vocabulary = {f"word{row}": row for row in range(words)}
        (folder / model / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))


def short_shard(folder: Path) -> None:
    instead()(folder)
    (folder / "code" / "config.json").unlink()
    (folder / "code").rmdir()
    write_sharded(folder / "code", tensors(shift=0.25))
    shard = folder / "code" / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-40])


def as_hub_name(folder: Path) -> None:
    (folder / "models").mkdir()
    (folder / "code").rename(folder / "models" / "code")


def unwritable(folder: Path) -> None:
    (folder / "shared").mkdir(mode=0o555)


def lora(folder: Path) -> None:
    adapter(folder)
    stem = "base_model.model.model.layers.0.mlp.up_proj"
    write_file(
        folder / "code" / "adapter_model.safetensors",
        {f"{stem}.lora_A.weight": ([4, 8], [0.1] * 32), f"{stem}.lora_B.weight": ([8, 4], [0.1] * 32)},
    )
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(folder / "base"), "r": 4, "lora_alpha": 8,
                "target_modules": ["up_proj"]}  # fmt: skip
    (folder / "code" / "adapter_config.json").write_text(json.dumps(settings))


@contextmanager
def full_disk() -> Generator[None]:
    with patch.object(os, "statvfs", lambda path: SimpleNamespace(f_bavail=1, f_frsize=512, f_blocks=1000)):
        yield


@contextmanager
def no_rights() -> Generator[None]:
    """As on a folder of somebody else's: root, whom permissions do not stop, is refused too."""
    made = Path.mkdir

    def mkdir(path: Path, *args: int, **more: bool) -> None:
        if path.parent.name == "shared":
            raise PermissionError(13, "Permission denied", str(path))
        made(path, *args, **more)

    with patch.object(Path, "mkdir", mkdir):
        yield


@contextmanager
def ctrl_c() -> Generator[None]:
    """Somebody types Ctrl-C when the first tile is about to be written."""
    write = OutputFolder.write
    typed: list[bool] = []

    def interrupted(folder: OutputFolder, *args: object, **more: object) -> object:
        if not typed:
            typed.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return write(folder, *args, **more)  # pyright: ignore

    with patch.object(OutputFolder, "write", interrupted):
        yield


@contextmanager
def no_terminal() -> Generator[None]:
    nowhere = io.StringIO()
    with patch("sys.__stdin__", nowhere), patch("sys.__stdout__", nowhere), patch("sys.__stderr__", nowhere):
        yield
