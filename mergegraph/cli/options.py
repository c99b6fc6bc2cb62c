"""The options that commands share, and the values that typer does not check."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from mergegraph.cli.shell import among, recipes
from mergegraph.errors import Location, Problem, RecipeError
from mergegraph.plan.share import Share
from mergegraph.tensors.sources.location import restored
from mergegraph.units import parse_bytes

DIRECTIONS, SIZES = ("down", "right"), ("pill", "box", "card")
EXECUTORS, THEMES = ("threads", "ray"), ("dark", "light")

RecipeFile: TypeAlias = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.", autocompletion=recipes)
]
Output: TypeAlias = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="DIR", help="Where to write the output, if the recipe has one save."),
]
Budget: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Memory for tiles: 512MiB, 2GiB. Default: 2GiB, or a quarter of free memory if less.",
    ),
]
Device: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda[:N|:all]", help="Where to compute; auto means the CPU.",
        autocompletion=among(("auto", "cpu", "cuda", "cuda:all")),
    ),
]  # fmt: skip
DeviceBudget: TypeAlias = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Memory to use on each device. Default: nine tenths of what is free.")
]
Threads: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, max=10_000, metavar="N", help="Number of worker threads. Default: one per processor."),
]
Sets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NODE.FIELD=VALUE", help="Change a value in the recipe: boost.by=0.4. May be repeated."
    ),
]
Sweeps: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--sweep",
        metavar="NODE.FIELD=A:B:STEP",
        help="Make one output per value: boost.by=0.2:0.8:0.2, or =0.2,0.5. May be repeated.",
    ),
]
MaxHeader: TypeAlias = Annotated[
    int,
    typer.Option(
        "--max-header-mb", min=1, max=100, metavar="MB", help="The longest safetensors header or index to read, in MB."
    ),
]
Overwrite: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
StrictIntegers: TypeAlias = Annotated[
    bool, typer.Option("--strict-integers", help="Stop when integer tensors differ, instead of warning.")
]
AllowUnrelated: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-unrelated", help="Warn instead of stopping when models have different bases or architectures."
    ),
]
FixKnownFaults: TypeAlias = Annotated[
    bool,
    typer.Option("--fix-known-faults", help="In a mergekit configuration, correct what mergekit gets wrong."),
]
Local: TypeAlias = Annotated[
    bool, typer.Option("--local", help="Read names like org/name as local folders, not as models on the Hub.")
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, one object per line.")]


DEFAULT_HEADER_MB = 25

_LEAST_BYTES, _MOST_GIB = 1 << 16, 64
"""A number without a unit that is smaller is none of bytes: up to 64 it is one of GiB, in somebody's mind."""


def budget_bytes(text: str | None, option: str = "--budget") -> int | None:
    """The bytes that `--budget` means, or another option. RecipeError says which forms are accepted."""
    if text is None:
        return None
    at = Location(f"{option} {text}")
    if text.isdecimal() and 0 < int(text[:9]) < _LEAST_BYTES:
        fix = f"{option} {text}{'GiB' if int(text) <= _MOST_GIB else 'MiB'}"
        raise RecipeError(Problem(f"{text} is a number of bytes.", at, why="nothing fits into so few", fix=fix))
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise RecipeError(Problem(f"{error}.", at, fix=f"{option} 2GiB")) from error


def device_name(text: str) -> str:
    """`--device` as it was typed, where it has a form that exists; whether it is there is seen when torch is."""
    if text in ("auto", "cpu") or re.fullmatch(r"cuda(:([0-9]{1,3}|all))?", text):
        return text
    fix = "--device auto, cpu, cuda, cuda:0 or cuda:all"
    raise RecipeError(Problem(f'There is no device "{text}".', Location(f"--device {text}"), fix=fix))


def device_for(text: str, *, stats: bool) -> str:
    """`device_name`; with `--stats` the processor, for it counts them. RecipeError where another one is asked for."""
    if not stats:
        return device_name(text)
    if text in ("auto", "cpu"):
        return "cpu"
    why = "the processor counts them while it computes the tiles"
    at = Location(f"--device {text}")
    raise RecipeError(Problem("--stats does not go with a device.", at, why=why, fix="--device cpu"))


def one_of(option: str, value: str | None, known: tuple[str, ...]) -> None:
    """RecipeError for a value that an option does not have."""
    if value is not None and value not in known:
        fix = f"{option} {', '.join(known[:-1])} or {known[-1]}"
        raise RecipeError(Problem(f'{option} has no "{value}".', Location(f"{option} {value}"), fix=fix))


def share_of(text: str) -> Share:
    """The part that `--shards I/N` means. RecipeError for anything else."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        why = "parts count from 1: an index I that counts from 0 is $((I + 1))" if found else ""
        fact = f'"{text}" is no part of a whole.'
        raise RecipeError(Problem(fact, Location(f"--shards {text}"), why=why, fix="--shards 1/8, up to 8/8"))
    return Share(number, count)


def typed_again(
    recipe: Path | None,
    output: Path | None,
    sets: list[str] | None,
    sweeps: list[str] | None,
    switches: Mapping[str, bool],
    max_header_mb: int,
) -> str:
    """The recipe and the options that `run` and `finalize` must have alike, as one types them for the other."""
    words = [str(recipe)]
    words += ["-o", restored(str(output))] if output is not None else []
    words += [word for text in sets or () for word in ("--set", text)]
    words += [word for text in sweeps or () for word in ("--sweep", text)]
    words += [option for option, is_on in switches.items() if is_on]
    words += ["--max-header-mb", str(max_header_mb)] if max_header_mb != DEFAULT_HEADER_MB else []
    return shlex.join(words)


def refuse_together(
    *,
    shards: str | None,
    executor: str,
    stats: bool,
    sync: bool,
    verify_output: bool,
    expression: str | None,
    address: str | None,
    gpus: float,
    device: str,
    reads_back: bool,
    device_budget: str | None,
) -> None:
    """RecipeError for every option that would be ignored beside another: nothing is."""
    ray = executor == "ray"
    at_the_end = "give it to `mergegraph finalize`, which ends what parts begin"
    measure = "mergegraph stats RECIPE, before or afterwards"
    clashes = (
        (shards and ray, "--shards", "--executor ray", "the cluster hands out every shard; leave one of them out"),
        (shards and stats, "--stats", "--shards", measure),
        (ray and stats, "--stats", "--executor ray", measure),
        (shards and verify_output, "--verify-output", "--shards", at_the_end),
        (shards and expression, "-e", "--shards", "write a recipe: `finalize` takes a file"),
        (shards and not sync, "--no-sync", "--shards", "leave it out: what machines share is always synced"),
        (ray and not sync, "--no-sync", "--executor ray", "leave it out: what machines share is always synced"),
        (address and not ray, "--address", "--executor threads", "--executor ray"),
        (gpus and ray and not device.startswith("cuda"), "--gpus", "--device cpu", "--device cuda --gpus 1"),
        (
            ray and device.startswith("cuda:"),
            f"--device {device}",
            "--executor ray",
            "--device cuda: Ray gives each worker devices of its own",
        ),
        (shards and not reads_back, "--no-read-back", "--shards", at_the_end),
        (
            not reads_back and not ray and not shards,
            "--no-read-back",
            "--executor threads",
            "leave it out: nothing is read back without --verify-output",
        ),
        (device_budget and not device.startswith("cuda"), "--device-budget", f"--device {device}", "--device cuda"),
        (gpus and not ray, "--gpus", "--executor threads", "--executor ray, or --device cuda:all on this machine"),
    )
    problems = [
        Problem(f"{option} means nothing beside {other}.", Location(option), fix=fix)
        for clash, option, other, fix in clashes
        if clash
    ]
    if problems:
        raise RecipeError(*problems)
