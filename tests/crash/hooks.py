"""What a forked command line does otherwise than the one that people start, before it begins. By names, from here."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mergegraph import pipeline
from mergegraph.execute import engine
from mergegraph.tensors import disk, journal, partial, writer
from mergegraph.tensors.writer import OutputFolder
from tests.crash.power import cut_power, mutant

__all__ = [
    "change_input", "commit_often", "cut_power", "die", "fill_disk", "fill_disk_before_reserving", "limit_file_size",
    "mutant", "pretend_version", "reserve_nothing", "traceable", "wait", "wait_in_planning",
]  # fmt: skip


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


def change_input(how: str, path: str, tensors: int) -> None:
    """Something happens to an input file once so many tensors are done."""
    file = Path(path)

    def rewrite() -> None:
        with file.open("r+b") as opened:
            opened.seek(-2, os.SEEK_END)
            opened.write(b"\x3f\x3f")

    def replace() -> None:
        file.with_name("new").write_bytes(file.read_bytes()[:-2] + b"\x3f\x3f")
        file.with_name("new").replace(file)

    acts = {"cut": lambda: os.truncate(file, 20_000), "written": rewrite, "replaced": replace, "deleted": file.unlink}
    _once_done(tensors, acts[how])


def die(tensors: int) -> None:
    """kill -9 once so many tensors are done."""
    _once_done(tensors, lambda: os.kill(os.getpid(), signal.SIGKILL))


def wait(pipe: str, tensors: int) -> None:
    """Once so many tensors are done, wait until somebody opens the pipe to write."""
    _once_done(tensors, lambda: Path(pipe).read_bytes())


def wait_in_planning(pipe: str) -> None:
    """Wait until somebody has opened the pipe to write and closed it, before the plan is made."""
    plan = pipeline.plan

    def waiting(*arguments: Any, **options: Any) -> Any:
        Path(pipe).read_bytes()
        return plan(*arguments, **options)

    pipeline.plan = waiting  # type: ignore[assignment]


def pretend_version(name: str, version: str) -> None:
    """Another version of the engine, or of torch."""
    if name == "torch":
        torch.__version__ = version
    else:
        assert engine.engine_version() != version
        engine.engine_version = lambda: version


def _once_done(tensors: int, act: Callable[[], object]) -> None:
    done: Callable[..., None] = OutputFolder.tensor_done
    left = iter(range(tensors - 1, -1, -1))

    def counted(folder: OutputFolder, *arguments: Any, **facts: Any) -> None:
        done(folder, *arguments, **facts)
        if next(left, -1) == 0:
            act()

    OutputFolder.tensor_done = counted  # type: ignore[method-assign]


def _before_first(name: str, act: Callable[[OutputFolder], None]) -> None:
    whole: Callable[..., Any] = getattr(OutputFolder, name)

    def acting(folder: OutputFolder, *arguments: Any) -> Any:
        setattr(OutputFolder, name, whole)
        act(folder)
        return whole(folder, *arguments)

    setattr(OutputFolder, name, acting)
