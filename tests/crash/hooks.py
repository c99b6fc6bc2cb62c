"""What a forked command line does otherwise than the one that people start, before it begins. By names, from here."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mergegraph.tensors import disk, journal, partial, writer
from mergegraph.tensors.writer import OutputFolder


def commit_often(nbytes: int) -> None:
    """A small merge has as many states as a large one."""
    writer.COMMIT_BYTES = nbytes


def traceable() -> None:
    """Let a process that is no parent of this one trace it, where the kernel would only let root (Yama)."""
    ctypes.CDLL(None).prctl(0x59616D61, -1, 0, 0, 0)


def limit_file_size(fraction: float) -> None:
    """Once laid out, no byte behind this part of the longest file can be written.

    A write across it is short, and the next one fails.
    """

    def limit(folder: OutputFolder) -> None:
        nbytes = int(fraction * max(file.file_bytes for file in folder._layout.files))
        resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, resource.RLIM_INFINITY))

    _before_first("write", limit)


def fill_disk(before: str, filler: str) -> None:
    """Take all that the disk has left just before the first call of `before`, a method of OutputFolder."""
    _before_first(before, lambda folder: fill(Path(filler)))


def fill_disk_before_reserving(nth: int, filler: str) -> None:
    """Take all that the disk has left just before the `nth` file is given its space, the journal among them."""
    left = iter(range(nth - 1, -1, -1))

    def reserving(fd: int, nbytes: int) -> None:
        if next(left, -1) == 0:
            fill(Path(filler))
        disk.reserve(fd, nbytes)

    for module in (partial, journal):
        assert module.reserve is disk.reserve
        module.reserve = reserving


def reserve_nothing() -> None:
    """As on btrfs, ZFS or a network disk: a file gets its length, and its space when it is written."""
    for module in (partial, journal):
        assert module.reserve is disk.reserve
        module.reserve = os.ftruncate


def fill(filler: Path) -> None:
    """Write `filler` until there is not one byte left."""
    with filler.open("ab", buffering=0) as file:
        for step in (64 * 1024, 4096, 512, 1):
            try:
                while True:
                    file.write(bytes(step))
            except OSError:
                continue


def _before_first(name: str, act: Callable[[OutputFolder], None]) -> None:
    whole: Callable[..., Any] = getattr(OutputFolder, name)

    def acting(folder: OutputFolder, *arguments: Any) -> Any:
        setattr(OutputFolder, name, whole)
        act(folder)
        return whole(folder, *arguments)

    setattr(OutputFolder, name, acting)
