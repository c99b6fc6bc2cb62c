"""`python -m mergegraph` is the command `mergegraph`."""

from __future__ import annotations

from mergegraph.cli import command

if __name__ == "__main__":
    command()
