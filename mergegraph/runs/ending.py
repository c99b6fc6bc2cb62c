"""How a run ended, as values. `exit_code` is that of its command, as far as it can be known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from mergegraph.errors import Problem, problem_from_json, problem_json

_STOPPED = (130, 75)


@dataclass(frozen=True, slots=True)
class Done:
    """Every output stands. `report`: as `run --json` says it; empty where the run was not registered."""

    report: Mapping[str, object]
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ended with problems, which name node and tensor where they are known."""

    problems: tuple[Problem, ...]
    exit_code: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """Somebody stopped it (130), or the system did (75); what is done is kept."""

    problems: tuple[Problem, ...]
    exit_code: int


@dataclass(frozen=True, slots=True)
class Lost:
    """It is gone without a word, killed say. `said`: the last lines it wrote to stderr, where they were kept."""

    said: str = ""
    exit_code: int = 1


End = Done | Failed | Stopped | Lost


def end_from_json(said: Mapping[str, object]) -> End | None:
    """The end that the last object of `run --json` tells; None where it tells none."""
    match said:
        case {"kind": "done"}:
            return Done(said)
        case {"kind": "error", "exit_code": int(code), "problems": list()}:
            listed = cast("list[object]", said["problems"])
            told = tuple([problem_from_json(cast("dict[str, object]", x)) for x in listed if isinstance(x, dict)])
            return Stopped(told, code) if code in _STOPPED else Failed(told, code)
        case _:
            return None


def error_json(problems: tuple[Problem, ...], exit_code: int) -> dict[str, object]:
    """The object that says an error; `end_from_json` reads it."""
    return {"kind": "error", "exit_code": exit_code, "problems": [problem_json(problem) for problem in problems]}
