"""What people give for a safetensors file or a model folder that is something else, and what to do about it.

Recognises by names, first bytes and configuration; converts nothing.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from mergegraph.errors import Problem
from mergegraph.tensors.sources.door import opened, read_range
from mergegraph.tensors.sources.hub_names import looks_like_id
from mergegraph.tensors.sources.location import is_remote
from mergegraph.tensors.sources.place import Place, RemotePath

PICKLED_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_TRAINING_STATE = ("optimizer", "scheduler", "training_args", "rng_state", "scaler", "random_states")

_MOST_CONFIG_BYTES = 1_000_000
ONLY_ADDED = "an adapter holds only what was trained on top of its base"
_SCALES = ("_scale", "_scale_inv")
_PICKLE = "it is a pickled file, saved by torch"
_CONVERT = "mergegraph convert"
_HINTS = (
    (b"PK\x03\x04", _PICKLE, _CONVERT),
    *((bytes((0x80, protocol)), _PICKLE, _CONVERT) for protocol in range(2, 6)),
    (b"GGUF", "it is a GGUF file", "give the safetensors checkpoint that it was made from"),
    (b"version https://git-lfs", "it is a git-lfs pointer, the weights were not downloaded", "git lfs pull"),
    (b"<", "it is a web page, such as a login or error page", "log in (`hf auth login`) and download it again"),
)


def recognise(first_bytes: bytes, path: str) -> tuple[str, str] | None:
    """What the file at `path` is that is no safetensors file, and the fix; None when its first bytes say nothing."""
    start = first_bytes.lstrip() if first_bytes.lstrip()[:1] == b"<" else first_bytes
    found = next(((what, fix) for magic, what, fix in _HINTS if start.startswith(magic)), None)
    if found is None or found[1] is not _CONVERT:
        return found
    return found[0], convert_command(Path(path)) if not is_remote(path) else f"download it, then: {_CONVERT} FILE"


def recognise_binary(first_bytes: bytes, path: str) -> tuple[str, str] | None:
    """As `recognise`, of what is no text: a safetensors file is something else too."""
    if first_bytes[5:9] == b"\0\0\0{":
        return "it is a safetensors file", shlex.join(["mergegraph", "info", path])
    # `<<` begins a key of YAML.
    return None if first_bytes.lstrip().startswith(b"<<") else recognise(first_bytes, path)


def is_pickled_weights(name: str) -> bool:
    """Whether a file name is that of weights saved by torch, not of an optimizer or another training state."""
    return name.lower().endswith(PICKLED_SUFFIXES) and not name.startswith(_TRAINING_STATE)


def pickled(path: Place, name: str = "") -> Problem:
    """Weights are there, but pickled by their name: the file `path`, or in the folder `path` the file `name` and maybe
    others. What else the first bytes say it is."""
    file = path / name if name else path
    if (other := not_pickled(file)) is not None:
        return other
    return Problem(
        f"{file} is a pickled checkpoint; mergegraph reads safetensors only.",
        why="pickled checkpoints can run code when they are opened; they must be converted to safetensors first",
        fix=convert_command(path),
    )


def not_pickled(file: Place) -> Problem | None:
    """What has the name of a pickled file and is something else; None where the first bytes do not say so."""
    try:
        with opened(str(file)) as start:
            found = recognise(read_range(start, 0, 64), str(file))
    except OSError:
        return None
    if found is None or found[0] == _PICKLE:
        return None
    if not is_pickled_weights(file.name):
        return Problem(f"{file} is no pickled checkpoint: {found[0]}.", fix=found[1])
    return Problem(f"{file} has the name of a pickled checkpoint, but {found[0]}.", fix=found[1])


def convert_command(path: Place) -> str:
    """What to type for a safetensors folder in place of a pickled file or folder."""
    if isinstance(path, RemotePath):
        return f"download it, then: {shlex.join([*_CONVERT.split(), 'FOLDER', '-o', 'FOLDER-safetensors'])}"
    return shlex.join([*_CONVERT.split(), str(path), "-o", str(converted_path(path))])


def converted_path(source: Path) -> Path:
    """Where a pickled file or folder is converted to when nobody says: beside itself."""
    name = source.absolute().name
    stem = name if source.is_dir() else name.removesuffix(source.suffix) or name
    return source.with_name(f"{stem}-safetensors") if source.name else source.absolute().parent / f"{stem}-safetensors"


def gguf(path: str) -> Problem:
    """A GGUF file stands where a checkpoint should."""
    return Problem(
        f"{path} is a GGUF file; mergegraph reads safetensors only.",
        why="GGUF holds weights in quantised blocks for inference, not as tensors that can be merged",
        fix="give the safetensors checkpoint that it was made from, and convert the merged model to GGUF",
    )


def adapter(folder: Place) -> Problem:
    """`folder` holds what was trained on top of a model, without the model."""
    named, base = _base_of(folder), adapter_base(folder)
    return Problem(
        f"{folder} is a LoRA adapter, not a model" + (f"; its base is {named}." if named else "."),
        why=ONLY_ADDED,
        fix=f"write {base}+{folder} for the base with it, or {{op: lora, adapter: {folder}, base: NODE}} for what it "
        "adds",
    )


def adapter_base(folder: Place) -> str:
    """The base that an adapter names, where it can be reached: what it was called when it was trained may be a path
    from another folder. BASE where it is nowhere."""
    named = _base_of(folder)
    beside = () if isinstance(folder, RemotePath) else (Path.cwd(), *folder.absolute().parents)
    there = next((place / named for place in beside if named and _is_folder(place / named)), None)
    if there is not None:
        return os.path.normpath(there)
    return named if looks_like_id(named) else "BASE"


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def quantised(config: Mapping[str, Any], tensor_names: Iterable[str]) -> Problem | None:
    """A checkpoint whose numbers mean nothing without their scales. Float8 without scales is none."""
    names = list(tensor_names)
    method, source = _quantisation(config), "its config.json"
    if method == "fp8" and not any(name.endswith(_SCALES) for name in names):
        return None
    if method is None:
        method, source = _by_names(names)
    if not method:
        return None
    return Problem(
        f"The checkpoint is quantised ({method}), says {source}.",
        why="its tensors are codes with scales beside them: a sum of codes is not the code of a sum",
        fix="give the checkpoint that it was quantised from, in bfloat16, float16 or float32",
    )


def _quantisation(config: Mapping[str, Any]) -> str | None:
    stated: object = config.get("quantization_config")
    settings = cast("dict[str, Any]", stated) if isinstance(stated, dict) else {}
    if settings.get("quant_method"):
        return str(settings["quant_method"])
    if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        return "bitsandbytes"
    mlx: object = config.get("quantization")
    return "mlx" if isinstance(mlx, dict) and "bits" in mlx else None


_TELLING = (
    (".qweight", "GPTQ or AWQ"),
    (".absmax", "bitsandbytes"),
    (".quant_map", "bitsandbytes"),
    (".SCB", "bitsandbytes"),
    (".weight_scale_inv", "fp8"),
    (".weight_packed", "compressed-tensors"),
)


def _by_names(names: Iterable[str]) -> tuple[str, str]:
    """What names of tensors say where no config does: (method, the tensor that says so), or empty."""
    listed = list(names)
    known = set(listed)
    for name in listed:
        told = next((method for suffix, method in _TELLING if name.endswith(suffix)), "")
        if not told and name.endswith(".scales") and f"{name.removesuffix('.scales')}.biases" in known:
            told = "mlx"
        if told:
            return told, f"the name of its tensor {name}"
    return "", ""


def _base_of(folder: Place) -> str:
    """What adapter_config.json names as the base; empty when it does not."""
    path = folder / "adapter_config.json"
    if not path.is_file():
        return ""
    try:
        with opened(str(path)) as file:
            config: object = json.loads(read_range(file, 0, _MOST_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return ""
    base = cast("dict[str, object]", config).get("base_model_name_or_path") if isinstance(config, dict) else ""
    return base if isinstance(base, str) else ""
