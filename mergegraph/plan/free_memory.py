"""How much memory a run may take when nobody says: what the kernel calls available, and what the control groups of
this process leave of their limits. Linux only; elsewhere nothing is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mergegraph.plan.memory import DEFAULT_BUDGET

_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class _Hierarchy:
    """Where one version of control groups is mounted, and what its files are called.

    `cached`: the key in `memory.stat` of file pages that the kernel drops before it kills anybody.
    """

    mount: str
    limit: str
    used: str
    cached: str


_VERSION_1 = _Hierarchy("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = _Hierarchy("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")


def default_budget(root: Path = _ROOT) -> int:
    """The smaller of 2 GiB and a quarter of the memory that is free now, in bytes."""
    free = free_memory_bytes(root)
    return DEFAULT_BUDGET if free is None else min(DEFAULT_BUDGET, free // 4)


def free_memory_bytes(root: Path = _ROOT) -> int | None:
    """Bytes that this process may still take: the smallest of what the machine and each group around it have left.

    None where the system does not say. `root` is where `proc` and `sys` are.
    """
    return min([*_available(root), *_left_in_groups(root)], default=None)


def _available(root: Path) -> Iterator[int]:
    kibibytes = _keyed(root / "proc/meminfo").get("MemAvailable:")
    if kibibytes is not None:
        yield kibibytes * 1024


def _left_in_groups(root: Path) -> Iterator[int]:
    """What each group with a limit has left: a group's limit holds for those inside it too."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2) if line.count(":") >= 2 else ("", "-", "")
        hierarchy = _VERSION_2 if not controllers else _VERSION_1 if "memory" in controllers.split(",") else None
        if hierarchy is not None:
            for folder in _folders(root / hierarchy.mount, group):
                yield from _left(folder, hierarchy)


def _folders(mount: Path, group: str) -> Iterator[Path]:
    """The folder of a group and those above it. In a container the path may be the host's, and only the top exists."""
    inside = PurePosixPath("/", group)
    if ".." not in inside.parts:
        yield from (mount / each.relative_to("/") for each in (inside, *inside.parents) if each != PurePosixPath("/"))
    yield mount


def _left(folder: Path, hierarchy: _Hierarchy) -> Iterator[int]:
    limit, used = _number(folder / hierarchy.limit), _number(folder / hierarchy.used)
    if limit is not None and used is not None:
        cached = _keyed(folder / "memory.stat").get(hierarchy.cached, 0)
        yield max(limit - max(used - cached, 0), 0)


def _number(path: Path) -> int | None:
    """The number in a file; None where there is none, or it says `max`."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdecimal() else None


def _keyed(path: Path) -> dict[str, int]:
    """Lines of `key number …` as a mapping."""
    pairs = (line.split() for line in _lines(path))
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) >= 2 and pair[1].isdecimal()}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []
