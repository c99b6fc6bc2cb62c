"""The models that timings need, made by `make_inputs.py` where they are missing."""

from __future__ import annotations

import sys
from pathlib import Path

from child import REPOSITORY, run_child


def made(folder: Path, fine_tunes: int, *options: str) -> Path:
    """`folder` with a base and that many fine-tunes. Ends the program when they cannot be made."""
    if not (folder / f"tune-{fine_tunes - 1}").is_dir():
        # The script puts these below the folder that it is given.
        where = folder.parent if "--many" in options else folder
        script = REPOSITORY / "benchmarks" / "make_inputs.py"
        child = run_child([sys.executable, str(script), str(where), *options, "--fine-tunes", str(fine_tunes)])
        if child.exit_code:
            sys.exit(f"{child.stdout}{child.stderr}")
    return folder
