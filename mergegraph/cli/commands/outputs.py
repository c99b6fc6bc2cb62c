"""`verify`, `push` and `info`: an output on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergegraph.cli.options import Json, MaxHeader, Quiet
from mergegraph.cli.reporting import reporting


def verify(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The folder that a run wrote, or its .partial.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read an output back and compare every tensor and file with what was written. Exit code 0, 1 or 2."""
    with reporting(as_json=as_json):
        from mergegraph.cli.verifying import show_verified

        show_verified(output, as_json=as_json, quiet=quiet)


def push(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The folder that a run wrote.")],
    repo: Annotated[
        str, typer.Argument(metavar="ORG/NAME", help="The model on the Hub; created if it does not exist.")
    ],
    private: Annotated[bool, typer.Option("--private", help="If the repository is created, make it private.")] = False,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="BRANCH", help="The branch to push to. Default: main.")
    ] = None,
    message: Annotated[
        str | None,
        typer.Option("--message", metavar="TEXT", help="The commit message. Default: one that names the output."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Verify an output, and upload it to the Hugging Face Hub with its model card."""
    with reporting(as_json=as_json):
        from mergegraph.cli.pushing import show_pushed

        show_pushed(output, repo, private=private, revision=revision, message=message, as_json=as_json, quiet=quiet)


def info(
    model: Annotated[Path, typer.Argument(metavar="OUTPUT|MODEL", help="The folder of an output, or of any model.")],
    in_toto: Annotated[
        bool, typer.Option("--in-toto", help="Verify an output, and print its provenance as an in-toto statement.")
    ] = False,
    max_header_mb: MaxHeader = 25,
    as_json: Json = False,
) -> None:
    """Show how an output was made, or what the headers of a model say."""
    with reporting(as_json=as_json):
        from mergegraph.cli.info import show_info, show_statement

        if in_toto:
            show_statement(model)
        else:
            show_info(model, max_header_bytes=max_header_mb * 1_000_000, as_json=as_json)
