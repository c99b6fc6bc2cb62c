"""Where a model reference leads on this machine, and what to say when it leads nowhere.

A reference is a path: absolute, from `~`, or relative to the recipe's folder. Downloads nothing.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from mergegraph.errors import InputError, Problem, did_you_mean
from mergegraph.tensors.links import end_of

_REMOTE = re.compile(r"(?P<scheme>hf|s3|gs|az|abfs|https?)://(?P<rest>.*)")
_HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/(?P<name>[\w.-]+))(?:@(?P<revision>[\w./-]+))?")


def find(reference: str, folder: Path, subfolder: str | None = None) -> Path:
    """The folder or file that `reference` names, absolute. InputError when there is none."""
    if not reference.strip():
        raise InputError(Problem("A model reference is empty.", fix="write the path of a model's folder"))
    if reference.startswith("file:"):
        raise InputError(_file_url(reference))
    remote = _REMOTE.fullmatch(reference)
    if remote:
        raise InputError(_remote(reference, remote["scheme"], remote["rest"]))
    path = _tidy(folder.absolute() / expanded(reference) / _inside(subfolder or "."))
    if not _exists(path):
        raise InputError(_nowhere(reference, path))
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


def _nowhere(reference: str, path: Path) -> Problem:
    fact, why = f'There is no folder or file "{reference}".', f"looked for {path}"
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
    hub = _HUB_ID.fullmatch(reference)
    parent, name = _first_missing(path)
    siblings = [entry for entry in _names(parent) if not entry.startswith(".")]
    near = did_you_mean(name, siblings, f"in {parent}")
    if hub is None or near.startswith("Did you mean"):
        return Problem(fact, why=why, fix=near)
    why = f"{why}; mergegraph reads local folders here, and does not download from the Hub"
    return Problem(fact, why=why, fix=_download(hub))


def _remote(reference: str, scheme: str, rest: str) -> Problem:
    hub = _HUB_ID.fullmatch(rest) if scheme == "hf" else None
    fix = _download(hub) if hub else "download it, and write the path of its folder"
    return Problem(f'"{reference}" is not a local path; mergegraph reads local folders here.', fix=fix)


def _file_url(reference: str) -> Problem:
    plain = re.sub("^/{2,}", "/", unquote(reference.removeprefix("file:")))
    return Problem(f'"{reference}" is a URL; mergegraph takes plain paths.', fix=f"write {plain}")


def _download(hub: re.Match[str]) -> str:
    revision = f" --revision {shlex.quote(hub['revision'])}" if hub["revision"] else ""
    place = f"models/{hub['name']}"
    return f"hf download {hub['id']}{revision} --local-dir {place}\nand write {place} instead"


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
