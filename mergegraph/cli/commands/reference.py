"""`ops`, `schema` and `demo`: what there is, and how it is written."""

from __future__ import annotations

from typing import Annotated

import typer

from mergegraph.cli.reporting import reporting
from mergegraph.cli.shell import operations
from mergegraph.cli.terminal import say_text


def ops(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The operation to describe.", autocompletion=operations)
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print all operations as one page of Markdown.")] = False,
) -> None:
    """List the operations, or describe one in full."""
    with reporting():
        from mergegraph.cli.ops import show_markdown, show_op, show_ops

        show_markdown() if markdown else show_ops() if name is None else show_op(name)


def schema(
    search: Annotated[bool, typer.Option("--search", help="Print the schema of a search instead.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the reference for recipes instead, as a page of Markdown.")
    ] = False,
) -> None:
    """Print the JSON Schema of a recipe, for editors."""
    with reporting():
        import json

        if markdown:
            from mergegraph.cli.recipe_page import recipe_page

            say_text(recipe_page())
            return
        if search:
            from mergegraph.cli.search_schema import search_schema

            say_text(json.dumps(search_schema(), indent=2))
            return
        from mergegraph.cli.schema import recipe_schema

        say_text(json.dumps(recipe_schema(), indent=2))


def demo(
    search: Annotated[bool, typer.Option("--search", help="Run the repository's searches instead.")] = False,
) -> None:
    """Run recipes from the repository on real checkpoints, and measure the results."""
    with reporting():
        if search:
            from mergegraph.cli.demo_search import show_search_demo

            show_search_demo()
            return
        from mergegraph.cli.demo import show_demo

        show_demo()
