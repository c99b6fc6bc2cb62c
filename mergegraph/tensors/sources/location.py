"""Locations as text: which are of this machine, how names are joined to them, what may be shown of them.

Joining is lexical: nothing is looked up, and nothing leads out of the folder that it is joined to.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from mergegraph.errors import InputError, Problem, on_one_line, printable

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_USER = re.compile(
    r"((?:https?://(?=[^/@]*@)|[a-z][a-z0-9+.-]*://(?=[^/@:]*:[^/@]*@)))[^/@]*@", re.ASCII | re.IGNORECASE
)
"""Whoever stands before a web host; elsewhere only with a password: `az://container@account` is a place."""
_QUERY = re.compile(r"[?#].*", re.DOTALL)


def scheme_of(location: str) -> str:
    """`s3` of `s3://bucket/key`; "" for a path of this machine."""
    # Looked at for every path that is opened, and almost all begin with a slash.
    if location[:1] in ("/", ".", "~"):
        return ""
    matched = _SCHEME.match(location)
    return matched[1].lower() if matched else ""


def is_remote(location: str) -> bool:
    """Whether a location is a URI, and not a path of this machine."""
    return bool(scheme_of(location))


def restored(argument: str) -> str:
    """A URI that was taken for a path, and has lost a slash; anything else as it is."""
    return re.sub(r"^([a-z][a-z0-9+.-]+):/+(?=[^/])", r"\1://", argument)


def fault_of_address(address: str) -> str:
    """Why nothing can be asked of a web address; empty where something can."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return on_one_line(str(error)).lower()
    if not host:
        return "it names no server"
    wrong = next((sign for sign in address if not "!" <= sign <= "~"), "")
    return f"it holds {printable(wrong)!r}, which is written {quote(wrong)} in an address" if wrong else ""


def refuse_malformed(reference: str) -> None:
    """InputError for a web address that no server can have."""
    if scheme_of(reference) in ("http", "https") and (why := fault_of_address(reference)):
        fact = f"{shown(reference)} is no address of the web."
        raise InputError(Problem(fact, why=why, fix="write https://HOST/PATH, as the browser shows it"))


def joined(folder: str, name: str) -> str:
    """The location of `name` in a folder of a server. `name` may hold slashes, and no `..`."""
    assert ".." not in name.split("/"), name
    return f"{folder.rstrip('/')}/{name}"


def name_of(location: str) -> str:
    """The last part of a location: `model.safetensors`."""
    return location.rstrip("/").rpartition("/")[2]


def parent_of(location: str) -> str:
    """The folder that a location lies in; of a server's root, itself."""
    head, _, _ = location.rstrip("/").rpartition("/")
    return location if head.endswith("/") or "://" not in head else head


def shown(location: str) -> str:
    """A location without what may be a secret: its query, its fragment, a user and a password before the host."""
    return _QUERY.sub("", _USER.sub(r"\1", location)) if is_remote(location) else location


def refuse_secrets(reference: str) -> None:
    """InputError for a URI with a query, a fragment or a password, which would stand in every record of the output."""
    if shown(reference) == reference:
        return
    raise InputError(
        Problem(
            f"The address {shown(reference)} was given with a query or a password.",
            why="it may be a signature or a key, and a recipe is copied into the plan, the card and the records",
            fix="leave out what follows the `?` (and any `user:password@`); for a private bucket write s3://, gs:// or "
            "az:// and set the credentials in the environment",
        )
    )
