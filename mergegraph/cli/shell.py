"""What a shell completes: recipes, operations, metrics, and values that an option chooses among. Commands and options
are typer's own. Where nothing is told here, the shell offers files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path


def among(values: Sequence[str]) -> Callable[[str], list[str]]:
    """Completes to one of `values`."""

    def beginning(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return beginning


def recipes(incomplete: str) -> list[str]:
    """YAML files, and folders on the way to some. Nothing where a folder alone is left: the shell goes into it."""
    folder, begun = _split(incomplete)
    try:
        found = sorted(entry for entry in folder.iterdir() if entry.name.startswith(begun))
    except OSError:
        return []
    before = incomplete.removesuffix(begun)
    files = [before + entry.name for entry in found if entry.suffix in (".yaml", ".yml")]
    folders = [f"{before}{entry.name}/" for entry in found if entry.is_dir() and not entry.name.startswith(".")]
    return [*files, *folders] if files or len(folders) > 1 else []


def _split(incomplete: str) -> tuple[Path, str]:
    """The folder that is named already, and the name that is begun in it."""
    before, slash, begun = incomplete.rpartition("/")
    return Path(before + slash or ".").expanduser(), begun


def operations(incomplete: str) -> list[tuple[str, str]]:
    """Operations, each with what it does."""
    from mergegraph.methods.registry import methods

    named = [(name, inspect.cleandoc(method.__doc__ or "")) for name, method in methods().items()]
    return [(name, said.partition("\n")[0]) for name, said in named if name.startswith(incomplete)]


def metrics(incomplete: str) -> list[tuple[str, str]]:
    """Metrics of statistics, each with what it is."""
    from mergegraph.stats.metrics import METRICS

    return [(name, metric.label) for name, metric in METRICS.items() if name.startswith(incomplete)]
