"""Pickled files for the tests of `convert`: as torch writes them, and as nobody should."""

from __future__ import annotations

import argparse
import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """A tensor of every sort that can be written: views, scalars, nothing, shared storage, each kind of dtype."""
    source = torch.Generator().manual_seed(seed)
    embedding = torch.randn(31, 8, generator=source).to(torch.bfloat16)
    return {
        "model.embed_tokens.weight": embedding,
        "lm_head.weight": embedding,
        "transposed": torch.randn(13, 7, generator=source).T,
        "strided": torch.randn(12, 6, generator=source)[1::2, ::3],
        "expanded": torch.randn(1, 5, generator=source).expand(3, 5),
        "window": torch.randn(40, generator=source)[7:23],
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.empty(0, 3),
        "counts": torch.arange(11),
        "mask": torch.tensor([True, False, True]),
        "half": torch.randn(5, generator=source).half(),
        "eighth": torch.randn(9, generator=source).to(torch.float8_e4m3fn),
        "complex": torch.randn(3, generator=source, dtype=torch.complex64),
        "conjugate": torch.randn(3, generator=source, dtype=torch.complex64).conj(),
        "parameter": torch.nn.Parameter(torch.randn(4, generator=source)),
    }


class Call:
    """Unpickles by calling a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._called = function, arguments

    def __reduce__(self) -> Any:
        return self._called


def rewrite(path: Path, change: Callable[[str, bytes], bytes], packing: int = zipfile.ZIP_STORED) -> None:
    """Every record of an archive, changed and put at the alignment that torch gives it."""
    source = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", packing) as new:
        for name in old.namelist():
            record = zipfile.ZipInfo(name)
            record.compress_type = packing
            new.writestr(record, change(name, old.read(name)))


def _saved(path: Path, value: object, **options: Any) -> None:
    torch.save(value, path, **options)


def _tar(path: Path) -> None:
    path.write_bytes(b"sys_info".ljust(257, b"\0") + b"ustar\x0000" + bytes(248))


def _truncated(path: Path) -> None:
    torch.save({"w": torch.ones(5000)}, path)
    path.write_bytes(path.read_bytes()[:9000])


def _packed(path: Path) -> None:
    torch.save({"w": torch.ones(5000)}, path)
    rewrite(path, lambda name, content: content, zipfile.ZIP_DEFLATED)


def _without_storage(path: Path) -> None:
    torch.save({"w": torch.ones(5000), "b": torch.ones(3)}, path)
    rewrite(path, lambda name, content: content[:400] if name.endswith("data/0") else content)


def _overlapping(path: Path) -> None:
    """The second storage follows the first, which claims 1,000 elements and holds 900."""
    torch.save({"w": torch.ones(1000), "b": torch.ones(5000)}, path)
    rewrite(path, lambda name, content: content[:3600] if name.endswith("data/0") else content)


def _other_order(path: Path) -> None:
    torch.save({"w": torch.ones(3)}, path)
    rewrite(path, lambda name, content: b"big" if name.endswith("byteorder") else content)


def _not_a_pickle(path: Path) -> None:
    torch.save({"w": torch.ones(3)}, path)
    rewrite(path, lambda name, content: b"\x80\x02]q\x00." + content if name.endswith("data.pkl") else content)


def _deep(path: Path) -> None:
    torch.save({"w": torch.ones(3)}, path)
    nested = b"\x80\x02" + b"](" * 100_000 + b"." + bytes(3)
    rewrite(path, lambda name, content: nested if name.endswith("data.pkl") else content)


def _script(path: Path) -> None:
    torch.save({"w": torch.ones(3)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{path.stem}/constants.pkl", b"\x80\x02).")


def _other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")


def _twice(path: Path) -> None:
    torch.save({"w": torch.ones(3)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.infolist()[0], b"\x80\x02}.")


def hostile(canary: Path) -> Mapping[str, tuple[Callable[[Path], None], str]]:
    """By reason: what writes the file, and what is said of it. Opened carelessly, the first three make `canary`."""
    ones = torch.ones(3)
    run = Call(os.system, f"touch {canary}")
    return {
        "runs a command": (lambda p: _saved(p, {"w": ones, "x": run}), "asks for posix.system"),
        "runs a command, and is nothing else": (lambda p: _saved(p, run), "asks for posix.system"),
        "evaluates text": (
            lambda p: _saved(p, {"x": Call(eval, f"open({str(canary)!r}, 'w')"), "w": ones}),
            "asks for eval",
        ),
        "holds a class of the trainer": (
            lambda p: _saved(p, {"w": ones, "args": argparse.Namespace(lr=1)}),
            "asks for argparse.Namespace",
        ),
        "claims a terabyte": (lambda p: _saved(p, {"x": Call(bytearray, 1 << 40), "w": ones}), "more memory"),
        "a truncated archive": (_truncated, "begins as a zip archive and does not end as one"),
        "an archive packed again": (_packed, "packed again"),
        "a storage shorter than its tensor": (_without_storage, "is damaged"),
        "a storage that reaches into the next": (_overlapping, "claims other bytes than the file stores"),
        "another byte order": (_other_order, "another byte order"),
        "a list where the dict should be": (_not_a_pickle, "holds no dict of tensors"),
        "nested a hundred thousand deep": (_deep, "is damaged, or holds something else"),
        "a program": (_script, "TorchScript program"),
        "a zip of something else": (_other_zip, "none that torch.save wrote"),
        "two records of one name": (_twice, "two records of one name"),
        "a bare tensor": (lambda p: _saved(p, ones), "holds no dict of tensors"),
        "numbers only": (lambda p: _saved(p, {"epoch": 3}), "holds no tensors"),
        "a sparse tensor": (lambda p: _saved(p, {"w": torch.eye(3).to_sparse()}), "no plain tensor"),
        "a tensor without data": (lambda p: _saved(p, {"w": torch.ones(3, device="meta")}), "no plain tensor"),
        "a name that is a number": (lambda p: _saved(p, {7: ones}), "which is no text"),
        "two models": (lambda p: _saved(p, {"model": {"w": ones}, "state_dict": {"w": ones}}), "holds several models"),
        "a model beside tensors": (lambda p: _saved(p, {"model": {"w": ones}, "v": ones}), "tensors in two places"),
        "a dict of tensors among tensors": (lambda p: _saved(p, {"ema": {"w": ones}, "v": ones}), "in two places"),
    }


def other_formats() -> Mapping[str, tuple[Callable[[Path], None], str]]:
    """What is told from the first bytes, without a child."""
    ones = {"w": torch.ones(3)}
    return {
        "before torch 1.6": (
            lambda p: _saved(p, ones, _use_new_zipfile_serialization=False),
            "in the format before torch 1.6",
        ),
        "before torch 0.1.10": (_tar, "a tar archive"),
        "text": (lambda p: p.write_text("no weights") and None, "no file that torch.save wrote"),
        "nothing": (lambda p: p.touch(), "no file that torch.save wrote"),
    }
