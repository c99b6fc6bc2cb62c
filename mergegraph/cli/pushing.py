"""`push`: a finished output is verified, then put into a repository of the Hub, card included.

huggingface_hub sends it; nothing is sent of an output that is not as it was written.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mergegraph.cli.checking import show_warnings
from mergegraph.cli.terminal import say, say_json
from mergegraph.cli.verifying import progress_line
from mergegraph.errors import InputError, Location, OutputError, Problem, RecipeError, RunError, printable
from mergegraph.provenance.unfinished import Verified
from mergegraph.provenance.verify import verify
from mergegraph.tensors.completed import CARD, PROVENANCE, RUN_RECORD
from mergegraph.tensors.sources.hub_names import endpoint, hub_name, looks_like_id
from mergegraph.units import format_bytes, format_count

_NO_BRANCH = re.compile(
    r"[^\w./+=,%!@-]|\.\.|//|^$|^[-/.]|/\.|[/.]$|\.lock(?:/|$)|^refs/|^HEAD$|^@$|^[0-9a-f]{40}$|.{245}"
)
"""What git takes for no branch, and what is one of its other names."""


def show_pushed(
    path: Path, repo: str, *, private: bool, revision: str | None, message: str | None, as_json: bool, quiet: bool
) -> None:
    """RecipeError for a name that is no id, what `verify` raises, RunError when the Hub refuses."""
    repo_id = _repo_id(repo)
    if revision is not None:
        _require_branch(revision)
    if as_json or quiet or not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
    with progress_line(shown=not (as_json or quiet)) as tick:
        verified = verify(path, tick, with_sha256=True)
    _require_finished(verified)
    commit = _pushed(path, repo_id, private, revision, message or f"Add {_title(verified)}, merged with mergegraph")
    _compare(verified, repo_id, commit)
    if as_json:
        say_json(
            {
                "kind": "push",
                "repo": repo_id,
                "commit": commit,
                "url": f"{endpoint()}/{repo_id}",
                "files": verified.files,
            }
        )
        return
    if not quiet:
        show_warnings(verified.warnings)
        sent = f"{format_bytes(verified.read_bytes)} in {format_count(verified.files, 'file')}"
        say(
            f"{path} -> {endpoint()}/{repo_id}",
            f"  {sent}, at commit {commit}; the Hub has the same sha256 of all weights",
        )


def _repo_id(repo: str) -> str:
    name = hub_name(repo)
    if name is None or not looks_like_id(name.repo) or "@" in repo or name.inside:
        fix = "mergegraph push OUTPUT org/name, and --revision for a branch"
        raise RecipeError(Problem(f'"{repo}" is no repository of the Hub.', Location("push"), fix=fix))
    return name.repo


def _require_branch(name: str) -> None:
    """RecipeError for a name that the Hub would refuse once the repository is made."""
    if _NO_BRANCH.search(name):
        why = "a branch has letters, digits and signs such as ./_- that it neither begins nor ends with"
        fact = f'"{printable(name)}" is no name of a branch.'
        raise RecipeError(Problem(fact, Location("--revision"), why=why, fix="--revision v1"))


def _require_finished(verified: Verified) -> None:
    if not verified.is_finished:
        raise OutputError(Problem(f"{verified.path} is not finished.", fix="run the same command again to go on"))
    if not (verified.path / CARD).is_file():
        fact = f"{verified.path} has no model card."
        raise OutputError(Problem(fact, fix=f"put a {CARD} into it, or make the output again with --overwrite"))


def _title(verified: Verified) -> str:
    provenance = verified.output.provenance if verified.output else None
    return str(getattr(provenance, "name", "") or verified.path.name)


def _pushed(path: Path, repo_id: str, private: bool, revision: str | None, message: str) -> str:
    """The commit that holds the output. mergegraph.run.json stays here: it tells of this machine and its folders."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint())
    try:
        api.create_repo(repo_id, private=private, exist_ok=True, repo_type="model")
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        made: Any = api.upload_folder(
            repo_id=repo_id, folder_path=path, revision=revision, commit_message=message, ignore_patterns=[RUN_RECORD]
        )
    except Exception as error:
        raise RunError(_refused(repo_id, error)) from error
    return str(made.oid)


def _refused(repo_id: str, error: Exception) -> Problem:
    """What the Hub said, without the addresses and request ids in its text."""
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    fact = f"{repo_id} cannot be written."
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        return _refused(repo_id, error.__cause__)
    if isinstance(error, OfflineModeIsEnabled):
        return Problem(fact, why="HF_HUB_OFFLINE forbids asking the Hub", fix="unset HF_HUB_OFFLINE")
    if isinstance(error, LocalTokenNotFoundError):
        return Problem(fact, why="no token is set", fix="hf auth login, with a token that may write")
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            why = f"the Hub answered {status}: no token is set, or it may not write there"
            return Problem(fact, why=why, fix="hf auth login, with a token that may write; or another org/name")
        return Problem(fact, why=f"the Hub answered {status}", fix=_AGAIN)
    if isinstance(error, OSError):
        return Problem(
            fact,
            why=f"the connection failed ({type(error).__name__})",
            fix=_AGAIN,
        )
    raise error


_AGAIN = "run the same command again: what is there is not sent again"


def _compare(verified: Verified, repo_id: str, commit: str) -> None:
    """RunError where the Hub has other bytes than were verified here."""
    from mergegraph.tensors.sources.hub import Hub

    try:
        there = Hub().names(f"hf://{repo_id}@{commit}")
    except InputError as error:
        raise RunError(*error.problems) from error
    wrong = [
        name
        for name, digest in verified.sha256.items()
        if name != PROVENANCE and name.endswith(".safetensors") and (name not in there or there[name].content != digest)
    ]
    if wrong:
        fact = f"{repo_id} does not hold the bytes that were sent: {', '.join(wrong[:4])}."
        raise RunError(Problem(fact, fix="run the same command again"))
