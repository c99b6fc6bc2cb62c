"""Commits beside the workers: while finished tensors are synced and journaled, others are computed.

A worker waits only when the commit before is still running as the next one falls due: so what is not yet on disk
stays below two commits' worth of bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType

from mergegraph.tensors.writer import OutputFolder


class Committer:
    """A thread that commits `folders` when they ask for it. An error of a commit is raised at the next request.

    with Committer(folders):
        ...    # tensors are written and done
    """

    def __init__(self, folders: Sequence[OutputFolder]) -> None:
        self._folders = folders
        self._condition = threading.Condition()
        self._due: list[OutputFolder] = []
        self._error: BaseException | None = None
        self._running = self._closed = False
        self._thread = threading.Thread(target=self._work, name="merge-commit", daemon=True)

    def __enter__(self) -> Committer:
        for folder in self._folders:
            folder.commits_by(self._request)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for folder in self._folders:
            folder.commits_by(None)
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _request(self, folder: OutputFolder) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._error or not (folder in self._due or self._running))
            if self._error is not None:
                raise self._error
            self._due.append(folder)
            self._condition.notify_all()

    def _work(self) -> None:
        while True:
            with self._condition:
                self._running = False
                self._condition.notify_all()
                self._condition.wait_for(lambda: self._due or self._closed)
                if not self._due:
                    return
                folder = self._due.pop(0)
                self._running = True
            try:
                folder.commit()
            except BaseException as failure:  # handed to whoever asks next
                with self._condition:
                    self._error, self._running = failure, False
                    self._condition.notify_all()
                return
