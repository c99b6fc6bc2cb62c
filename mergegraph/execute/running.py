"""One run as it goes: what was asked for, what it has so far, and what is said of it when it ends early."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from mergegraph.errors import Interrupted, Problem
from mergegraph.execute.control import Control
from mergegraph.execute.devices import ON_CPU, DeviceReport, Devices
from mergegraph.execute.events import Publisher
from mergegraph.execute.executors import Executor
from mergegraph.execute.executors.threads import threads
from mergegraph.execute.memory import resident_bytes
from mergegraph.plan.plan import Plan
from mergegraph.tensors.disk import replace_file
from mergegraph.tensors.partial import PROGRESS
from mergegraph.tensors.writer import OutputFolder

_PROGRESS_FILE_SECONDS = 0.1
"""Written each time it takes 0.2 ms of a processor: 2 ms a second."""


@dataclass(frozen=True)
class Options:
    """How to run a plan. With `devices` tensors are computed there, in place of `executor`, and the bytes are those of
    their kind; nothing else here changes the bytes of a finished tensor.

    `made_on`: the kind of device that made what is on disk, for a run that computes nothing.

    `verify_output`: read everything back from disk before it is published, and compute every sha256 on the way.
    """

    overwrite: bool = False
    sync: bool = True
    allow_non_finite: bool = False
    strict_integers: bool = False
    verify_output: bool = False
    executor: Executor = threads
    devices: Devices | None = None
    made_on: str = ""
    on_tick: Callable[[], None] = lambda: None


DEFAULTS = Options()


@dataclass(frozen=True)
class Report:
    """What a run did. Bytes; `measured` is the process's peak, `reserved` what it held before the tiles.

    `tensors` are those of all outputs: `computed` and `copied` by this run, `resumed` from an earlier one's partial
    folders, or in outputs that were `already_done`. `read_bytes` and `write_bytes` are this run's.
    """

    outputs: Mapping[str, str]
    tensors: int
    resumed: int
    computed: int
    copied: int
    already_done: tuple[str, ...]
    read_bytes: int
    write_bytes: int
    reserved_bytes: int
    budget_bytes: int
    pool_bytes: int
    measured_bytes: int
    seconds: float
    nonfinite: Mapping[str, int]
    overflowed: Mapping[str, int]
    node_seconds: Mapping[str, float]
    warnings: tuple[Problem, ...] = ()
    verified: bool = False
    device: DeviceReport = ON_CPU


@dataclass
class Running:
    """One run. `already`: the saves that were complete before it, with the number of their tensors."""

    plan: Plan
    options: Options
    publisher: Publisher
    control: Control
    folders: list[OutputFolder] = field(default_factory=list[OutputFolder])
    already: dict[str, int] = field(default_factory=dict[str, int])
    warnings: list[Problem] = field(default_factory=list[Problem])
    progress_written: float = 0.0
    began: float = field(default_factory=time.time)

    @property
    def kind(self) -> str:
        """The kind of device that the bytes are of."""
        return self.options.made_on or (self.options.devices.kind if self.options.devices else "cpu")

    def tick(self) -> None:
        """Called a few times a second: the progress file, and whoever shows it."""
        if self.publisher.progress.state in ("merging", "paused"):
            self.publisher.state("paused" if self.control.paused else "merging")
        now = time.monotonic()
        if now - self.progress_written >= _PROGRESS_FILE_SECONDS:
            self.progress_written = now
            shown = self.shown()
            for folder in self.folders:
                folder.publish_progress(shown)
        self.options.on_tick()

    def shown(self) -> bytes:
        """The progress file: the record, which run it is of, and what the process holds."""
        progress = replace(self.publisher.progress, began=self.began, resident_bytes=resident_bytes())
        return progress.as_json()

    def tick_or_end(self) -> None:
        """For whatever reads long outside the executor: a signal ends it."""
        self.tick()
        if self.control.signal is not None:
            raise self.interrupted()

    def kept(self) -> dict[str, int]:
        """How many tensors each partial folder keeps when the run ends now."""
        return {str(folder.partial): len(folder.checksums) for folder in self.folders if folder.checksums}

    def interrupted(self) -> Interrupted:
        """What a run says that a signal ends now."""
        outputs = self.plan.outputs
        done = {str(o.path): self.already[o.node] for o in outputs if o.node in self.already}
        places = {**done, **self.kept()}
        kept, total = sum(places.values()), sum(len(output.tensors) for output in outputs)
        by_system = self.control.signal == signal.SIGTERM
        return Interrupted(
            Problem(
                f"Stopped by {'SIGTERM' if by_system else 'Ctrl-C'}: {kept:,} of {total:,} tensors are on disk.",
                why=f"they are kept in {', '.join(places)}" if kept else "nothing was finished yet, so nothing is kept",
                fix="run the same command again to go on" if kept else "run the same command again",
            ),
            by_system=by_system,
        )

    @contextmanager
    def last_word(self) -> Generator[None]:
        """When the run ends early, say so in the progress files of the folders that are kept. Entered before the
        folders, so left after them."""
        try:
            yield
        except BaseException as error:
            state = "stopped" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed"
            self.publisher.state(state)
            for folder in self.folders:
                if folder.partial.is_dir():
                    with suppress(OSError):
                        replace_file(folder.partial / PROGRESS, self.shown(), sync=False)
            raise
