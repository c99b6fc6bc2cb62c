"""docs/mistakes.md: all mistakes, with what the command says of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tests.cli.tiny_models import BLEND
from tests.mistakes.in_commands import COMMAND_LINE, FILES
from tests.mistakes.in_models import MODELS, OUTPUT
from tests.mistakes.in_recipes import DONE_ALL_THE_SAME, RECIPE
from tests.mistakes.mistake import Mistake, Tried

_FINISHED = re.compile(r"(?<=Ctrl-C: )\d")
"""How many tensors were finished when somebody typed it: not the same each time."""

MISTAKES = {
    "The recipe": RECIPE,
    "The file": FILES,
    "The models": MODELS,
    "The output, and the machine": OUTPUT,
    "The command line": COMMAND_LINE,
    "What is done all the same": DONE_ALL_THE_SAME,
}


def page(made: Callable[[Mistake], Tried]) -> Iterator[str]:
    """docs/mistakes.md, line by line; `made` is how each mistake ended."""
    yield "# Mistakes, and what is said of them"
    yield ""
    yield "Written by `python -m tests.mistakes`. In a folder with two models, `base` and `code`, and the recipe"
    yield ""
    yield from ("```yaml", *BLEND.splitlines(), "```")
    yield ""
    yield "one thing is wrong each time. What is refused leaves nothing behind, unless the message says so, and stdout"
    yield "stays empty. Where the message says what to type, a test types it. [refusals.md](refusals.md): what else may"
    yield "be wrong with files."
    for heading, mistakes in MISTAKES.items():
        yield from ("", f"## {heading}")
        for mistake in mistakes:
            yield from ("", *_shown(mistake, made(mistake)))


def _shown(mistake: Mistake, made: Tried) -> Iterator[str]:
    yield f"**{mistake.reason[0].upper()}{mistake.reason[1:]}**"
    yield ""
    yield "```text"
    yield from made.wrong.replace("\t", "<TAB>").splitlines()
    yield f"$ mergegraph {mistake.typed}"
    yield from made.refused.out.splitlines()
    yield from _FINISHED.sub("2", made.refused.error).rstrip("\n").splitlines()
    yield f"[exit code {made.refused.exit_code}]"
    yield "```"
