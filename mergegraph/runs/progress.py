"""Where a run is: one frozen record, and the file in the partial folder that shows it to other processes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from mergegraph.tensors.partial import PROGRESS

State = Literal["starting", "checking", "merging", "paused", "finishing", "done", "failed", "stopped"]
_STATES = get_args(State)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is. Bytes are of outputs; `held`, `peak` and `budget` are bytes of the tile pool.

    `node_seconds`: of all workers together, by node as it is written (see `execute/timing.py`).
    `began`: seconds since the epoch, and `resident_bytes`: of the whole process; both 0 except in the file.
    """

    state: State = "starting"
    bytes_done: int = 0
    bytes_total: int = 0
    tensors_done: int = 0
    tensors_total: int = 0
    held_bytes: int = 0
    peak_bytes: int = 0
    budget_bytes: int = 0
    tensor: str = ""
    node: str = ""
    seconds: float = 0.0
    node_seconds: tuple[tuple[str, float], ...] = ()
    began: float = 0.0
    resident_bytes: int = 0

    def as_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def read_progress(partial: Path) -> Progress | None:
    """What the partial folder of an output shows; None where there is no such file, or not a whole one."""
    try:
        return parse_progress((partial / PROGRESS).read_bytes())
    except OSError:
        return None


def parse_progress(content: bytes) -> Progress | None:
    """The record; None when it is torn or is none. What only a later version knows is passed over."""
    try:
        said: object = json.loads(content)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    return _progress(cast("dict[str, object]", said))


def _progress(said: Mapping[str, object]) -> Progress | None:
    known = {name: said[name] for name in Progress.__dataclass_fields__ if name in said and name != "node_seconds"}
    default = Progress()
    if any(not _is_like(value, getattr(default, name)) for name, value in known.items()):
        return None
    if known.get("state") not in _STATES:
        return None
    node_seconds = _pairs(said.get("node_seconds", []))
    if node_seconds is None:
        return None
    return Progress(**known, node_seconds=node_seconds)  # pyright: ignore[reportArgumentType]


def _is_like(value: object, default: object) -> bool:
    """Whether a value of JSON has the type of a field, whose numbers are never negative."""
    if isinstance(default, str):
        return isinstance(value, str)
    wanted = int if isinstance(default, int) else (int, float)
    return isinstance(value, wanted) and not isinstance(value, bool) and 0 <= value < math.inf


def _pairs(value: object) -> tuple[tuple[str, float], ...] | None:
    if not isinstance(value, list):
        return None
    pairs: list[tuple[str, float]] = []
    for each in cast("list[object]", value):
        match each:
            case [str(node), int() | float() as seconds]:
                pairs.append((node, float(seconds)))
            case _:
                return None
    return tuple(pairs)
