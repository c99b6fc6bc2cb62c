"""What is said when the Hub refuses or cannot be reached, with what to type."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import TypeVar

from mergegraph.errors import InputError, Problem
from mergegraph.tensors.sources.http import server_of
from mergegraph.tensors.sources.hub_names import HubName, endpoint
from mergegraph.tensors.sources.retry import GaveUp, Lasting, Passing, asked_to_wait, is_passing, retrying

T = TypeVar("T")


def asking(name: HubName, ask: Callable[[], T]) -> T:
    """What a call of huggingface_hub gives; tried again where that may help. InputError says what to do."""
    server = server_of(endpoint())
    try:
        return retrying(server, lambda: _attempt(ask))
    except GaveUp as failure:
        raise InputError(unreachable(name, failure.what, failure.tries)) from failure
    except Lasting as failure:
        raise InputError(refused(name, failure.what)) from failure
    except Exception as error:
        raise InputError(_explained(name, error)) from error


def _attempt(ask: Callable[[], T]) -> T:
    """Failures that may pass become `Passing`; the text of the others is not shown, since it holds addresses."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        return ask()
    except OfflineModeIsEnabled:
        raise
    except HfHubHTTPError as error:
        status = error.response.status_code
        if is_passing(status):
            raise Passing(f"it answered {status}", asked_to_wait(error.response.headers)) from error
        raise
    except httpx2.TransportError as error:
        raise Passing(f"the connection failed ({type(error).__name__})") from error


def _explained(name: HubName, error: Exception) -> Problem:
    from huggingface_hub.errors import (
        DisabledRepoError,
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # A gated repository is a kind of missing one to the library, so it is asked for first.
    if isinstance(error, GatedRepoError):
        return _gated(name)
    if isinstance(error, DisabledRepoError):
        return refused(name, "access to it was disabled by the Hub")
    if isinstance(error, RepositoryNotFoundError):
        return _missing(name)
    if isinstance(error, RevisionNotFoundError):
        return _no_revision(name)
    if isinstance(error, EntryNotFoundError):
        return no_entry(name)
    if isinstance(error, OfflineModeIsEnabled):
        return offline(name)
    if isinstance(error, HfHubHTTPError):
        return refused(name, f"it answered {error.response.status_code}")
    raise error


def _gated(name: HubName) -> Problem:
    return Problem(
        f"{name.repo} is gated, and you have no access to it.",
        why="its authors want their terms to be accepted first"
        + ("" if _has_token() else "; no token is set, so the Hub does not know who asks"),
        fix=f"open {endpoint()}/{name.repo}, accept the terms, then: hf auth login",
    )


def _missing(name: HubName) -> Problem:
    return Problem(
        f"There is no model {name.repo} on the Hub, or it is private.",
        why="the token that is set may not see it" if _has_token() else "no token is set, so private ones are not seen",
        fix=f"check the spelling at {endpoint()}/{name.repo}; if it is private: hf auth login; if a folder is meant, "
        f"write ./{name.repo}",
    )


def _no_revision(name: HubName) -> Problem:
    known = _revisions(name)
    close = difflib.get_close_matches(name.revision, known, n=1, cutoff=0.5)
    wanted = close[0] if close else "main"
    return Problem(
        f"{name.repo} has no revision {name.revision}.",
        why=f"it has {', '.join(known[:12])}" + (", …" if len(known) > 12 else "") if known else "",
        fix=f"write {name.repo}@{wanted}",
    )


def no_entry(name: HubName) -> Problem:
    """The repository has no such file or folder."""
    what = name.inside or "files"
    return Problem(
        f"{name.repo} has no {what} at {name.revision[:12]}.",
        fix=f"look at {endpoint()}/{name.repo}/tree/{name.revision}, and write hf://{name.repo}/FOLDER",
    )


def offline(name: HubName) -> Problem:
    """Nothing may be asked, and the cache does not have it."""
    revision = "" if name.revision == "main" else f" --revision {name.revision}"
    return Problem(
        f"{name.repo}@{name.revision[:12]} is not in the Hub's cache, and HF_HUB_OFFLINE forbids asking the Hub.",
        fix=f"unset HF_HUB_OFFLINE, or download it where there is a network: hf download {name.repo}{revision}",
    )


def unreachable(name: HubName, what: str, tries: int, server: str = "") -> Problem:
    """Every try failed. `server`: where the Hub sends whoever reads a file, if it was that."""
    again = "run the same command again; if the model is in the Hub's cache: export HF_HUB_OFFLINE=1"
    return Problem(
        f"{name.repo} cannot be read: {server or server_of(endpoint())} does not answer as it should.",
        why=(f"{what}, {tries} times in a row" if tries > 1 else what) + _sent_there(server),
        fix=f"{again}; or fetch whole files: --download" if _sent_there(server) else again,
    )


def refused(name: HubName, what: str, server: str = "") -> Problem:
    """An answer that will be the same the next time; `server` as for `unreachable`."""
    fact = f"{server or server_of(endpoint())} does not give {name.repo}: {what}."
    if sent := _sent_there(server):
        return Problem(fact, why=sent.lstrip("; "), fix="fetch whole files: run the same command again with --download")
    return Problem(fact, fix=f"look at {endpoint()}/{name.repo}")


def _sent_there(server: str) -> str:
    hub = server_of(endpoint())
    return f"; {hub} sends whoever reads its files there, perhaps by way of a proxy" if server not in ("", hub) else ""


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _revisions(name: HubName) -> Sequence[str]:
    """Branches and tags; none where they cannot be had."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        refs = HfApi(endpoint=endpoint()).list_repo_refs(name.repo)
    except (HfHubHTTPError, OSError):
        return ()
    return [ref.name for ref in (*refs.branches, *refs.tags)]
