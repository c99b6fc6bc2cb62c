"""`mergegraph verify` in a process of its own: the bytes of an output against its records."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def verified(output: Path) -> tuple[str, bool]:
    """(what it says, whether every byte is as it was written). Waits for it: for a thread."""
    command = [sys.executable, "-P", "-m", "mergegraph", "verify", str(output)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"verify was not started: {error}", False
    said = "\n".join(part.strip() for part in (done.stdout, done.stderr) if part.strip())
    return said or f"verify ended with {done.returncode}", done.returncode == 0
