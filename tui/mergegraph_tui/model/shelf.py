"""The models of this machine that a recipe may load: folders near it, and the local cache of the Hub.

Looks at names, configs and model cards, at no tensor. Downloads nothing. A badge says how a model is related to those
of the recipe, as far as the two say so themselves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from mergegraph.tensors.declared import contradict, declared_bases, same_model

Source = Literal["folder", "hub"]

_DEEPEST = 4
_MOST_FOLDERS = 4000
_MOST_CONFIG_BYTES = 1_000_000
_SIZES = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")


@dataclass(frozen=True, slots=True)
class Shelved:
    """A model on this machine. `reference`: how a recipe names it; `bases`: the models it says it was made from;
    `shape`: the numbers of its config that must agree with those of a relative."""

    name: str
    reference: str
    path: Path
    source: Source = "folder"
    is_adapter: bool = False
    architecture: str = ""
    file_bytes: int = 0
    bases: tuple[str, ...] = ()
    shape: tuple[Any, ...] = ()


def shelf(folder: Path, known: Iterable[Path] = (), cache: Path | None = None) -> list[Shelved]:
    """The models below a recipe's folder and beside the models that it knows already, then those of the Hub's cache."""
    places = list(dict.fromkeys([folder, *(path.parent for path in known)]))
    found: dict[Path, Shelved] = {}
    for place in places:
        if not any(place.is_relative_to(other) for other in places if other != place):
            for path in _models_below(place):
                found.setdefault(path, _shelved(path, reference_of(path, folder)))
    hub = cache if cache is not None else hub_cache()
    for name, path in _cached(hub):
        found.setdefault(path, _shelved(path, reference_of(path, folder), name, "hub"))
    return list(found.values())


def one_model(path: Path, folder: Path) -> Shelved:
    """What is known of one folder or file, whether it is a model or not."""
    return _shelved(path, reference_of(path, folder))


def is_model(path: Path) -> bool:
    """Whether a recipe could load what is at `path`: a folder with weights or an adapter, a .safetensors file."""
    if path.suffix == ".safetensors":
        return path.is_file()
    return path.suffix != ".partial" and _has_weights(_entries(path))


def reference_of(path: Path, folder: Path) -> str:
    """How a recipe in `folder` names `path`: relative where it is near, from `~` where it is at home."""
    if path.is_relative_to(folder):
        near = path.relative_to(folder)
        return str(near) if near.parts[:1] == ("..",) else f"./{near}"
    home = Path.home()
    if folder.parent != folder.parent.parent and path.is_relative_to(folder.parent):
        return os.path.relpath(path, folder)
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def hub_cache() -> Path:
    """Where the Hub's own tools keep what they downloaded."""
    if said := os.environ.get("HF_HUB_CACHE"):
        return Path(said).expanduser()
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(home).expanduser() / "hub"


def badge(model: Shelved, recipe: Sequence[tuple[str, Shelved]]) -> str:
    """How a model is related to those of the recipe, each with its name there; "" where nothing says so."""
    for name, other in recipe:
        if model.path == other.path:
            return f"in the recipe: {name}"
    for name, other in recipe:
        if related := _related(model, name, other):
            return related
    with_shape = [(name, other) for name, other in recipe if other.shape and model.shape]
    if with_shape and all(other.shape != model.shape for _, other in with_shape):
        return f"other shape than {with_shape[0][0]}"
    return f"same shape as {with_shape[0][0]}" if with_shape else ""


def distance(model: Shelved, recipe: Sequence[tuple[str, Shelved]]) -> int:
    """How far a model is from those of the recipe: relatives first, what the recipe has already last."""
    said = badge(model, recipe)
    far = ("in the recipe", "other base", "other shape")
    if said.startswith(far):
        return 4 if said.startswith(far[0]) else 3
    return 2 if not said else 1 if said.startswith("same shape") else 0


def matching(models: Sequence[Shelved], typed: str) -> list[Shelved]:
    """The models whose name or path has every word typed; those that are called so come first."""
    words = typed.lower().split()
    if not words:
        return list(models)
    found = [each for each in models if all(word in f"{each.name} {each.reference}".lower() for word in words)]

    def rank(model: Shelved) -> tuple[bool, bool, bool]:
        last = model.name.rpartition("/")[2].lower()
        return last != words[0], not last.startswith(words[0]), words[0] not in last

    return sorted(found, key=rank)


def _related(model: Shelved, name: str, other: Shelved) -> str:
    if any(same_model(base, known) for base in model.bases for known in (other.name, other.reference)):
        return f"adapter of {name}" if model.is_adapter else f"made from {name}"
    if any(same_model(base, known) for base in other.bases for known in (model.name, model.reference)):
        return f"base of {name}"
    if contradict(model.bases, other.bases):
        return f"other base than {name}"
    return f"same base as {name}" if model.bases and other.bases else ""


def _models_below(root: Path) -> Iterator[Path]:
    """Models in `root` and below, nearest first, by name; not inside a model, nor in hidden folders."""
    level, seen = [root], set[str]()
    for _ in range(_DEEPEST + 1):
        below: list[Path] = []
        for place in level:
            if os.path.realpath(place) in seen:
                continue
            entries = _entries(place)
            seen.add(os.path.realpath(place))
            if len(seen) > _MOST_FOLDERS:
                return
            if place != root and _has_weights(entries):
                yield place
                continue
            yield from (place / name for name, is_folder in entries if not is_folder and name.endswith(".safetensors"))
            below += [place / name for name, is_folder in entries if is_folder and not name.startswith((".", "__"))]
        level = [path for path in below if path.suffix != ".partial"]


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Names in a folder with whether each is a folder, or a link to one."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry.name, entry.is_dir()) for entry in found)
    except OSError:
        return []


def _has_weights(entries: list[tuple[str, bool]]) -> bool:
    names = {name for name, is_folder in entries if not is_folder}
    is_model = "config.json" in names and any(name.endswith(".safetensors") for name in names)
    return is_model or bool(names & {"adapter_config.json", "model.safetensors", "model.safetensors.index.json"})


def _cached(cache: Path) -> Iterator[tuple[str, Path]]:
    """Every model of a Hub cache with its id: the snapshot that `main` names, else the newest."""
    for name, is_folder in _entries(cache):
        if is_folder and name.startswith("models--"):
            snapshot = _snapshot(cache / name)
            if snapshot is not None and _has_weights(_entries(snapshot)):
                yield name.removeprefix("models--").replace("--", "/"), snapshot


def _snapshot(repository: Path) -> Path | None:
    snapshots = [repository / "snapshots" / name for name, is_folder in _entries(repository / "snapshots") if is_folder]
    try:
        main = (repository / "refs" / "main").read_text("utf-8").strip()
    except (OSError, ValueError):
        main = ""
    named = repository / "snapshots" / main
    return named if main and named in snapshots else max(snapshots, key=_modified, default=None)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _shelved(path: Path, reference: str, name: str = "", source: Source = "folder") -> Shelved:
    is_file = path.suffix == ".safetensors"
    config: Mapping[str, Any] = {} if is_file else _config(path)
    shape = tuple(config.get(key) for key in _SIZES)
    return Shelved(
        name or path.name.removesuffix(".safetensors"), reference, path, source,
        is_adapter=not is_file and (path / "adapter_config.json").is_file(),
        architecture=_architecture(config),
        file_bytes=_weight_bytes(path),
        bases=() if is_file else _bases(path, config),
        shape=shape if any(value is not None for value in shape) else (),
    )  # fmt: skip


def _config(folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    try:
        if path.stat().st_size > _MOST_CONFIG_BYTES:
            return {}
        config: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", config) if isinstance(config, dict) else {}


def _bases(folder: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        return declared_bases(folder, config)
    except OSError:
        return ()


def _architecture(config: Mapping[str, Any]) -> str:
    """`llama 16x2048`: the kind, its layers and how wide they are."""
    kind, layers, width = (config.get(key) for key in ("model_type", "num_hidden_layers", "hidden_size"))
    size = f" {layers}x{width}" if isinstance(layers, int) and isinstance(width, int) else ""
    return f"{kind}{size}" if isinstance(kind, str) else ""


def _weight_bytes(path: Path) -> int:
    files = [path] if path.suffix == ".safetensors" else [
        path / name for name, is_folder in _entries(path) if not is_folder and name.endswith(".safetensors")
    ]  # fmt: skip
    total = 0
    for file in files:
        try:
            total += file.stat().st_size
        except OSError:
            continue
    return total
