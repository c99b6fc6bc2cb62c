"""`python -m mergegraph` is the command `mergegraph`."""

from __future__ import annotations

import sys

from mergegraph.cli import main

if __name__ == "__main__":
    sys.exit(main())
