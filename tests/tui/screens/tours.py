"""Walks through the interface that stop at every screen and dialog. What is to be seen at a stop is a picture.

A stop waits for a state, never for a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TypeVar

from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.dialogs.confirm import Confirm
from mergegraph_tui.dialogs.curve import CurveDialog
from mergegraph_tui.dialogs.open import Open
from mergegraph_tui.dialogs.pick import PickDialog
from mergegraph_tui.dialogs.plan import PlanDialog
from mergegraph_tui.dialogs.rule import RuleDialog
from mergegraph_tui.model.splice import Edited
from mergegraph_tui.screens.run import RunScreen
from mergegraph_tui.screens.stats import StatsScreen
from mergegraph_tui.theme import ThemeName
from mergegraph_tui.widgets.graph_canvas import GraphCanvas
from mergegraph_tui.widgets.preview import PreviewPanel
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from tests.tui.app.piloting import settle
from tests.tui.screens import search_stage, stage

SIZES = ((80, 24), (120, 40), (200, 50))
NARROW = SIZES[0]
SMALL = frozenset({"find", "formula", "cut", "rename", "jump", "palette", "save-as", "quit", "record", "export"})
"""Dialogs that look the same at every size: seen at the narrowest only."""

Stop = Callable[[str, MergegraphApp], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Look:
    """How the app is looked at; `stop` is called with the name of each picture."""

    stop: Stop
    size: tuple[int, int]
    theme: ThemeName = "dark"
    ascii_only: bool = False


@dataclass(frozen=True)
class Walk:
    """One app that is shown."""

    app: MergegraphApp
    pilot: Pilot[int]
    stop: Stop

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await settle(self.app, self.pilot)

    async def type(self, text: str) -> None:
        self.app.screen.query_one(Input).value = text
        await settle(self.app, self.pilot)

    async def edit(self, text: Edited) -> None:
        assert self.app.apply(text, "change")
        await settle(self.app, self.pilot)

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        end = monotonic() + seconds
        while not condition():
            assert monotonic() < end, "it did not come about"
            await self.pilot.pause(0.01)
        await self.pilot.pause()

    async def select(self, node: str) -> None:
        self.app.workspace.selected = node
        self.app.sync()
        await self.pilot.pause()

    def see(self, name: str) -> None:
        self.stop(name, self.app)

    async def dialog(self, name: str, *keys: str, until: Callable[[], bool] = lambda: True, typed: str = "") -> None:
        """What these keys open: seen, and left by Escape."""
        if name in SMALL and self.app.size != NARROW:
            return
        await self.press(*keys)
        await self.until(lambda: len(self.app.screen_stack) > 1 and until())
        if typed:
            await self.type(typed)
        self.see(name)
        await self.press("escape")
        await self.until(lambda: len(self.app.screen_stack) == 1)

    def options(self) -> list[str]:
        """The lines of the list of the dialog that is open."""
        screen = self.app.screen
        if isinstance(screen, PickDialog):
            return [choice.label for choice in screen.found]
        return [str(option.prompt).splitlines()[0].strip() for option in screen.query_one(OptionList).options]


async def edit(walk: Walk) -> None:
    """Graph, form, rail and text of twelve nodes."""
    app = walk.app
    await walk.select("ties")
    walk.see("edit")
    await walk.press("enter")
    await walk.until(lambda: bool(app.screen.query_one(PreviewPanel).text))
    walk.see("form")
    await walk.press("escape", "g")
    walk.see("rail")
    await walk.press("g", "c", "down")
    walk.see("connect")
    await walk.press("escape")
    await walk.edit(app.workspace.document.text.replace("op: ties", "op: tise").replace("anti]", "nobody]"))
    walk.see("problems")
    await walk.press("y", "f1", "escape")
    walk.see("text")
    await walk.dialog("quit", "ctrl+q", until=lambda: isinstance(app.screen, Confirm))


async def adding(walk: Walk) -> None:
    """What is asked when nodes are made or changed."""
    await walk.select("ties")
    await walk.dialog("add", "a")
    await walk.dialog("formula", "a", typed="merged + 0.5*(legal - base)")
    await walk.dialog("model", "m", until=lambda: len(walk.options()) == 4)
    await walk.dialog("cut", "X")
    await walk.dialog("rename", "R")
    await walk.dialog("find", "slash", typed="ties")
    await walk.dialog("plan", "p", until=lambda: _as(walk.app, PlanDialog).prepared is not None)


async def finding(walk: Walk) -> None:
    """Help, palette, files."""
    app = walk.app
    await walk.select("ties")
    await walk.dialog("help", "question_mark")
    await walk.dialog("jump", "ctrl+o")
    await walk.dialog("palette", "ctrl+p", *"light", until=lambda: walk.options() == ["Theme: light", "Delete"])
    await walk.dialog("open", "o", until=lambda: len(_as(app, Open)._looked) == 2)
    await walk.dialog("new", "ctrl+n", until=lambda: bool(walk.options()))
    await walk.dialog("save-as", "S")


async def begin(walk: Walk) -> None:
    """An empty recipe, once the list of its problems has its place: the graph was laid out for more rows before."""
    canvas = walk.app.screen.query_one(GraphCanvas)
    await walk.until(lambda: canvas.virtual_size == canvas.size)
    walk.see("empty")
    await walk.press("f3")
    walk.see("no-run")
    await walk.dialog("runs", "v", until=lambda: bool(walk.options()))
    await walk.press("f4")
    walk.see("no-statistics")


async def run(walk: Walk) -> None:
    """A run that merges, one that is done, one that has failed."""
    here = Path.cwd()
    await _follow(walk, stage.merging(here))
    walk.see("run")
    for key, name in (("g", "run-graph"), ("l", "run-log"), ("t", "run-tensors")):
        await walk.press(key)
        await _show(walk)
        walk.see(name)
        await walk.press(key)
    for name, still in (("run-done", stage.done(here)), ("run-failed", stage.failed(here))):
        await _follow(walk, still)
        walk.see(name)


async def _follow(walk: Walk, run: stage.StillRun) -> None:
    walk.app.workspace.followed = run  # type: ignore[assignment]
    walk.app.sync()
    await _show(walk)


async def _show(walk: Walk) -> None:
    """Rows are cut to the widths of panes that come and go with the state."""
    screen = walk.app.screen_stack[0]
    assert isinstance(screen, RunScreen)
    for _ in range(3):
        await walk.pilot.pause()
        screen.show_all()


async def statistics(walk: Walk) -> None:
    """The record of a sum of two task vectors."""
    app = walk.app
    screen = app.screen_stack[0]
    assert isinstance(screen, StatsScreen)
    await walk.until(lambda: screen.loaded is not None)
    await walk.press("down", "right", "right", "shift+right", "shift+down")
    walk.see("stats")
    await walk.press("g")
    walk.see("stats-table")
    await walk.press("g", "m")
    await walk.dialog("metrics", "slash", until=lambda: bool(walk.options()))
    await walk.dialog("rule", "w", until=lambda: isinstance(app.screen, RuleDialog) and _is_foretold(app))
    await walk.dialog("curve", "e", until=lambda: isinstance(app.screen, CurveDialog) and _is_foretold(app))
    await walk.dialog("record", "b", until=lambda: bool(walk.options()))
    await walk.dialog("export", "E")
    await walk.press("M", "v")
    app.screen.query_one(Input).value = "weaker.json"
    await walk.press("enter")
    await walk.until(lambda: screen.other is not None)
    walk.see("compare")
    await walk.press("f2")
    await walk.select("merged")
    await walk.press("enter")
    await walk.type("base + 0.8*(code - base) + 0.4*(french - base)")
    await walk.until(lambda: _foretells_another(app))
    await walk.press("home")
    walk.see("foretold")


async def search(walk: Walk) -> None:
    """A search that goes on, the same when it has ended, a line between two models; and none."""
    if walk.app.size == NARROW:
        await walk.press("f5")
        walk.see("no-search")
    await _look_at(walk, search_stage.still(search_stage.running(), pid=4711, seconds=4))
    walk.see("search")
    await _look_at(walk, search_stage.still(search_stage.ended(), found=Path("out/search/greedy-soup/found.yaml")))
    walk.see("search-done")
    await walk.press("g")
    walk.see("search-result")
    await walk.press("g", "g")
    await _look_at(walk, search_stage.still(search_stage.line()))
    walk.see("search-line")


async def _look_at(walk: Walk, search: search_stage.StillSearch) -> None:
    walk.app.follow_search(search)  # type: ignore[arg-type]
    for _ in range(3):
        await walk.pilot.pause()
        walk.app.show_search()


def _is_foretold(app: MergegraphApp) -> bool:
    return "kept" in app.screen.query_one(PreviewPanel).text


def _foretells_another(app: MergegraphApp) -> bool:
    rows = [line.split() for line in app.screen.query_one(PreviewPanel).text.splitlines()]
    return any(row[:1] == ["kept"] and row[-1] != row[-2] for row in rows)


def _as(app: MergegraphApp, kind: type[T]) -> T:
    assert isinstance(app.screen, kind)
    return app.screen


Act = Callable[[Walk], Awaitable[None]]
TOURS: Mapping[str, tuple[Act, str, str | None]] = {
    "edit": (edit, "edit", "detox.yaml"),
    "adding": (adding, "edit", "detox.yaml"),
    "finding": (finding, "edit", "detox.yaml"),
    "begin": (begin, "edit", None),
    "run": (run, "run", "detox.yaml"),
    "statistics": (statistics, "stats", "two.yaml"),
    "search": (search, "edit", "two.yaml"),
}
"""What is done, the mode it begins in, and the recipe."""
WALKS = [(tour, size) for tour in TOURS for size in SIZES if tour != "begin" or size == NARROW]


async def walk(tour: str, look: Look) -> None:
    """One tour in the current folder, which is furnished."""
    act, mode, recipe = TOURS[tour]
    path = Path(recipe).absolute() if recipe else None
    record = Path("stats.json").absolute() if mode == "stats" else None
    app = stage.app_of(path, mode, theme=look.theme, ascii_only=look.ascii_only, record=record)
    async with app.run_test(size=look.size) as pilot:
        await settle(app, pilot)
        await act(Walk(app, pilot, look.stop))
