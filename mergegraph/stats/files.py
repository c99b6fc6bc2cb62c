"""A record as a JSON file that is read again strictly.

The JSON is the same bytes for the same numbers. Knows nothing of how they were counted.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from mergegraph.errors import InputError, Problem
from mergegraph.stats.record import (
    FORMAT,
    Change,
    Forecast,
    Mass,
    Outcome,
    Overlap,
    Pair,
    Record,
    Spectral,
    Spectrum,
    TensorRecord,
    Thinned,
    Together,
)
from mergegraph.tensors.local_file import opened, read_range
from mergegraph.tensors.strict_json import parse

STATS = "stats.json"
"""The name beside an output."""
_KIND = "mergegraph_stats"
_AGAIN = "make it again: mergegraph stats RECIPE --json FILE"
_BEYOND = ("inf", "-inf", "nan")
_LARGEST = 1.7976931348623157e308
_LEAST_EXPONENT = -1100


def to_json(record: Record) -> bytes:
    """The file of a record. Sums beyond float64 are written as texts: "inf", "-inf", "nan"."""
    content = {
        _KIND: FORMAT,
        "recipe": record.recipe,
        "base": record.base,
        "sources": list(record.sources),
        "result": record.result,
        "problems": list(record.problems),
    }
    head = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)[:-2]
    rows = [json.dumps(_tensor(each), ensure_ascii=False, allow_nan=False) for each in record.tensors]
    return (head + ',\n "tensors": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n").encode()


def load(path: Path) -> Record:
    """The record in a file, or beside the weights of an output folder. InputError where there is none that is whole."""
    file = path / STATS if path.is_dir() else path
    try:
        with opened(str(file)) as stored:
            raw = read_range(stored, 0, stored.file_bytes)
    except OSError as error:
        raise InputError(Problem(f"{file} cannot be read: {error.strerror}.", fix=_AGAIN)) from error
    return from_json(raw, str(file))


def from_json(raw: bytes, file: str) -> Record:
    """The record that `to_json` wrote. InputError says what else it is."""
    with _uncollected():
        return _from_json(raw, file)


@contextmanager
def _uncollected() -> Generator[None]:
    """Millions of objects are made, and none of them is garbage: looking for some takes as long as making them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _from_json(raw: bytes, file: str) -> Record:
    try:
        content: Any = parse(raw, floats=True)
    except ValueError as error:
        raise InputError(Problem(f"{file} is no record of statistics: {error}.", fix=_AGAIN)) from error
    if not isinstance(content, dict) or _KIND not in content:
        raise InputError(Problem(f"{file} is no record of statistics.", why=f"it has no {_KIND}", fix=_AGAIN))
    found = cast("dict[str, Any]", content)
    if found[_KIND] != FORMAT:
        why = f"it has {_KIND} {found[_KIND]!r}; this mergegraph reads {FORMAT}"
        raise InputError(Problem(f"{file} is of another version.", why=why, fix=_AGAIN))
    try:
        return _record(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"a part of it is missing or of another kind ({type(error).__name__}: {error})"
        raise InputError(Problem(f"{file} is no record of statistics.", why=why, fix=_AGAIN)) from error


def is_record(path: Path) -> bool:
    """Whether a path is a file of statistics, or a folder that has one."""
    return (path / STATS).is_file() if path.is_dir() else path.suffix == ".json" and path.is_file()


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _tensor(tensor: TensorRecord) -> dict[str, Any]:
    head: dict[str, Any] = {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}
    if tensor.skipped:
        return {**head, "skipped": tensor.skipped}
    together = tensor.together
    return {
        **head,
        "counted": tensor.counted,
        "gram": [_number(each) for each in tensor.gram],
        "changes": [_change(each) for each in tensor.changes],
        "pairs": [[i, j, pair.both, pair.opposite] for (i, j), pair in sorted((tensor.pairs or {}).items())],
        "together": None if together is None else [_number(together.absolute_of_sum), list(together.winners)],
        "outcome": None if tensor.outcome is None else _plain(asdict(tensor.outcome)),
        **({"thinned": [_thinned(each) for each in tensor.thinned]} if tensor.thinned else {}),
        **({} if tensor.spectral is None else {"spectral": _spectral(tensor.spectral)}),
        "stored": list(tensor.stored),
    }


def _thinned(each: Thinned) -> dict[str, Any]:
    """What there is of it."""
    return {what: _plain(numbers) for what, numbers in asdict(each).items() if numbers is not None}


def _spectral(found: Spectral) -> dict[str, Any]:
    if found.skipped:
        return {"skipped": found.skipped}
    return {
        "sources": list(map(_spectrum, found.sources)),
        **({} if found.result is None else {"result": _spectrum(found.result)}),
        "overlaps": [[i, j, *asdict(each).values()] for (i, j), each in sorted(found.overlaps.items())],
    }


def _spectrum(found: Spectrum) -> dict[str, Any]:
    return _plain(asdict(found)) | {"values": list(map(_number, found.values))}


def _plain(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(value) if isinstance(value, float) else value for name, value in numbers.items()}


def _change(change: Change) -> dict[str, Any]:
    plain = {name: value for name, value in asdict(change).items() if name != "exponents"}
    exponents = [[e, count, _number(energy)] for e, (count, energy) in sorted(change.exponents.items())]
    return {**_plain(plain), "exponents": exponents}


def _record(content: Mapping[str, Any]) -> Record:
    return Record(
        base=_text(content["base"]),
        sources=tuple([_text(each) for each in content["sources"]]),
        result=_text(content["result"]),
        tensors=tuple([_read_tensor(each) for each in content["tensors"]]),
        recipe=_text(content["recipe"]),
        problems=tuple([_text(each) for each in content["problems"]]),
    )


def _read_tensor(found: Mapping[str, Any]) -> TensorRecord:
    name, dtype, shape = _text(found["name"]), _text(found["dtype"]), tuple([_whole(size) for size in found["shape"]])
    if "skipped" in found:
        return TensorRecord(name, dtype, shape, skipped=_text(found["skipped"]))
    changes = tuple([_read_change(each) for each in found["changes"]])
    gram = tuple([_real(each) for each in found["gram"]])
    if len(gram) != (len(changes) + 1) * (len(changes) + 2) // 2:
        raise ValueError(f"{name} has {len(gram)} products of {len(changes)} changes")
    together, outcome = found["together"], found["outcome"]
    return TensorRecord(
        name, dtype, shape, gram, changes,
        pairs={(_whole(i), _whole(j)): Pair(_whole(both), _whole(opposite)) for i, j, both, opposite in found["pairs"]},
        together=None if together is None else Together(_real(together[0]), tuple(map(_whole, together[1]))),
        outcome=None if outcome is None
        else Outcome(_whole(outcome["outside"]), _real(outcome["cast_error"]), _whole(outcome["rounded_away"]),
                     _whole(outcome["overflowed"])),
        counted=_whole(found["counted"]),
        thinned=_read_thinned(found.get("thinned", []), len(changes) - (outcome is not None)),
        spectral=_read_spectral(found["spectral"]) if "spectral" in found else None,
        stored=_read_stored(found["stored"], len(changes) - (outcome is not None)),
    )  # fmt: skip


def _read_stored(found: Any, sources: int) -> tuple[str, ...]:
    stored = tuple(map(_text, found))
    if len(stored) not in (0, sources + 1):
        raise ValueError(f"dtypes are of {len(stored)} models, not of the base and {sources} sources")
    return stored


def _read_thinned(found: Any, sources: int) -> tuple[Thinned, ...]:
    made = tuple(
        [
            Thinned(
                Mass(*_reals(each["trim"], "before", "after")) if "trim" in each else None,
                Mass(*_reals(each["election"], "before", "after")) if "election" in each else None,
                Forecast(*_reals(each["drop"], "energy", "variance", "error")) if "drop" in each else None,
            )
            for each in found
        ]
    )
    if len(made) not in (0, sources):
        raise ValueError(f"what is taken is of {len(made)} sources, not of {sources}")
    return made


def _reals(found: Mapping[str, Any], *names: str) -> Iterator[float]:
    return (_real(found[name]) for name in names)


def _read_spectral(found: Mapping[str, Any]) -> Spectral:
    if "skipped" in found:
        return Spectral(skipped=_text(found["skipped"]))
    overlaps = {
        (_whole(i), _whole(j)): Overlap(_whole(k, least=1), _real(left), _real(right))
        for i, j, k, left, right in found["overlaps"]
    }
    result = _read_spectrum(found["result"]) if "result" in found else None
    return Spectral(tuple(map(_read_spectrum, found["sources"])), overlaps, result)


def _read_spectrum(found: Mapping[str, Any]) -> Spectrum:
    rounding = None if found["rounding"] is None else _real(found["rounding"])
    return Spectrum(tuple(map(_real, found["values"])), _real(found["outside"]), rounding)


def _read_change(found: Mapping[str, Any]) -> Change:
    sums = [_real(found[name]) for name in ("total", "absolute", "third", "fourth", "largest")]
    exponents = _read_exponents(found["exponents"])
    total, absolute, third, fourth, largest = sums
    zeros, nonfinite = _whole(found["zeros"]), _whole(found["nonfinite"])
    return Change(total, absolute, third, fourth, largest, zeros, nonfinite, exponents)


def _read_exponents(found: Sequence[Sequence[Any]]) -> dict[int, tuple[int, float]]:
    """Most of a file are these rows: what they hold is looked at together, and one by one where something is wrong."""
    if not found:
        return {}
    exponents, counts, energies = zip(*found, strict=True)
    are_numbers = {*map(type, exponents), *map(type, counts)} == {int} and {*map(type, energies)} == {float}
    least, most = (min(energies), max(energies)) if are_numbers else (math.nan, math.nan)
    if -_LARGEST <= least <= most <= _LARGEST and min(exponents) >= _LEAST_EXPONENT and min(counts) >= 0:
        return dict(zip(exponents, zip(counts, energies, strict=True), strict=True))
    return {_whole(e, least=_LEAST_EXPONENT): (_whole(count), _real(energy)) for e, count, energy in found}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]} is no text")
    return value


def _whole(value: object, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise TypeError(f"{str(value)[:40]} is no count")
    return value


def _real(value: object) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, str) and value in _BEYOND:
        return float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise TypeError(f"{str(value)[:40]} is no number")
    return float(value)
