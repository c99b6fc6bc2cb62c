"""What a run tells whoever looks: one frozen progress record, and a bounded queue of events.

The record is replaced as a whole and read by anyone at any time; nothing is pushed. It says nothing about how
it is drawn.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace

from mergegraph.plan.plan import Plan
from mergegraph.runs.progress import Progress, State

_EVENTS_KEPT = 1_000
_PUBLISH_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Started:
    """The run begins; `resumed` tensors are on disk from an earlier one."""

    plan: Plan
    resumed: int


@dataclass(frozen=True, slots=True)
class TensorDone:
    """A tensor of an output is written (not yet synced)."""

    output: str
    tensor: str
    checksum: str


@dataclass(frozen=True, slots=True)
class OutputDone:
    """An output stands complete at its final name."""

    output: str
    path: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ended with an error; `message` is what the user is shown."""

    message: str


Event = Started | TensorDone | OutputDone | Failed


@dataclass
class Publisher:
    """Holds the newest `Progress` and the last events. Written by the engine's threads, read by any thread."""

    progress: Progress = field(default_factory=Progress)
    events: deque[Event] = field(default_factory=lambda: deque[Event](maxlen=_EVENTS_KEPT))
    _started: float = field(default_factory=time.monotonic)
    _published: float = 0.0
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def state(self, state: State) -> None:
        """Change the state; published at once."""
        with self._writing:
            self.progress = replace(self.progress, state=state, seconds=time.monotonic() - self._started)

    def due(self) -> bool:
        """Whether the record is old enough to be replaced."""
        return time.monotonic() - self._published >= _PUBLISH_SECONDS

    def update(self, progress: Progress) -> None:
        """Replace the record; the state stays as it is."""
        with self._writing:
            self._published = time.monotonic()
            self.progress = replace(progress, state=self.progress.state, seconds=self._published - self._started)
