"""The command, whose tiles wait while a file lies at $GATE, once $OPEN_FOR are through; `reached` says so."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import Any

from mergegraph.cli import command
from mergegraph.execute.work import Work

_perform = Work.perform
_through = itertools.count()
_GATE, _OPEN_FOR = Path(os.environ["GATE"]), int(os.environ.get("OPEN_FOR", "0"))


def _waiting(self: Work, *arguments: Any) -> None:
    if next(_through) >= _OPEN_FOR:
        while _GATE.exists():
            _GATE.with_name("reached").touch()
            time.sleep(0.005)
    _perform(self, *arguments)


if __name__ == "__main__":
    Work.perform = _waiting
    command()
