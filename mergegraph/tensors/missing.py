"""Where a model reference leads, and what to say when it leads nowhere on this machine.

A reference is a path (absolute, from `~`, or relative to the recipe's folder), an id of the Hub, or a URI; see
`sources/references.py`. Downloads nothing.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from mergegraph.errors import InputError, Problem, did_you_mean
from mergegraph.tensors.links import end_of
from mergegraph.tensors.sources.hub_names import meant_for_hub
from mergegraph.tensors.sources.place import Place
from mergegraph.tensors.sources.references import remote_place


def find(reference: str, folder: Path, subfolder: str | None = None) -> Place:
    """The folder or file that `reference` names: absolute, or a place on a server. InputError when there is none."""
    if not reference.strip():
        raise InputError(Problem("A model reference is empty.", fix="write the path of a model's folder"))
    if reference.startswith("file:"):
        raise InputError(_file_url(reference))
    remote = remote_place(reference, folder, _inside(subfolder) if subfolder else None)
    if remote is not None:
        return remote
    path = _tidy(folder.absolute() / expanded(reference) / _inside(subfolder or "."))
    if not _exists(path):
        raise InputError(_nowhere(reference, path, folder))
    return path


def leads_out(name: str) -> bool:
    """Whether a relative path leaves its folder, read by the rules of any system (`..`, `/x`, `C:x`, `\\\\x`)."""
    path = PureWindowsPath(name)
    return bool(path.drive or path.root or ".." in path.parts)


def expanded(reference: str) -> Path:
    """A path as a person writes it, with their home folder for `~`."""
    try:
        return Path(reference).expanduser()
    except RuntimeError:  # `~name` of nobody on this machine
        return Path(reference)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # no file can be called so
            return False
        raise


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:
        return False


def _tidy(path: Path) -> Path:
    """Without `..`, unless one goes up from a link and so means another place than it seems."""
    tidy = Path(os.path.normpath(path))
    return path if _exists(path) and not (_exists(tidy) and tidy.samefile(path)) else tidy


def _inside(subfolder: str) -> str:
    if leads_out(subfolder):
        raise InputError(Problem(f'subfolder "{subfolder}" leads out of the model.', fix="name a folder inside it"))
    return subfolder


def _nowhere(reference: str, path: Path, folder: Path) -> Problem:
    fact, why = f'There is no folder or file "{reference}".', "" if Path(reference) == path else f"looked for {path}"
    if _is_link(path):
        return Problem(
            fact,
            why=f"{path} is a link that {end_of(path)}",
            fix="correct the link, or name the folder that it was to lead to",
        )
    base, plus, adapter = reference.rpartition("+")
    if plus and base and _exists(Path(str(path).removesuffix(plus + adapter))):
        why = f"{base} is there; the adapter on top of it ({adapter}) is another folder"
        fix = "name the model here, and the adapter in a node {op: lora, adapter: …, base: …}"
        return Problem(fact, why=why, fix=fix)
    if sign := re.search(r"[$*?]|\[.*\]", reference):
        why = f"{sign[0]} is taken as it stands: variables and patterns are not expanded"
        return Problem(fact, why=why, fix="write out the folder's name, one model in each place")
    hint = meant_for_hub(reference)
    return Problem(fact, why="\n".join(filter(None, [why, hint])), fix=_meant(reference, path, folder, hint))


def _meant(reference: str, path: Path, folder: Path, hint: str) -> str:
    """What to write in place of `reference`: a name that is here, one of the Hub with its owner, or what there is."""
    owned = f"write {hint.rpartition(' ')[2]}" if "with its owner" in hint else ""
    if reference.lower() == "gpt2":
        return owned
    if path.name and _exists(folder / path.name):
        return f"Did you mean ./{path.name}?"
    parent, name = _first_missing(path)
    siblings = [entry for entry in _names(parent) if not entry.startswith(".")]
    if not siblings:
        return owned or f"name the folder of a model; there is nothing in {parent}"
    fix = _whole(did_you_mean(name, siblings, f"in {parent}"), reference, name)
    return fix if fix.startswith("Did") else owned or fix


def _whole(fix: str, reference: str, name: str) -> str:
    """`Did you mean ./models/code?`: the reference with the right name in place of the wrong one."""
    near = fix.removeprefix("Did you mean ").removesuffix("?")
    if fix == near or not reference.endswith(name) or meant_for_hub(reference):
        return fix
    return f"Did you mean {reference.removesuffix(name)}{near}?"


def _file_url(reference: str) -> Problem:
    plain = re.sub("^/{2,}", "/", unquote(reference.removeprefix("file:")))
    return Problem(f'"{reference}" is a URL; mergegraph takes plain paths.', fix=f"write {plain}")


def _first_missing(path: Path) -> tuple[Path, str]:
    """The deepest folder of `path` that exists, and the name that is missing there."""
    while not _exists(path.parent):
        path = path.parent
    return path.parent, path.name


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []
