"""Keys of the user's own: `$XDG_CONFIG_HOME/mergegraph/keys.toml` (by default `~/.config/…`).

    [node]
    add = "insert"          # the id of an action, and its keys
    cut = ["x", "ctrl+x"]

What cannot be used is a problem that says why; the rest counts.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from mergegraph.errors import Location, Problem, did_you_mean

_MODIFIERS = {"ctrl", "shift", "alt", "super", "meta", "hyper"}


@dataclass(frozen=True)
class KeyMap:
    """For each action's id its keys, separated by commas; and what was wrong."""

    keys: Mapping[str, str] = field(default_factory=dict[str, str])
    problems: tuple[Problem, ...] = ()


def config_file() -> Path:
    named = os.environ.get("XDG_CONFIG_HOME", "")
    root = Path(named) if Path(named).is_absolute() else Path.home() / ".config"
    return root / "mergegraph" / "keys.toml"


def read_key_map(places: Sequence[Mapping[str, str]], known: frozenset[str], path: Path | None = None) -> KeyMap:
    """The user's keys; nothing where there is no file.

    `places`: for each place of the interface the keys of every action there, by id; `known`: the names of keys.
    """
    file = path or config_file()
    try:
        tree = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return KeyMap()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        fix = 'write it as TOML: node.add = "insert"'
        return KeyMap({}, (_warning(f"The key map cannot be read: {reason}.", file, fix),))
    keys: dict[str, str] = {}
    problems: list[Problem] = []
    ids = sorted({each for place in places for each in place})
    for name, value in _flat(tree, ""):
        wanted = _keys(value)
        if name not in ids:
            problems.append(_warning(f'There is no action "{name}".', file, did_you_mean(name, ids, "actions")))
        elif wanted is None:
            problems.append(_warning(f'"{name}" has no keys.', file, f'{name} = "ctrl+x", or a list of such'))
        elif wrong := [key for key in wanted if not _is_key(key, known)]:
            fix = did_you_mean(wrong[0].rpartition("+")[2], known, "keys")
            problems.append(_warning(f'There is no key "{wrong[0]}", which "{name}" is given.', file, fix))
        else:
            keys[name] = ",".join(wanted)
    return KeyMap(keys, (*problems, *_clashes(places, keys, file)))


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(cast("dict[str, Any]", value), f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _keys(value: object) -> list[str] | None:
    """The keys of a text with commas, or of a list; None for anything else."""
    listed = value.split(",") if isinstance(value, str) and value != "," else value
    items = cast("list[object]", listed) if isinstance(listed, list) else [listed]
    keys = [item.strip() for item in items if isinstance(item, str) and item.strip()]
    return keys if keys and len(keys) == len(items) else None


def _is_key(key: str, known: frozenset[str]) -> bool:
    *modifiers, last = key.split("+") if key != "+" else [key]
    return set(modifiers) <= _MODIFIERS and (len(last) == 1 or last in known)


def _clashes(places: Sequence[Mapping[str, str]], keys: Mapping[str, str], file: Path) -> Iterator[Problem]:
    """A key that would do two things in one place."""
    said: set[frozenset[str]] = set()
    for place in places:
        for name in sorted(keys.keys() & place.keys()):
            for other, usual in place.items():
                both = set(keys[name].split(",")) & set(keys.get(other, usual).split(","))
                if other != name and both and {name, other} not in said:
                    said.add(frozenset((name, other)))
                    fact = f'The key {min(both)} is given to "{name}", and is that of "{other}" too.'
                    yield _warning(fact, file, f'give "{other}" another key')


def _warning(fact: str, file: Path, fix: str) -> Problem:
    return Problem(fact, Location(str(file)), fix=fix, severity="warning")
