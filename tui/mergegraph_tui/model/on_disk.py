"""What outputs have on disk while a run goes on and after it: which tensors, and how large each is."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mergegraph.errors import InputError
from mergegraph.tensors.completed import completed
from mergegraph.tensors.header import parse_header
from mergegraph.tensors.kept import recorded
from mergegraph_tui.model.runs import partial_of


def finished_tensors(outputs: tuple[Path, ...]) -> tuple[str, ...]:
    """Every tensor that is on disk, as the journals say, or the records of what is complete; the latest last."""
    names: list[str] = []
    for output in outputs:
        done = completed(output)
        found = [str(each["tensor"]) for each in recorded(partial_of(output))] if done is None else list(done.tensors)
        names += found
    return tuple(names)


def tensor_bytes(outputs: tuple[Path, ...]) -> Mapping[str, int]:
    """The size of every tensor that is written or will be, as the headers of the files say, which are there first."""
    sizes: dict[str, int] = {}
    for output in outputs:
        for file in [*partial_of(output).glob("*.safetensors*"), *output.glob("*.safetensors")]:
            with suppress(InputError, OSError):
                sizes.update((name, tensor.nbytes) for name, tensor in parse_header(str(file)).tensors.items())
    return sizes
