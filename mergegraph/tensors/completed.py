"""What a finished output says of itself, as far as the next run asks: which result it is, and what its tensors are.

`mergegraph.json` speaks of the content and is the same wherever and whenever the merge runs; `mergegraph.run.json`
speaks of one run. A file that is torn, or not ours, says nothing; it is never an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from mergegraph.errors import on_one_line
from mergegraph.tensors.local_file import opened, read_range

PROVENANCE = "mergegraph.json"
RUN_RECORD = "mergegraph.run.json"
STATEMENT = "mergegraph.intoto.json"
CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Completed:
    """`tensors`: by name, the checksum (`xxh3_128`) and what else was counted. `files`: by name, the bytes that every
    file was written with, but for the records."""

    result_id: str
    tensors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    files: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def nonfinite(self) -> dict[str, int]:
        """By tensor name, how many computed values are NaN or Inf."""
        counts = {name: facts.get("nonfinite") for name, facts in self.tensors.items()}
        return {name: count for name, count in counts.items() if isinstance(count, int) and count}


def completed(path: Path) -> Completed | None:
    """The finished output at `path`; None when there is none, or it does not say which result it is."""
    result_id = _said(path / RUN_RECORD).get("result_id")
    if not isinstance(result_id, str):
        return None
    provenance = _said(path / PROVENANCE)
    tensors = _mapping(provenance.get("tensors"))
    files = {name: length for key in ("weights", "beside") for name, length in _lengths(provenance.get(key))}
    return Completed(result_id, {name: _mapping(facts) for name, facts in tensors.items()}, files)


def damage(path: Path, output: Completed) -> str:
    """What the lengths of its files say is wrong with the output at `path`; empty where they are as it was written.

    The card may have any length: people write into it.
    """
    if not output.files:
        return f"{PROVENANCE} is missing or torn"
    for name, length in output.files.items():
        if Path(name).name != name:
            return f"{PROVENANCE} names a file that is not in the folder: {on_one_line(name)}"
        file, name = path / name, on_one_line(name)
        if not file.is_file():
            return f"{name} is missing"
        if name != CARD and (found := file.stat().st_size) != length:
            return f"{name} has {found:,} bytes, {length:,} were written"
    return ""


def completed_result_id(path: Path) -> str | None:
    """The result id of the finished output at `path`; None when there is none, or it says none."""
    output = completed(path)
    return None if output is None else output.result_id


def _lengths(files: object) -> Iterator[tuple[str, int]]:
    for each in map(_mapping, cast("list[object]", files) if isinstance(files, list) else ()):
        name, length = each.get("file"), each.get("bytes")
        if isinstance(name, str) and isinstance(length, int):
            yield name, length


def _said(path: Path) -> dict[str, Any]:
    try:
        with opened(str(path)) as file:
            return _mapping(json.loads(read_range(file, 0, file.file_bytes)))
    except (OSError, ValueError, RecursionError):
        return {}


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
