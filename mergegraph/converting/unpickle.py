"""Opens a pickled checkpoint with torch's restricted unpickler, and hands out its tensors' bytes piece by piece.

Only tensors, containers and numbers are built; a file that asks for anything else is refused, whatever it is.
The file is mapped, and pages that were sent are given back, so that memory does not grow with the model.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from mergegraph.converting.archive import AGAIN, STATE_DICT, Refused, fits, storages

WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
"""Keys under which training programs keep the model's tensors, beside other things."""
PIECE_BYTES = 8 << 20
_SHOWN = 12
_DONTNEED = 4


@dataclass(frozen=True)
class Opened:
    """`under`: the key that the tensors were found under; `left_out`: what else there is, as `epoch (int)`."""

    tensors: Mapping[str, Tensor]
    under: str
    left_out: tuple[str, ...]


def open_pickle(path: str, key: str | None) -> Opened:
    """The tensors of a checkpoint, under `key` or where they are found. Refused when there is no telling."""
    records = storages(path)
    holder, under, beside = _holder(_loaded(path), key)
    tensors = {name: value.detach() for name, value in holder.items() if isinstance(value, Tensor)}
    for name, value in holder.items():
        _check_entry(name, value)
    claimed = {(tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()) for tensor in tensors.values()}
    if not fits(claimed, records):
        raise Refused("is damaged: a tensor claims other bytes than the file stores for it.", fix=AGAIN)
    left_out = [f"{name} ({type(value).__name__})" for name, value in holder.items() if not isinstance(value, Tensor)]
    return Opened(tensors, under, (*beside, *left_out))


def facts(tensor: Tensor) -> dict[str, object]:
    """What JSON can say of a tensor. Tensors with one `place` are one and the same."""
    place = [tensor.data_ptr(), tensor.storage_offset(), *tensor.stride()] if tensor.numel() else []
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape), "place": place}


def content(tensor: Tensor) -> Iterator[memoryview]:
    """The bytes of a tensor in order, as safetensors stores them, in pieces of at most 8 MiB."""
    for piece in _pieces(tensor, max(PIECE_BYTES // tensor.element_size(), 1)):
        whole = piece.resolve_conj().resolve_neg().contiguous()
        # One element may have any stride, and then it has no view as bytes.
        flat = whole.as_strided((whole.numel(),), (1,))
        yield memoryview(cast("Any", flat.view(torch.uint8).numpy()))
        if tensor.is_contiguous():
            _give_back(piece)
    _give_back(tensor)


def _loaded(path: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise _explained(error) from error


def _explained(error: Exception) -> Refused:
    """torch's message in one sentence; never its advice to load the file without protection."""
    text = str(error)
    asked = re.search(r"GLOBAL ([\w.]+)", text)
    if isinstance(error, MemoryError) or "memory" in text:
        return Refused("takes more memory to describe its tensors than a checkpoint may.", text.split("\n")[0], AGAIN)
    if asked:
        why = "a pickle can name any function to be called; nothing but tensors is built from one"
        return Refused(f"asks for {asked[1]}, which is no tensor; nothing of it was run.", why, STATE_DICT)
    first = re.split(r"(?<=[.:])\s|\n", text.split("WeightsUnpickler error:")[-1].strip())[0]
    why = f"{type(error).__name__}: {first[:300]}"
    return Refused("is damaged, or holds something else than tensors.", why, AGAIN)


def _holder(loaded: object, key: str | None) -> tuple[dict[Any, Any], str, list[str]]:
    """The dict that holds the tensors, the key it stands under, and what stands beside it."""
    top = _mapping(loaded)
    if top is None:
        raise Refused("holds no dict of tensors.", f"it is one {type(loaded).__name__} by itself", STATE_DICT)
    found = [key] if key is not None else [name for name in WRAPPERS if name in top and _holds_tensors(top[name])]
    bare = [name for name, value in top.items() if isinstance(value, Tensor)]
    if key is not None and not (key in top and _holds_tensors(top[key])):
        raise Refused(f'has no tensors under "{key}".', f"it holds {_listed(top)}", "leave --key out, or name another")
    if not found or (bare and key is None):
        if found:
            why = f"there are {len(bare)} tensors, {bare[0]} among them, beside a dict called {found[0]}"
            raise Refused("holds tensors in two places.", why, f"--key {found[0]} for those in the dict")
        if not bare:
            raise Refused("holds no tensors.", f"it holds {_listed(top)}", "--key NAME if they are under another name")
        return top, "", []
    if len(found) > 1:
        raise Refused("holds several models.", f"under {', '.join(found)}", f"--key {found[0]}")
    beside = [f"{name} ({type(value).__name__})" for name, value in top.items() if name != found[0]]
    return _mapping(top[found[0]]) or {}, found[0], beside


def _mapping(value: object) -> dict[Any, Any] | None:
    return cast("dict[Any, Any]", value) if isinstance(value, dict) else None


def _holds_tensors(value: object) -> bool:
    return any(isinstance(each, Tensor) for each in (_mapping(value) or {}).values())


def _listed(entries: Mapping[Any, Any]) -> str:
    shown = [f"{name} ({type(value).__name__})" for name, value in list(entries.items())[:_SHOWN]]
    return ", ".join([*shown, f"and {len(entries) - _SHOWN} more"] if len(entries) > _SHOWN else shown) or "nothing"


def _check_entry(name: object, value: object) -> None:
    """A tensor must be one that safetensors can hold; what is no tensor may be left out, unless it holds some."""
    if not isinstance(value, Tensor):
        if _holds_tensors(value):
            why = f"the entry {name} is a dict that holds tensors, beside others that are tensors"
            raise Refused("holds tensors in two places.", why, f"--key {name} for those in the dict")
        return
    if not isinstance(name, str):
        raise Refused(f"names a tensor {str(name)[:80]!r}, which is no text.", fix=STATE_DICT)
    plain = type(value) in (Tensor, torch.nn.Parameter) and value.layout == torch.strided
    if not plain or value.is_quantized or value.device.type != "cpu":
        kind = f"{type(value).__name__}, {value.layout}, {value.dtype}, {value.device.type}"
        raise Refused(f"holds {name[:200]}, which is no plain tensor.", kind, "save the model with dense tensors")


def _pieces(tensor: Tensor, most: int) -> Iterator[Tensor]:
    """`tensor` in parts of at most `most` elements, in the order of its elements."""
    if tensor.numel() <= most:
        if tensor.numel():
            yield tensor
        return
    if tensor.is_contiguous():
        flat = tensor.reshape(-1)
        yield from (flat[start : start + most] for start in range(0, tensor.numel(), most))
        return
    rows = most // (tensor.numel() // tensor.shape[0])
    for start in range(0, tensor.shape[0], max(rows, 1)):
        yield from [tensor[start : start + rows]] if rows else _pieces(tensor[start], most)


def _give_back(tensor: Tensor) -> None:
    """Let go of the pages of a tensor that was sent. They are the file's, unchanged, so reading them again is safe."""
    if not sys.platform.startswith("linux"):
        return
    begin, nbytes = tensor.data_ptr(), tensor.numel() * tensor.element_size()
    if not tensor.is_contiguous():
        nbytes = tensor.untyped_storage().nbytes() - int(tensor.storage_offset()) * tensor.element_size()
    start, end = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, (begin + nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONTNEED)
