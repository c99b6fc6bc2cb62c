"""What a model reference of a configuration means in a recipe, and the name its node gets.

mergekit reads a path from the folder it is started in, a recipe from the folder it lies in. A path that is there is
written as the recipe needs it; anything else stays as it is, an id on the Hub most likely.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, cast

from mergegraph.errors import InputError
from mergegraph.naming import layer_counts, renumbered, role
from mergegraph.tensors import strict_json
from mergegraph.tensors.checkpoint import MOST_CONFIG_BYTES, open_checkpoint
from mergegraph.tensors.local_file import opened, read_range

_COUNT_KEYS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_LONGEST_NAME = 32


@dataclass(frozen=True, slots=True)
class Places:
    """`started_in`: from where the configuration's paths count; `config`: its folder; `recipe`: the recipe's."""

    started_in: FilePath
    config: FilePath
    recipe: FilePath

    def reference(self, text: str) -> str:
        """`path@revision+adapter` as the recipe says it."""
        whole = self._found(text)
        return whole if whole is not None else "+".join(self._part(part) for part in text.split("+"))

    def layer_count(self, text: str) -> int | None:
        """How many layers the config.json of a local model says; None where it is not here or does not say."""
        folder = next((folder / text for folder in self._roots() if (folder / text).is_dir()), None)
        try:
            config: Any = _config(folder / "config.json") if folder else {}
        except (OSError, ValueError):
            return None
        for key in _COUNT_KEYS if isinstance(config, dict) else ():
            count: object = cast("dict[str, object]", config).get(key)
            if type(count) is int:
                return count
        return None

    def tensors(self, text: str) -> tuple[str, ...]:
        """The names of a local model's tensors; none where it is not here or cannot be read."""
        path = next((root / text for root in self._roots() if (root / text).exists()), None)
        try:
            return tuple(open_checkpoint(str(path), self.config).tensors) if path else ()
        except InputError:
            return ()

    def _roots(self) -> tuple[FilePath, FilePath]:
        return self.started_in, self.config

    def _part(self, part: str) -> str:
        found = self._found(part)
        if found is not None:
            return found
        if part.startswith(("./", "../")):
            return self._from_recipe(self.started_in / part)
        return part

    def _found(self, part: str) -> str | None:
        """The path of what is there, from the recipe's folder; absolute and foreign ones stay."""
        if "://" in part or part.startswith("~") or FilePath(part).is_absolute():
            return part if "+" not in part else None
        root = next((root for root in self._roots() if (root / part).exists()), None)
        return None if root is None else self._from_recipe(root / part)

    def _from_recipe(self, path: FilePath) -> str:
        moved = os.path.relpath(path, self.recipe)
        return moved if moved.startswith("..") else f"./{moved}"


def _config(path: FilePath) -> Any:
    with opened(str(path)) as file:
        return strict_json.parse(read_range(file, 0, MOST_CONFIG_BYTES), floats=True)


def tensors_within(names: tuple[str, ...], layers: tuple[int, int] | None) -> tuple[str, ...]:
    """The names of a slice, its layers counted from 0; none where nothing says which layers are meant."""
    if layers is None or not names:
        return names
    if len(layer_counts(names)) != 1:
        return ()
    first, end = layers
    placed = [(name, role(name).layer) for name in names]
    return tuple(
        name if layer is None else renumbered(name, layer - first)
        for name, layer in placed
        if layer is None or first <= layer < end
    )


class Names:
    """Identifiers for nodes, each given out once."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def new(self, wanted: str) -> str:
        """`wanted`, or with a number behind it where that is taken."""
        name, count = wanted, 1
        while name in self.taken:
            count += 1
            name = f"{wanted}_{count}"
        self.taken.add(name)
        return name


def name_of(reference: str) -> str:
    """A node name for a model: `./models/Mistral-7B@main+org/sql` → `Mistral_7B_sql`."""
    parts = [part.partition("@")[0].rstrip("/").rpartition("/")[2] for part in reference.split("+")]
    return identifier("_".join(part.removesuffix(".safetensors") for part in parts))


def identifier(text: str) -> str:
    """`text` as a node name."""
    word = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")[:_LONGEST_NAME].rstrip("_") or "model"
    return word if word.isidentifier() else f"m_{word}"
