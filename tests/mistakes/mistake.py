"""One mistake, how it is mended, and how both end."""

from __future__ import annotations

import io
import shlex
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from tests.bad_inputs import Refused, said
from tests.cli.tiny_models import BLEND, write_blend

Spoil = Callable[[Path], None]


@dataclass(frozen=True)
class Mended:
    """`types` is said by the message. With it, as `edit` of the recipe or in another command line, all is well."""

    types: str
    edit: tuple[str, str] = ("", "")
    typed: str = ""
    prepare: Spoil | None = None
    """What people do by hand, where the message asks for it in words."""


@dataclass(frozen=True)
class Mistake:
    """`edit` changes one line of blend.yaml, `spoil` the folder; then `mergegraph TYPED` ends with `exit_code`."""

    reason: str
    says: str
    typed: str = "check blend.yaml"
    edit: tuple[str, str] = ("", "")
    spoil: Spoil = lambda folder: None
    mended: Mended | None = None
    exit_code: int = 2
    during: Callable[[], AbstractContextManager[object]] = nullcontext
    keeps: str = ""
    """What is left behind on purpose; nothing else is."""


def corrected(wrong: str, right: str, types: str = "") -> Mended:
    """The recipe with `right` in place of `wrong`, which the message names as it is or by its part `types`."""
    return Mended(types or right, edit=(wrong, right))


def options(added: str, typed: str = "run blend.yaml") -> Mended:
    """The same command with options that the message names."""
    return Mended(added, typed=f"{typed} {added}")


def command(typed: str) -> Mended:
    """The command that the message names, as it stands there."""
    return Mended(f"mergegraph {typed}", typed=typed)


@dataclass(frozen=True)
class Tried:
    """How a mistake ended, and the exit code of what its message told to type; None where it is done by hand."""

    refused: Refused
    wrong: str
    after: Refused | None
    left: set[str]


def tried(mistake: Mistake, folder: Path) -> Tried:
    """The mistake made in `folder`, which is empty, and then mended there."""
    write_blend(folder)
    recipe = folder / "blend.yaml"
    assert mistake.edit[0] in BLEND
    recipe.write_text(BLEND.replace(*mistake.edit, 1) if mistake.edit[0] else BLEND)
    mistake.spoil(folder)
    wrong = [line for line in recipe.read_text().splitlines() if line not in BLEND.splitlines()]
    there = {path.name for path in folder.iterdir()}
    with mistake.during(), patch("sys.stdin", io.StringIO()):
        refused = said(shlex.split(mistake.typed), folder)
    left = {path.name for path in folder.iterdir()} - there
    return Tried(refused, "\n".join(wrong), _mended(mistake, folder), left)


def _mended(mistake: Mistake, folder: Path) -> Refused | None:
    if mistake.mended is None:
        return None
    recipe, mended = folder / "blend.yaml", mistake.mended
    if mended.edit[0]:
        assert mended.edit[0] in recipe.read_text()
        recipe.write_text(recipe.read_text().replace(*mended.edit, 1))
    if mended.prepare is not None:
        mended.prepare(folder)
    return said(shlex.split(mended.typed or mistake.typed), folder)


def tried_anywhere(mistake: Mistake) -> Tried:
    """The mistake, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        return tried(mistake, Path(folder))
