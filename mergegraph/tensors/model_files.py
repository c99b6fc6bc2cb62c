"""Which files of a folder are the model: one index, one file, or one complete set of shards.

Looks at names only, by the patterns of transformers, diffusers and Mistral. Files of one model in two
formats (`consolidated*` beside a transformers set) are common; the first pattern that fits is taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mergegraph.errors import InputError, Problem
from mergegraph.tensors import foreign
from mergegraph.tensors.sources.place import Place, RemotePath

_STEMS = ("model", "diffusion_pytorch_model", "consolidated")
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")
_SHOWN_NAMES = 12


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """`files` are the model, or those that `index` names. `single`: a whole model that lies beside the index.

    `others`: files that may be of the model too; whoever leaves one unread says so.
    """

    index: str | None = None
    files: tuple[str, ...] = ()
    single: str | None = None
    others: tuple[str, ...] = ()


def choose_files(folder: Place, names: Sequence[str]) -> ModelFiles:
    """`names`: what `folder` holds. InputError when no model is there, or none can be told from another."""
    weights = sorted(name for name in names if name.endswith(".safetensors") and not name.startswith("adapter_"))
    for stem in _STEMS:
        chosen = _of_stem(folder, stem, names, weights)
        if chosen:
            return chosen
    if len(weights) == 1:
        return ModelFiles(files=(weights[0],))
    if weights:
        raise InputError(_several(folder, weights))
    raise InputError(_no_weights(folder, sorted(names)))


def shard_of(name: str) -> tuple[int, int] | None:
    """`model-00002-of-00005.safetensors` → (2, 5); None for a file that is no shard."""
    matched = _SHARD.fullmatch(name)
    return (int(matched["number"]), int(matched["count"])) if matched else None


def _of_stem(folder: Place, stem: str, names: Sequence[str], weights: list[str]) -> ModelFiles | None:
    index, single = f"{stem}.safetensors.index.json", f"{stem}.safetensors"
    others = _others(weights)
    if index in names:
        return ModelFiles(index, single=single if single in weights else None, others=others)
    if single in weights:
        return ModelFiles(files=(single,), others=others)
    shards = [name for name in weights if (found := _SHARD.fullmatch(name)) and found["stem"] == stem]
    return ModelFiles(files=_complete(folder, stem, shards), others=others) if shards else None


def _others(weights: list[str]) -> tuple[str, ...]:
    """What may have been meant to be read: neither other precisions of the model nor Mistral's second copy."""
    copies = ("consolidated", *(f"{name}." for name in _STEMS))
    return tuple(name for name in weights if not name.startswith(copies))


def _complete(folder: Place, stem: str, shards: list[str]) -> tuple[str, ...]:
    """A set of shards can be read without its index if every one is there."""
    counts = {found[1] for name in shards if (found := shard_of(name))}
    if len(counts) > 1:
        raise InputError(_several(folder, shards))
    count = counts.pop()
    wanted = [f"{stem}-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    missing = [name for name in wanted if name not in shards]
    if missing:
        shown = ", ".join(missing[:_SHOWN_NAMES])
        raise InputError(Problem(f"{folder} lacks {shown}.", why=f"the model has {count} files", fix="download them"))
    return tuple(wanted)


def _several(folder: Place, weights: list[str]) -> Problem:
    return Problem(
        f"{folder} holds {len(weights)} safetensors files that are not one model by their names.",
        why=f"there are {', '.join(weights[:_SHOWN_NAMES])}; no index or model.safetensors says which belong together",
        fix=f"name one file: {folder / weights[0]}",
    )


def _not_found_on_the_web(folder: Place) -> Problem:
    from mergegraph.tensors.sources.web import KNOWN_NAMES

    first, second, *others = KNOWN_NAMES
    return Problem(
        f"{folder} has no .safetensors file.",
        why=f"a web server lists nothing; it was asked for {first}, {second} and {len(others)} others, and has none",
        fix=f"curl -I {folder}/{second}, to see whether it is there; or name the file itself",
    )


def _no_weights(folder: Place, names: list[str]) -> Problem:
    if "adapter_config.json" in names or any(name.startswith("adapter_model.") for name in names):
        return foreign.adapter(folder)
    pickle = next((name for name in names if foreign.is_pickled_weights(name)), None)
    if pickle:
        return foreign.pickled(folder, pickle)
    quantised = next((name for name in names if name.endswith(".gguf")), None)
    if quantised:
        return foreign.gguf(str(folder / quantised))
    if not names and str(folder).startswith(("http://", "https://")):
        return _not_found_on_the_web(folder)
    below = sorted({str(path.parent) for glob in ("*", "snapshots/*") for path in folder.glob(f"{glob}/*.safetensors")})
    shown = ", ".join(names[:_SHOWN_NAMES]) + (
        f", and {len(names) - _SHOWN_NAMES} more" if names[_SHOWN_NAMES:] else ""
    )
    return Problem(
        f"{folder} has no .safetensors file.",
        why=f"it holds {shown}" if names else "it is empty",
        fix="\n".join(["name one of the folders in it:", *below[:_SHOWN_NAMES]]) if below else _beside(folder),
    )


def _beside(folder: Place) -> str:
    """The folders of models that lie beside a folder without one."""
    if isinstance(folder, RemotePath):
        return "name a model's folder"
    near = sorted({str(path.parent) for path in folder.parent.glob("*/model*.safetensors")})
    return "\n".join(["name a model's folder, such as", *near[:3]]) if near else "name a model's folder"
