"""Commits run beside the workers, at most two at a time stand open, and a failed one is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from mergegraph.errors import Problem, RunError
from mergegraph.execute.committing import Committer


class Folder:
    """What a committer sees of an output folder."""

    def __init__(self, commit: Callable[[], None]) -> None:
        self.commit = commit
        self.request: Callable[[Any], None] | None = None

    def commits_by(self, request: Callable[[Any], None] | None) -> None:
        self.request = request

    def due(self) -> None:
        assert self.request is not None
        self.request(self)


def committer(*folders: Folder) -> Committer:
    return Committer(cast(Any, folders))


def test_a_commit_runs_in_a_thread_of_its_own() -> None:
    threads: list[str] = []
    folder = Folder(lambda: threads.append(threading.current_thread().name))
    with committer(folder):
        folder.due()
    assert threads == ["merge-commit"]
    assert folder.request is None, "afterwards the folder commits by itself"


def test_who_asks_waits_while_the_commit_before_runs() -> None:
    running, allowed, second = threading.Event(), threading.Event(), threading.Event()

    def commit() -> None:
        running.set()
        allowed.wait(10)

    folder = Folder(commit)
    with committer(folder):
        folder.due()
        assert running.wait(10)
        asking = threading.Thread(target=lambda: (folder.due(), second.set()))
        asking.start()
        assert not second.wait(0.05)
        allowed.set()
        assert second.wait(10)
        asking.join()


def test_a_failed_commit_is_raised_at_the_next_request_and_at_the_end() -> None:
    def commit() -> None:
        raise RunError(Problem("The disk is gone."))

    folder = Folder(commit)
    opened = committer(folder).__enter__()
    folder.due()
    for _ in range(2):
        with pytest.raises(RunError, match="gone"):
            folder.due()
    with pytest.raises(RunError, match="gone"):
        opened.__exit__(None, None, None)


def test_an_error_of_the_run_is_not_hidden_by_that_of_a_commit() -> None:
    def commit() -> None:
        raise RunError(Problem("The disk is gone."))

    folder = Folder(commit)
    opened, error = committer(folder).__enter__(), ValueError("first")
    folder.due()
    opened.__exit__(ValueError, error, None)
