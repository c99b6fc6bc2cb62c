"""A PEFT adapter as stored: pairs of matrices, and what each pair is times.

Opening one reads its header and its config. The delta of a module is `scaling · B A`; nothing here computes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from pathlib import Path
from types import MappingProxyType

from mergegraph.errors import InputError, Problem, raise_errors
from mergegraph.expr import Space
from mergegraph.tensors import foreign
from mergegraph.tensors.adapter_config import AdapterConfig, read_adapter_config
from mergegraph.tensors.checkpoint import StoredFile
from mergegraph.tensors.header import DEFAULT_HEADER_BYTES, Header, StoredTensor, parse_header
from mergegraph.tensors.links import require_inside
from mergegraph.tensors.missing import find
from mergegraph.tensors.sources.location import shown
from mergegraph.tensors.sources.place import Place, is_there
from mergegraph.units import format_count

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
_NAME = re.compile(
    r"(?P<module>.+)\.(?:lora_(?P<side>[AB])(?:\.default)?\.weight|lora_embedding_(?P<turned>[AB])(?:\.default)?)"
)
_COPY = re.compile(r"(?P<module>.+)\.base_layer\.weight")
_SHOWN = 4

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Factors:
    """The matrices of one module: `scaling` · `left` `right`, B [out, rank] and A [rank, in].

    Those of an embedding give the transpose of what the base stores. A convolution's have further dimensions.
    """

    module: str
    left: StoredTensor
    right: StoredTensor
    scaling: Fraction
    is_embedding: bool

    @property
    def rank(self) -> int:
        return self.right.shape[0]

    @property
    def shape(self) -> Shape:
        """Of `left` times `right`."""
        return self.left.shape[0], *self.right.shape[1:]


@dataclass(frozen=True)
class Adapter:
    """An adapter as stored. `factors` are in the order of the file; `copies` are tensors of the base that peft stored
    along, which are not read."""

    reference: str
    folder: Place
    files: tuple[StoredFile, ...]
    config: AdapterConfig
    factors: tuple[Factors, ...]
    copies: Mapping[str, StoredTensor]
    warnings: tuple[Problem, ...]
    space: Space = "delta"


def open_adapter(reference: str, folder: Path, *, max_header_bytes: int = DEFAULT_HEADER_BYTES) -> Adapter:
    """The adapter at `reference`; relative to `folder`, with `~` expanded. InputError with all problems found."""
    try:
        path = find(reference, folder)
        return _open(reference, path.parent if path.name == WEIGHTS else path, max_header_bytes)
    except InputError as error:
        problems = [replace(problem, model=problem.model or shown(reference)) for problem in error.problems]
        raise InputError(*problems) from error.__cause__


def _open(reference: str, folder: Place, max_header_bytes: int) -> Adapter:
    path = folder / WEIGHTS
    if missing := [name for name in (CONFIG, WEIGHTS) if not is_there(folder / name)]:
        raise InputError(_incomplete(folder, missing[0]))
    for name in (CONFIG, WEIGHTS):
        require_inside(folder, folder / name)
    config = read_adapter_config(str(folder / CONFIG))
    header = parse_header(str(path), max_header_bytes)
    factors, copies, problems = _factors(header, config)
    warnings = raise_errors([*problems, *header.warnings], InputError)
    stored = StoredFile(str(path), header.file_bytes, header.identity)
    return Adapter(reference, folder, (stored,), config, factors, MappingProxyType(copies), warnings)


def _incomplete(folder: Place, missing: str) -> Problem:
    if (folder / "adapter_model.bin").is_file():
        return foreign.pickled(folder, "adapter_model.bin")
    has_model = folder.is_dir() and (folder / "config.json").is_file()
    return Problem(
        f"{folder} is not a PEFT adapter: there is no {missing} in it.",
        why="it holds a model" if has_model else "",
        fix="load it, and subtract its base: {op: delta, model: MODEL, base: BASE}"
        if has_model
        else f"name the folder that holds {CONFIG} and {WEIGHTS}",
    )


def _factors(
    header: Header, config: AdapterConfig
) -> tuple[tuple[Factors, ...], dict[str, StoredTensor], list[Problem]]:
    """The pairs of a file by module, the copies of the base's tensors, and what is wrong."""
    sides: dict[tuple[str, bool], dict[str, StoredTensor]] = {}
    copies: dict[str, StoredTensor] = {}
    problems: list[Problem] = []
    strange: list[str] = []
    for name, tensor in header.tensors.items():
        plain = name.removeprefix(PREFIX)
        if found := _NAME.fullmatch(plain):
            turned = found["turned"] is not None
            sides.setdefault((found["module"], turned), {})[found["turned"] or found["side"]] = tensor
        elif found := _COPY.fullmatch(plain):
            copies[found["module"]] = tensor
        else:
            strange.append(name)
    problems += _strange(strange)
    left_out = [module for module, _ in sides if not config.includes(module)]
    factors: list[Factors] = []
    for (module, is_embedding), pair in sides.items():
        if module in left_out:
            continue
        try:
            factors.append(_pair(module, pair, config, is_embedding))
        except ValueError as error:
            name = next(iter(pair.values())).name
            problems.append(Problem(f"{error}.", tensor=name, fix="train or export the adapter again with peft"))
    problems += _warnings(left_out, copies)
    if not factors and not problems:
        problems.append(Problem("The adapter holds no LoRA matrices.", fix="name another folder"))
    return tuple(factors), copies, problems


def _pair(module: str, pair: Mapping[str, StoredTensor], config: AdapterConfig, is_embedding: bool) -> Factors:
    """ValueError says why two tensors are not the matrices of a module."""
    missing = {"A", "B"} - pair.keys()
    if missing:
        raise ValueError(f"The matrices of {module} are not both there: lora_{missing.pop()} is missing")
    left, right = pair["B"], pair["A"]
    for tensor in (left, right):
        if not tensor.dtype.is_float:
            raise ValueError(f"{tensor.name} is {tensor.dtype.code}, not floating point")
        if len(tensor.shape) < 2 or 0 in tensor.shape:
            raise ValueError(f"{tensor.name} is {list(tensor.shape)}, not a matrix")
    rank = config.rank_of(module)
    if right.shape[0] != rank or prod(left.shape[1:]) != rank or left.shape[1] != rank:
        shapes = f"B is {list(left.shape)}, A is {list(right.shape)}"
        raise ValueError(f"The matrices of {module} do not have the rank {rank} that {CONFIG} gives: {shapes}")
    return Factors(module, left, right, config.scaling(module), is_embedding)


def _strange(names: Sequence[str]) -> Iterator[Problem]:
    """Tensors that are neither matrices of LoRA nor copies: leaving them out would lose what was trained."""
    if names:
        yield Problem(
            f"The adapter holds {format_count(len(names), 'tensor')} that no LoRA matrix is: {listed(names)}.",
            tensor=names[0],
            why="magnitudes, biases and whole modules that were trained beside the matrices are not added",
            fix="merge the adapter into its base with peft (merge_and_unload), save that, and load it as a model",
        )


def _warnings(left_out: Sequence[str], copies: Mapping[str, StoredTensor]) -> Iterator[Problem]:
    if left_out:
        yield Problem(
            f"The matrices of {format_count(len(left_out), 'module')} are left out: {listed(left_out)}.",
            why="`layers_to_transform` does not name their layers, and peft would not load them either",
            severity="warning",
        )
    if copies:
        yield Problem(
            f"The adapter also holds {listed([tensor.name for tensor in copies.values()])}, which is not read.",
            why="peft stores the base's own tensor beside the matrices of an embedding",
            fix="where the vocabulary was trained or resized, merge the adapter into its base with peft instead",
            severity="warning",
        )


def listed(names: Sequence[str]) -> str:
    """The first few."""
    return ", ".join(names[:_SHOWN]) + (f", and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
