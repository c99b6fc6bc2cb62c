"""What a safetensors file says it holds: every tensor's dtype, shape and byte range, proved from its header.

Reads the header only. A `Header` is returned when the tensors tile the data exactly: each begins where the
last one ended, and the file ends with the last. Whoever reads ranges afterwards can rely on that.

Stricter than the safetensors library (0.8) where it lets two readers disagree or a bomb through: duplicate
keys, dimensions and element counts of 2^63 and more, more than 64 dimensions, names beyond 64 KiB, nesting
beyond that of a tensor's shape, numbers that are not whole and positive, a dtype that is not a text, many
small parts, and headers above the cap. docs/files.md has the list, and tests hold it against the library.
Leading whitespace is accepted, as the library does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any, Literal, NoReturn, cast

from mergegraph.dtypes import BY_CODE, DType
from mergegraph.errors import InputError, Problem
from mergegraph.tensors import strict_json
from mergegraph.tensors.foreign import recognise
from mergegraph.tensors.local_file import LocalFile
from mergegraph.tensors.sources.door import RemoteFile, opened, read_range
from mergegraph.views import BlockScale

DEFAULT_HEADER_BYTES = 25_000_000
MOST_HEADER_BYTES = 100_000_000
MEMORY_PER_HEADER_BYTE = 25
MOST_DIMENSIONS = 64
MOST_NAME_BYTES = 65_536

_NUMBER_LIMIT = 2**63
# Reading a header this long takes less memory than the interpreter itself.
_HARMLESS_HEADER_BYTES = 1_000_000
_KEYS = frozenset(("dtype", "shape", "data_offsets"))
_SHOWN_PROBLEMS = 8
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TO_ROUND = bytes.maketrans(b"[]{}", b"()()")
_DAMAGED_FIX = "download or copy it again, and compare its size and checksum with the source's"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of the file at `path`. `offset` counts from the start of the file; `nbytes` bytes are the tensor's."""

    path: str
    name: str
    dtype: DType
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    scale: BlockScale | None = None
    """What its blocks are multiplied by when it is read."""

    @property
    def element_count(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """A file's tensors in the order of their offsets. `identity` is the file's when it was read."""

    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]
    data_offset: int
    file_bytes: int
    identity: str
    warnings: tuple[Problem, ...] = ()


def header_cap(wanted_bytes: int, budget_bytes: int | None) -> int:
    """The longest header to read: `wanted_bytes`, or less where reading it could take more than the budget."""
    if budget_bytes is None:
        return wanted_bytes
    return min(wanted_bytes, max(budget_bytes // MEMORY_PER_HEADER_BYTE, _HARMLESS_HEADER_BYTES))


def parse_header(path: str, max_header_bytes: int = DEFAULT_HEADER_BYTES) -> Header:
    """The header of the safetensors file at `path`. InputError with every problem that can be told apart."""
    try:
        with opened(path) as file:
            raw = _header_text(file, min(max_header_bytes, MOST_HEADER_BYTES))
            first_bytes = read_range(file, 0, 64)
    except OSError as error:
        fix = "name a model's folder, or a .safetensors file that you may read"
        raise InputError(Problem(f"{path} cannot be read: {error.strerror}.", fix=fix)) from error
    try:
        entries = _entries(raw)
    except ValueError as error:
        why = f"its header is not what safetensors writes: {error}"
        if raw.lstrip(b" \t\r\n").startswith(b"{"):
            # A length of 60 bytes begins as a web page does, one of 640 as a pickle.
            raise InputError(_damaged(path, why)) from error
        _not_safetensors(path, first_bytes, why)
    metadata = _metadata(path, entries.pop("__metadata__", None))
    data_offset = 8 + len(raw)
    tensors = _tensors(path, entries, data_offset)
    _check_tiling(path, tensors, data_offset, file.file_bytes)
    by_name = MappingProxyType({tensor.name: tensor for tensor in tensors})
    return Header(by_name, metadata, data_offset, file.file_bytes, file.identity, _unknown_keys(path, entries))


def _header_text(file: LocalFile | RemoteFile, max_bytes: int) -> bytes:
    """The header's bytes, after its length has been compared with the cap and the file."""
    first_bytes = read_range(file, 0, 64)
    if file.file_bytes < 8 or len(first_bytes) < 8:
        why = f"it has {file.file_bytes} bytes; a safetensors file begins with 8 bytes that give its header's length"
        _not_safetensors(file.path, first_bytes, why)
    length = int.from_bytes(first_bytes[:8], "little")
    if length > MOST_HEADER_BYTES:
        why = f"its first 8 bytes give a header of {length:,} bytes, the format allows {MOST_HEADER_BYTES:,}"
        _not_safetensors(file.path, first_bytes, why)
    if 8 + length > file.file_bytes and first_bytes[8:9] == b"{":
        raise InputError(_truncated(file.path, 8 + length, file.file_bytes))
    if 8 + length > file.file_bytes:
        why = f"its first 8 bytes say that its header ends at byte {8 + length:,}, the file has {file.file_bytes:,}"
        _not_safetensors(file.path, first_bytes, why)
    if length > max_bytes:
        raise InputError(too_long(file.path, "a header", length, max_bytes))
    raw = read_range(file, 8, length)
    if len(raw) < length:
        raise InputError(_truncated(file.path, 8 + length, 8 + len(raw)))
    return raw


def _entries(raw: bytes) -> dict[str, Any]:
    _check_nesting(raw)
    parsed: object = strict_json.parse(raw, floats=False)
    if not isinstance(parsed, dict):
        raise ValueError("it is not a JSON object")
    return cast("dict[str, Any]", parsed)


def _check_nesting(raw: bytes) -> None:
    """Refuse, without building anything, text that costs far more memory to parse than a header may."""
    brackets = bytearray()
    for part in strict_json.outside_strings(raw):
        if b"-" in part:
            # Python reads -0 as the whole number 0.
            raise ValueError("it holds a negative number")
        brackets += part.translate(None, _NOT_BRACKETS)
    if b"[[" in brackets or b"[{" in brackets:
        raise ValueError("it holds a list of lists or of objects")
    brackets = brackets.translate(_TO_ROUND)
    for _ in range(3):
        # Each pass removes the innermost level, so three leave nothing of a header.
        brackets = brackets.replace(b"()", b"")
    if brackets:
        raise ValueError("its brackets are nested more than 3 deep, or do not match")


def _metadata(path: str, value: object) -> Mapping[str, str]:
    if value is None:
        return MappingProxyType({})
    entries = cast("dict[str, object]", value) if isinstance(value, dict) else {"": None}
    if not all(isinstance(text, str) for text in entries.values()):
        raise InputError(_damaged(path, "its __metadata__ is not an object of texts"))
    return MappingProxyType(cast("dict[str, str]", entries))


def _tensors(path: str, entries: Mapping[str, object], data_offset: int) -> list[StoredTensor]:
    """All tensors, by offset. InputError with the first few that are wrong."""
    tensors: list[StoredTensor] = []
    problems: list[Problem] = []
    unshown = 0
    for name, entry in entries.items():
        try:
            tensors.append(_tensor(path, name, entry, data_offset))
        except ValueError as error:
            if len(problems) < _SHOWN_PROBLEMS:
                problems.append(_damaged(path, str(error), name[:200]))
            else:
                unshown += 1
    if unshown:
        problems.append(_damaged(path, f"{unshown} more tensors are described wrongly"))
    if problems:
        raise InputError(*problems)
    return sorted(tensors, key=lambda tensor: (tensor.offset, tensor.nbytes))


def _tensor(path: str, name: str, entry: object, data_offset: int) -> StoredTensor:
    """ValueError says what is wrong with this entry."""
    if len(name.encode()) > MOST_NAME_BYTES:
        raise ValueError(f"its name is longer than {MOST_NAME_BYTES} bytes")
    if not isinstance(entry, dict) or not entry.keys() >= _KEYS:
        raise ValueError("it has no dtype, shape and data_offsets")
    fields = cast("dict[str, object]", entry)
    dtype = _dtype(fields["dtype"])
    shape = _whole_numbers("shape", fields["shape"])
    begin_end = _whole_numbers("data_offsets", fields["data_offsets"])
    if len(begin_end) != 2 or begin_end[0] > begin_end[1]:
        raise ValueError(f"its data_offsets are {begin_end}, not a begin and an end")
    begin, end = begin_end
    nbytes = _byte_count(dtype, shape)
    if nbytes != end - begin:
        raise ValueError(f"{dtype.code} {list(shape)} takes {nbytes} bytes, its data_offsets give {end - begin}")
    return StoredTensor(path, name, dtype, shape, data_offset + begin, nbytes)


def _dtype(code: object) -> DType:
    if not isinstance(code, str):
        raise ValueError("its dtype is not a text")
    if code not in BY_CODE:
        raise ValueError(f'its dtype "{code[:40]}" is unknown')
    return BY_CODE[code]


def _whole_numbers(key: str, value: object) -> tuple[int, ...]:
    """bool is an int to Python, and a number of the header never is one."""
    if not isinstance(value, list):
        raise ValueError(f"its {key} is not a list")
    if len(cast("list[object]", value)) > MOST_DIMENSIONS:
        raise ValueError(f"its {key} has more than {MOST_DIMENSIONS} numbers")
    numbers = tuple(cast("list[int]", value))
    for number in numbers:
        if type(number) is not int or not 0 <= number < _NUMBER_LIMIT:
            raise ValueError(f"its {key} holds {str(number)[:40]}, not a whole number below 2^63")
    return numbers


def _byte_count(dtype: DType, shape: tuple[int, ...]) -> int:
    elements = 1
    for dimension in shape:
        # Step by step: a zero further on would hide an overflow from readers with fixed-size numbers.
        elements *= dimension
        if elements >= _NUMBER_LIMIT:
            raise ValueError(f"its shape {list(shape)} has 2^63 elements or more")
    nbytes, odd_bits = divmod(elements * dtype.bits, 8)
    if odd_bits:
        raise ValueError(f"{elements} elements of {dtype.bits} bits do not end at a whole byte")
    return nbytes


def _check_tiling(path: str, tensors: Iterable[StoredTensor], data_offset: int, file_bytes: int) -> None:
    """`tensors` by offset. InputError unless they cover the data without a hole, an overlap or a rest."""
    expected, ends = data_offset, "the data begins"
    for tensor in tensors:
        if tensor.offset != expected:
            why = f"it begins at byte {tensor.offset:,}, {ends} at {expected:,}"
            raise InputError(_damaged(path, why, tensor.name[:200]))
        expected, ends = tensor.offset + tensor.nbytes, f"{tensor.name[:200]} ends"
    if expected > file_bytes:
        raise InputError(_truncated(path, expected, file_bytes))
    if expected < file_bytes:
        why = f"its header describes {expected:,} bytes, the file has {file_bytes:,}"
        raise InputError(_damaged(path, why))


def _unknown_keys(path: str, entries: Mapping[str, dict[str, Any]]) -> tuple[Problem, ...]:
    odd = [name for name, entry in entries.items() if len(entry) > len(_KEYS)]
    if not odd:
        return ()
    keys = ", ".join(sorted(entries[odd[0]].keys() - _KEYS))
    why = f"safetensors defines dtype, shape and data_offsets only; {len(odd)} tensors carry more ({keys[:200]})"
    return (Problem(f"{path} describes tensors with unknown keys.", tensor=odd[0], why=why, severity="warning"),)


def _not_safetensors(path: str, first_bytes: bytes, why: str) -> NoReturn:
    what, fix = recognise(first_bytes, path) or (why, _DAMAGED_FIX)
    if path.endswith((".yaml", ".yml")):
        what, fix = why, f"a recipe is looked at with mergegraph check {path}"
    raise InputError(Problem(f"{path} is not a safetensors file: {what}.", why="" if what is why else why, fix=fix))


def _damaged(path: str, why: str, tensor: str = "") -> Problem:
    return Problem(f"{path} has a damaged header.", tensor=tensor, why=why, fix=_DAMAGED_FIX)


def _truncated(path: str, described_bytes: int, file_bytes: int) -> Problem:
    fact = f"{path} is truncated: its header asks for {described_bytes:,} bytes, the file has {file_bytes:,}."
    return Problem(fact, why="a download or copy of it stopped early", fix="download or copy it again")


def too_long(path: str, what: Literal["a header", "an index"], length: int, max_bytes: int) -> Problem:
    """A header or an index over the cap, that a person may still want to read."""
    megabytes = -(-length // 1_000_000)
    return Problem(
        f"{path} has {what} of {length:,} bytes; at most {max_bytes:,} are read.",
        why=f"reading it can take {MEMORY_PER_HEADER_BYTE} times its bytes in memory",
        fix=f"if you trust the file: --max-header-mb {megabytes}, with a --budget of "
        f"{megabytes * MEMORY_PER_HEADER_BYTE}MB or more",
    )
