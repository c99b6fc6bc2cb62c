"""What a finished output says of itself in mergegraph.json: which result it is, and where it is not finite.

A file that is torn, or not ours, says nothing; it is never an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

PROVENANCE = "mergegraph.json"


@dataclass(frozen=True, slots=True)
class Completed:
    """`nonfinite`: by tensor name, how many computed values are NaN or Inf."""

    result_id: str
    nonfinite: Mapping[str, int] = field(default_factory=dict[str, int])


def completed(path: Path) -> Completed | None:
    """The finished output at `path`; None when there is none, or it does not say which result it is."""
    try:
        said: object = json.loads((path / PROVENANCE).read_bytes())
    except (OSError, ValueError):
        return None
    result_id = _mapping(said).get("result_id")
    if not isinstance(result_id, str):
        return None
    tensors = _mapping(_mapping(said).get("tensors"))
    counts = {name: _mapping(facts).get("nonfinite") for name, facts in tensors.items()}
    return Completed(result_id, {name: count for name, count in counts.items() if isinstance(count, int) and count})


def completed_result_id(path: Path) -> str | None:
    """The result id of the finished output at `path`; None when there is none, or it says none."""
    output = completed(path)
    return None if output is None else output.result_id


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
