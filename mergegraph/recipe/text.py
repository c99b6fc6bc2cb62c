"""The text in a recipe's file, or why it is none. Knows nothing of what a text means, and imports nothing that does."""

from __future__ import annotations

import stat
from pathlib import Path

from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.tensors.foreign import recognise_binary
from mergegraph.tensors.local_file import opened, read_range

MAX_BYTES = 10_000_000
_FIRST_BYTES = 512


def read_raw(path: Path) -> bytes:
    """The bytes of a recipe file, for `decode`; no more than it needs to see that they are too many. OSError as from
    `open_local`."""
    with opened(str(path)) as file:
        return read_range(file, 0, MAX_BYTES + 1)


def decode(raw: bytes, file: str) -> str:
    """The text of a recipe file. RecipeError when it is too large, not UTF-8, or by its first bytes something else."""
    at = Location(file)
    if found := recognise_binary(raw[:_FIRST_BYTES], file):
        what, fix = found
        why = "a recipe is a page of YAML that names the models"
        raise RecipeError(Problem(f"{file} is not a recipe: {what}.", at, why=why, fix=fix))
    if len(raw) > MAX_BYTES:
        fix = "is this the right file? A recipe is a page of YAML"
        raise RecipeError(Problem(f"The recipe has more than {MAX_BYTES:,} bytes; no more are read.", at, fix=fix))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        why = f"byte {raw[error.start]:#04x} at offset {error.start}"
        fix = "save the file as UTF-8"
        raise RecipeError(Problem("The recipe is not UTF-8 text.", Location(file, line), why=why, fix=fix)) from error


def special_kind(path: Path) -> str:
    """`a pipe`, `a device`, `a folder`, …: what is at `path` where it is no file; empty for a file, or for nothing."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return ""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return "" if stat.S_ISREG(mode) else kinds.get(stat.S_IFMT(mode), "a device")
