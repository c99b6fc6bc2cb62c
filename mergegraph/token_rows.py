"""What of a model has a row for each token: tensors by their shapes, numbers and token ids of config.json."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, cast

from mergegraph.naming import role

_TOKEN_IDS = ("_token_id", "_token_ids", "_token_index")


def vocabulary_tensors(tensors: Mapping[str, Any], row_count: int) -> list[str]:
    """The names of what has a row for each token: embeddings and heads outside the layers, with their biases."""
    return [name for name, each in tensors.items() if each.shape[:1] == (row_count,) and _is_outer(name)]


def vocabulary_rows(tensors: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    """The rows of the token embedding: what config.json says, else those of the tallest embedding; 0 without one."""
    tall = [each.shape[0] for name, each in tensors.items() if len(each.shape) == 2 and _is_outer(name)]
    stated = [part["vocab_size"] for part in _parts(config) if part.get("vocab_size") in tall]
    embeddings = [
        each.shape[0] for name, each in tensors.items() if len(each.shape) == 2 and role(name).kind == "embedding"
    ]
    return stated[0] if stated else max(embeddings, default=0)


def config_with_rows(config: Mapping[str, Any], row_count: int) -> dict[str, Any]:
    """`config` with `vocab_size`, where it has one."""

    def resized(key: str, value: Any) -> Any:
        return row_count if key == "vocab_size" else value

    return _changed(config, resized)


def moved_ids(config: Mapping[str, Any], moved: Mapping[int, int], lost: Collection[int]) -> dict[str, Any]:
    """`config` with every token id (`eos_token_id`, …) where its token is now (`moved`), None if `lost`."""

    def move(key: str, value: Any) -> Any:
        if not key.endswith(_TOKEN_IDS):
            return value
        if isinstance(value, list):
            return [new for each in cast("list[Any]", value) if (new := move(key, each)) is not None]
        if type(value) is not int:
            return value
        return None if value in lost else moved.get(value, value)

    return _changed(config, move)


def _changed(config: Mapping[str, Any], change: Callable[[str, Any], Any]) -> dict[str, Any]:
    return {
        key: _changed(cast("dict[str, Any]", value), change) if isinstance(value, dict) else change(key, value)
        for key, value in config.items()
    }


def _parts(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The config, and what it says of the text model inside a larger one."""
    yield config
    yield from (cast("dict[str, Any]", value) for value in config.values() if isinstance(value, dict))


def _is_outer(name: str) -> bool:
    named = role(name)
    return named.layer is None and named.kind in ("embedding", "head")
