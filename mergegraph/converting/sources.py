"""Which pickled files are the model: one file, or those of a folder in the layout of transformers or diffusers.

Looks at names and first bytes; opens no pickle.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mergegraph.errors import InputError, Problem, did_you_mean
from mergegraph.tensors import strict_json
from mergegraph.tensors.foreign import is_pickled_weights, not_pickled
from mergegraph.tensors.links import leads_nowhere, nowhere, require_inside
from mergegraph.tensors.local_file import opened, read_range
from mergegraph.tensors.missing import leads_out

_STEMS = {
    "pytorch_model": "model",
    "diffusion_pytorch_model": "diffusion_pytorch_model",
    "adapter_model": "adapter_model",
}
_SHARD = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.bin")
_MOST_INDEX_BYTES = 100_000_000
_BLOCK_BYTES = 4 << 20
_SHOWN = 8
_RESAVE = "import sys, torch; torch.save(torch.load(sys.argv[1], weights_only=True), sys.argv[2])"


@dataclass(frozen=True)
class Sources:
    """The files of a model in order. `folder` is None for a file by itself. `stem`: what the new files are called.

    `weight_map`: the index's; empty without one. `others`: pickled files beside them that are not read.
    """

    files: tuple[Path, ...]
    folder: Path | None
    stem: str
    weight_map: Mapping[str, str]
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pickled:
    """A pickled file as it was found. `identity` is `file:<dev>,<ino>,<size>,<mtime_ns>`."""

    path: Path
    file_bytes: int
    identity: str
    sha256: str


def choose(source: Path) -> Sources:
    """The pickled files at `source`. InputError when there are none, or they are not one model by their names."""
    if not source.exists():
        there_is_none = Problem(f"There is nothing at {source}.", fix=_nearest(source))
        raise InputError(nowhere(source) if leads_nowhere(source) else there_is_none)
    if not source.is_dir():
        matched = _SHARD.fullmatch(source.name)
        if matched and int(matched["count"]) > 1:
            fact = f"{source.name} is one of the {int(matched['count'])} files of its model."
            raise InputError(Problem(fact, fix=f"mergegraph convert {source.parent}"))
        return Sources((source,), None, _STEMS.get(source.stem, "model"), {})
    names = sorted(entry.name for entry in source.iterdir())
    weights = [name for name in names if is_pickled_weights(name)]
    for stem, new in _STEMS.items():
        index = f"{stem}.bin.index.json"
        weight_map = _weight_map(_inside(source, index)) if index in names else {}
        files = sorted(set(weight_map.values())) or _of_stem(source, stem, weights)
        if files:
            others = tuple(name for name in weights if name not in files)
            return Sources(tuple(_inside(source, name) for name in files), source, new, weight_map, others)
    if len(weights) == 1:
        return Sources((_inside(source, weights[0]),), source, "model", {})
    raise InputError(_none(source, weights))


def examine(path: Path) -> Pickled:
    """The file's size, identity and sha256. InputError when it is not in the format that torch.save writes."""
    if (other := not_pickled(path)) is not None:
        raise InputError(other)
    try:
        with opened(str(path)) as file:
            _refuse_other_formats(path, read_range(file, 0, 512))
            whole = hashlib.sha256()
            for offset in range(0, file.file_bytes, _BLOCK_BYTES):
                whole.update(read_range(file, offset, _BLOCK_BYTES))
            return Pickled(path, file.file_bytes, file.identity, whole.hexdigest())
    except OSError as error:
        raise InputError(Problem(f"{path} cannot be read: {error.strerror}.", fix="check the path")) from error


def require_unchanged(file: Pickled) -> None:
    """InputError when the file is no longer the one that was examined."""
    try:
        with opened(str(file.path)) as now:
            changed = now.identity != file.identity
    except OSError:
        changed = True
    if changed:
        fix = "run the same command again with --overwrite"
        raise InputError(Problem(f"{file.path} has changed while it was converted.", fix=fix))


def _nearest(source: Path) -> str:
    """What may have been meant by a path that leads nowhere."""
    beside = [entry.name for entry in source.parent.iterdir()] if source.parent.is_dir() else []
    near = did_you_mean(source.name, beside)
    return near if near.startswith("Did") else "give a pickled file, or the folder of a model"


def _refuse_other_formats(path: Path, start: bytes) -> None:
    fix = ""
    if start.startswith(b"PK\x03\x04"):
        return
    if start[257:262] == b"ustar":
        what, fix = "a tar archive, as torch wrote before version 0.1.10", "save it again with a torch of that time"
    elif start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        what = "a pickle in the format before torch 1.6, which cannot be read piece by piece"
        again = shlex.join(["python", "-c", _RESAVE, str(path), str(path.with_suffix(".zip.bin"))])
        fix = f"{again}\n(it takes the whole file into memory), then convert what it wrote"
    elif start[8:9] == b"{":
        what, fix = "a safetensors file by its first bytes", "use it as it is"
    else:
        what = "no file that torch.save wrote, by its first bytes"
        fix = "give a pickled checkpoint (.bin, .pt, .pth, .ckpt); if it is one, download or copy it again"
    raise InputError(Problem(f"{path} is {what}.", fix=fix))


def _of_stem(folder: Path, stem: str, weights: Sequence[str]) -> list[str]:
    if f"{stem}.bin" in weights:
        return [f"{stem}.bin"]
    counts = {int(m["count"]) for name in weights if (m := _SHARD.fullmatch(name)) and m["stem"] == stem}
    if len(counts) != 1:
        return []
    count = counts.pop()
    wanted = [f"{stem}-{number:05}-of-{count:05}.bin" for number in range(1, count + 1)]
    missing = [name for name in wanted if name not in weights]
    if missing:
        fact = f"{folder} lacks {', '.join(missing[:_SHOWN])}."
        raise InputError(Problem(fact, why=f"the model has {count} files", fix="download the missing files"))
    return wanted


def _weight_map(path: Path) -> dict[str, str]:
    try:
        with opened(str(path)) as file:
            parsed: Any = strict_json.parse(read_range(file, 0, _MOST_INDEX_BYTES), floats=True)
    except (OSError, ValueError) as error:
        raise InputError(Problem(f"{path} is not an index: {error}.", fix="download it again")) from error
    stated: Any = cast("dict[str, Any]", parsed).get("weight_map") if isinstance(parsed, dict) else None
    entries = cast("dict[str, Any]", stated) if isinstance(stated, dict) else {}
    if not entries or not all(isinstance(file, str) for file in entries.values()):
        raise InputError(Problem(f"{path} maps no tensors to files.", fix="download it again"))
    for file in set(entries.values()):
        if leads_out(file) or "/" in file or "\0" in file or not is_pickled_weights(file):
            fact = f'{path} names the file "{file[:200]}".'
            why = "an index may only name pickled files in its own folder"
            raise InputError(Problem(fact, why=why, fix="download it again, or name one file in place of the folder"))
    return entries


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not os.path.lexists(path):
        raise InputError(Problem(f"{path} is missing.", fix="download the missing file"))
    require_inside(folder, path)
    return path


def _none(folder: Path, weights: list[str]) -> Problem:
    if not weights:
        return Problem(f"{folder} holds no pickled weights.", fix="name the folder of a model, or a file in it")
    shown = ", ".join(weights[:_SHOWN]) + (", …" if len(weights) > _SHOWN else "")
    return Problem(
        f"{folder} holds {len(weights)} pickled files that are not one model by their names.",
        why=f"there are {shown}",
        fix=f"name one file: mergegraph convert {folder / weights[0]}",
    )
