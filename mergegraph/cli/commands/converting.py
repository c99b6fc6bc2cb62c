"""`import` and `convert`: files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mergegraph.cli.options import FixKnownFaults
from mergegraph.cli.reporting import reporting
from mergegraph.cli.shell import recipes


def import_(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A mergekit configuration, a YAML file.", autocompletion=recipes)
    ],
    recipe: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="RECIPE", help="The recipe to write. Default: stdout.")
    ] = None,
    fix_known_faults: FixKnownFaults = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing recipe.")] = False,
) -> None:
    """Turn a mergekit configuration into a recipe that gives the same numbers."""
    with reporting():
        from mergegraph.cli.importing import import_recipe

        import_recipe(config, recipe, fix_known_faults=fix_known_faults, overwrite=overwrite)


def convert(
    source: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="A pickled file, or the folder of a model.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Folder to write. Default: beside the source, with -safetensors added to its name.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="NAME", help="Where the model is in the pickle. Default: found automatically."),
    ] = None,
    dtype: Annotated[str, typer.Option(metavar="keep", hidden=True, help="Tensors keep their dtypes.")] = "keep",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Convert a pickled checkpoint (.bin, .pt, .pth, .ckpt) to a safetensors folder, bit for bit."""
    with reporting():
        from mergegraph.cli.converting import show_converted

        show_converted(source, output, key=key, dtype=dtype, overwrite=overwrite)
