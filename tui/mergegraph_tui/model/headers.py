"""Checkpoints that were opened before, as long as their files are the same: typing reads no header twice."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import TypeAlias

from mergegraph.errors import InputError
from mergegraph.tensors.checkpoint import Checkpoint, open_checkpoint
from mergegraph.tensors.missing import find
from mergegraph.tensors.sources.place import RemotePath

_MOST = 64

_Key: TypeAlias = "tuple[str, str, str | None, int]"
_Identity: TypeAlias = "tuple[tuple[str, int, int, int, int], ...]"


class Headers:
    """Opens checkpoints as `open_checkpoint` does, for one thread. Keeps what could be opened, with the identity of
    every file that lies beside it, configuration and tokenizer too."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, tuple[_Identity, Checkpoint]] = OrderedDict()

    def __call__(
        self, reference: str, folder: Path, subfolder: str | None = None, *, max_header_bytes: int
    ) -> Checkpoint:
        """The checkpoint; InputError as from `open_checkpoint`."""
        key = (reference, str(folder), subfolder, max_header_bytes)
        now = _identity(reference, folder, subfolder)
        kept = self._kept.get(key)
        if kept is not None and now and kept[0] == now:
            self._kept.move_to_end(key)
            return kept[1]
        opened = open_checkpoint(reference, folder, subfolder, max_header_bytes=max_header_bytes)
        self._kept[key] = (now, opened)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return opened


def _identity(reference: str, folder: Path, subfolder: str | None) -> _Identity:
    """Name, device, inode, size and time of change of every file of the model, through links; () where it cannot be
    looked at."""
    try:
        path = find(reference, folder, subfolder)
        if isinstance(path, RemotePath):
            # On the Hub it names a commit. Other servers are not asked again at every key.
            return ((path.location, 0, 0, 0, 0),)
        files = [Path(entry.path) for entry in os.scandir(path)] if path.is_dir() else [path]
        found = [(file, file.stat()) for file in files if file.exists()]
    except (InputError, OSError, ValueError):
        return ()
    return tuple(sorted((str(file), s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns) for file, s in found))
