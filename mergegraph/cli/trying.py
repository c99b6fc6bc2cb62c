"""`try`: models go on with the same texts, side by side."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mergegraph.cli.options import Json
from mergegraph.cli.reporting import reporting
from mergegraph.cli.terminal import heading, say, say_json, say_styled
from mergegraph.errors import InputError, Location, Problem, RecipeError, printable, raise_errors

if TYPE_CHECKING:
    from mergegraph.cli.completing import Asked, Completion

PROMPTS = ("Once upon a time", "The most important thing is", "def main():")
"""What is asked when nobody says."""
_NARROWEST = 26
_GAP = 2


def try_models(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL", help="Folders of language models; give several to compare them.")
    ],
    prompt: Annotated[
        list[str] | None, typer.Option("-p", "--prompt", metavar="TEXT", help="The text to continue. May be repeated.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="How many tokens to generate.")] = 40,
    temperature: Annotated[
        float,
        typer.Option(min=0, max=100, metavar="T", help="0 takes the likeliest token; above 0, tokens are sampled."),
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, metavar="N", help="Seed for sampling tokens.")] = 0,
    chat: Annotated[
        bool, typer.Option("--chat", help="Put the prompt into each model's chat template, as a user's message.")
    ] = False,
    device: Annotated[str, typer.Option(metavar="cpu|cuda[:N]", help="Where to compute.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Let models continue a text, side by side; needs mergegraph[eval]."""
    with reporting(as_json=as_json):
        from mergegraph.cli.completing import Asked

        _require_device(device)
        asked = Asked(tuple(prompt or PROMPTS), tokens, temperature, seed, chat, device)
        show_completions(models, asked, as_json=as_json)


def _require_places_here(models: Sequence[Path]) -> None:
    """InputError for a model of the Hub, or of another server: transformers reads folders."""
    from mergegraph.tensors.sources.hub_names import hub_name, looks_like_id
    from mergegraph.tensors.sources.location import is_remote, name_of, restored, shown

    problems: list[Problem] = []
    for model in models:
        reference = restored(str(model))
        if not is_remote(reference) and (not looks_like_id(reference) or model.parent.is_dir() or model.exists()):
            continue
        words = ["mergegraph", "run", "-e", "a", "-m", f"a={reference}", "-o", f"./{name_of(reference)}"]
        if (name := hub_name(reference)) is not None and not name.inside:
            revision = [] if name.revision == "main" else ["--revision", name.revision]
            words = ["hf", "download", name.repo, *revision, "--local-dir", f"./{name_of(name.repo)}"]
        fact = f"{shown(reference)} is no folder of this machine."
        problems.append(Problem(fact, why="`try` takes the folders of models", fix=shlex.join(words)))
    raise_errors(problems, InputError)


def show_completions(models: Sequence[Path], asked: Asked, *, as_json: bool = False) -> None:
    """Every model is looked at before the first is loaded. Errors as from the functions of `completing`."""
    from mergegraph.cli.completing import completions, require_language_model, require_transformers

    _require_places_here(models)
    require_transformers()
    for model in models:
        require_language_model(model, device=asked.device)
    said: list[list[Completion]] = []
    for model in models:
        said.append(completions(model, asked))
        for each in said[-1] if as_json else ():
            say_json({"kind": "completion", "model": str(model), "prompt": each.prompt, "text": each.text,
                      "tokens": each.tokens})  # fmt: skip
    if not as_json:
        for row in zip(*said, strict=True):
            _show([str(model) for model in models], row)


def side_by_side(names: Sequence[str], texts: Sequence[str], width: int) -> Iterator[str]:
    """The texts in columns under their names, or below each other where `width` (in cells of a terminal) is too small.
    One text has no name."""
    column = (width + _GAP) // len(texts) - _GAP
    if len(texts) == 1:
        yield from _wrapped(texts[0], column)
    elif column < _NARROWEST:
        for name, text in zip(names, texts, strict=True):
            yield from (f"[{name}]", *_wrapped(text, width))
    else:
        yield from _in_columns([[*_wrapped(f"[{n}]", column), *_wrapped(t, column)]
                                for n, t in zip(names, texts, strict=True)], column)  # fmt: skip


def _show(names: Sequence[str], row: Sequence[Completion]) -> None:
    from shutil import get_terminal_size

    say_styled(heading(row[0].prompt))
    texts = [each.text.strip("\n") or "(nothing)" for each in row]
    for line in side_by_side(names, texts, max(20, get_terminal_size((100, 40)).columns - 2)):
        say(f"  {line}".rstrip())
    say()


def _in_columns(columns: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    from rich.cells import cell_len

    for number in range(max(map(len, columns))):
        cells = [column[number] if number < len(column) else "" for column in columns]
        yield (" " * _GAP).join(cell + " " * (width - cell_len(cell)) for cell in cells).rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells; a character of Chinese has two."""
    from rich.console import Console
    from rich.text import Text

    lines = Text(printable(text).expandtabs(4)).wrap(Console(width=width), width)
    return [line.plain.rstrip() for line in lines]


def _require_device(name: str) -> None:
    import re

    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", name):
        fix = "--device cpu, cuda or cuda:0"
        raise RecipeError(Problem(f'There is no device "{name}" here.', Location(f"--device {name}"), fix=fix))
    if name != "cpu":
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(name.partition(":")[2] or 0) >= count:
            why = f"torch finds {count} of them"
            raise RecipeError(
                Problem("There is no such CUDA device.", Location(f"--device {name}"), why=why, fix="--device cpu")
            )
