"""The I/O floor of a merge: its reads, writes, syncs and renames with no arithmetic between them.

    python benchmarks/floor.py OUTPUT INPUT [INPUT ...] [--no-sync] [--outputs N] [--threads 2]

Reads every tensor of all INPUT models in tiles of 1,048,576 elements (of two bytes) into buffers that are used again,
and writes each tile of the first to OUTPUT, as the engine's writer does: a `.partial` folder, one file of reserved
length, a journal, fdatasync of both every 256 MB or 5 s, fsync and renames at the end. So the output is a copy of the
first input in one file. Uses nothing of mergegraph and not even numpy, so that start-up is the interpreter's.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

TILE_BYTES: Final = 2 * 1_048_576
COMMIT_BYTES: Final = 256 * 1024**2
COMMIT_SECONDS: Final = 5.0
FILE_NAME: Final = "model.safetensors"


class Place(NamedTuple):
    """Where a tensor lies: an open file, and the offset and number of its bytes."""

    descriptor: int
    offset: int
    byte_count: int


class Tile(NamedTuple):
    """Part of a tensor: where it is in every input, where it goes, and whether it is the tensor's last."""

    sources: list[tuple[int, int]]
    target: int
    byte_count: int
    last_of: str | None


def open_model(folder: Path, stack: ExitStack) -> tuple[dict[str, Place], dict[str, Any]]:
    """Places and header entries of every tensor in `folder`, in the order of its files."""
    places: dict[str, Place] = {}
    entries: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        descriptor = os.open(path, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        header_bytes = int.from_bytes(os.pread(descriptor, 8, 0), "little")
        for name, entry in json.loads(os.pread(descriptor, header_bytes, 8)).items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                places[name] = Place(descriptor, 8 + header_bytes + start, end - start)
                entries[name] = entry
    return places, entries


def header_of(entries: dict[str, Any]) -> tuple[bytes, dict[str, int]]:
    """The header of one file with all tensors, and the offset of each in that file."""
    starts: dict[str, int] = {}
    placed: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, entry in entries.items():
        start, stop = entry["data_offsets"]
        starts[name], end = end, end + stop - start
        placed[name] = {**entry, "data_offsets": [starts[name], end]}
    text = json.dumps(placed, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    header = len(text).to_bytes(8, "little") + text
    return header, {name: len(header) + start for name, start in starts.items()}


def tiles(models: Sequence[dict[str, Place]], targets: dict[str, int]) -> Iterator[Tile]:
    """Every tensor of the first model, in tiles. KeyError when another lacks it, ValueError when it is not alike."""
    for name, first in models[0].items():
        places = [model[name] for model in models]
        if {place.byte_count for place in places} != {first.byte_count}:
            raise ValueError(f"{name} has not the same number of bytes in all inputs")
        for start in range(0, first.byte_count, TILE_BYTES):
            count = min(TILE_BYTES, first.byte_count - start)
            sources = [(place.descriptor, place.offset + start) for place in places]
            yield Tile(sources, targets[name] + start, count, name if start + count == first.byte_count else None)


def read_fully(descriptor: int, buffer: memoryview, offset: int) -> None:
    while buffer.nbytes:
        count = os.preadv(descriptor, [buffer], offset)
        if not count:
            raise EOFError(f"the file ends before byte {offset}")
        buffer, offset = buffer[count:], offset + count


def write_fully(descriptor: int, buffer: memoryview, offset: int) -> None:
    while buffer.nbytes:
        count = os.pwrite(descriptor, buffer, offset)
        buffer, offset = buffer[count:], offset + count


def sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Output:
    """One output folder, from its reserved file to its name. `sync`: everything is to survive a power cut."""

    def __init__(self, path: Path, header: bytes, file_bytes: int, *, sync: bool) -> None:
        self._final, self._sync = path, sync
        self._partial = path.with_name(f"{path.name}.partial")
        self._partial.mkdir(parents=True)
        self._file = os.open(self._partial / f"{FILE_NAME}.tmp", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        os.posix_fallocate(self._file, 0, file_bytes)
        write_fully(self._file, memoryview(header), 0)
        self._journal = os.open(self._partial / "journal", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if sync:
            os.fsync(self._file)
            os.fsync(self._journal)
            sync_path(self._partial)
            sync_path(self._partial.parent)
        self._lock, self._commit_lock = threading.Lock(), threading.Lock()
        self._pending: list[str] = []
        self._journaled = 0
        self._restart_interval()

    def write(self, buffer: memoryview, offset: int, finished: str | None) -> None:
        """Write a tile; `finished` is the tensor that is complete with it, which may be the time to commit."""
        write_fully(self._file, buffer, offset)
        with self._lock:
            self._bytes += buffer.nbytes
            if finished is None:
                return
            self._pending.append(finished)
            due = self._bytes >= COMMIT_BYTES or time.monotonic() - self._since >= COMMIT_SECONDS
            if due:
                self._restart_interval()
        if due:
            self.commit()

    def commit(self) -> None:
        """Sync the file, then write down what is in it, then sync that; one thread at a time, while others go on."""
        with self._commit_lock:
            with self._lock:
                records, self._pending = self._pending, []
            if self._sync:
                os.fdatasync(self._file)
            lines = "".join(f"{name}\n" for name in records).encode()
            write_fully(self._journal, memoryview(lines), self._journaled)
            self._journaled += len(lines)
            if self._sync:
                os.fdatasync(self._journal)

    def publish(self) -> None:
        """Complete the folder and give it its name."""
        self.commit()
        if self._sync:
            os.fsync(self._file)
        os.close(self._file)
        os.close(self._journal)
        (self._partial / f"{FILE_NAME}.tmp").rename(self._partial / FILE_NAME)
        (self._partial / "journal").unlink()
        if self._sync:
            sync_path(self._partial)
        self._partial.rename(self._final)
        if self._sync:
            sync_path(self._final.parent)

    def _restart_interval(self) -> None:
        self._bytes, self._since = 0, time.monotonic()


def move(todo: Iterator[Tile], outputs: Sequence[Output], threads: int) -> int:
    """Read and write every tile; the number of bytes read. The first error of a thread is raised."""
    lock = threading.Lock()
    errors: list[BaseException] = []
    read_bytes: list[int] = []

    def worker() -> None:
        buffers: list[memoryview] = []
        total = 0
        try:
            while not errors:
                with lock:
                    tile = next(todo, None)
                if tile is None:
                    break
                buffers = buffers or [memoryview(bytearray(TILE_BYTES)) for _ in tile.sources]
                for (descriptor, offset), buffer in zip(tile.sources, buffers, strict=True):
                    read_fully(descriptor, buffer[: tile.byte_count], offset)
                    total += tile.byte_count
                for output in outputs:
                    output.write(buffers[0][: tile.byte_count], tile.target, tile.last_of)
        except BaseException as error:  # raised by the caller, whatever it is
            errors.append(error)
        read_bytes.append(total)

    workers = [threading.Thread(target=worker) for _ in range(threads)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    if errors:
        raise errors[0]
    return sum(read_bytes)


def run(inputs: Sequence[Path], outputs: Sequence[Path], *, threads: int, sync: bool) -> tuple[int, int]:
    """Bytes of tensors that were read, and written to each output."""
    with ExitStack() as stack:
        opened = [open_model(folder, stack) for folder in inputs]
        header, targets = header_of(opened[0][1])
        tensor_bytes = sum(place.byte_count for place in opened[0][0].values())
        folders = [Output(path, header, len(header) + tensor_bytes, sync=sync) for path in outputs]
        read_bytes = move(tiles([places for places, _ in opened], targets), folders, threads)
        for folder in folders:
            folder.publish()
    return read_bytes, tensor_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description="Do the input and output of a merge with no arithmetic.")
    parser.add_argument("output", metavar="OUTPUT", type=Path)
    parser.add_argument("inputs", metavar="INPUT", type=Path, nargs="+")
    parser.add_argument("--no-sync", action="store_true")
    parser.add_argument("--outputs", metavar="N", type=int, default=1, help="that many copies: OUTPUT-0, OUTPUT-1 …")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    output: Path = options.output.absolute()
    several = [output.with_name(f"{output.name}-{index}") for index in range(options.outputs)]
    outputs = several if options.outputs > 1 else [output]
    read_bytes, written_bytes = run(options.inputs, outputs, threads=options.threads, sync=not options.no_sync)
    print(json.dumps({"kind": "done", "read_bytes": read_bytes, "write_bytes": written_bytes * len(outputs)}))


if __name__ == "__main__":
    main()
