"""What every picture of the interface is taken of: a folder, a recipe of twelve nodes, a run, a record. Nothing in it
varies: no clock, no process, no path of this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from mergegraph_tui import keeping
from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.dialogs import open as opening
from mergegraph_tui.dialogs import runs as listing
from mergegraph_tui.model import planned
from mergegraph_tui.model.followed import RunView
from mergegraph_tui.model.graph import DrawnGraph
from mergegraph_tui.model.preparing import Asked
from mergegraph_tui.model.progress import Follower, Shown
from mergegraph_tui.model.reading import graph_of
from mergegraph_tui.starting import workspace_of
from mergegraph_tui.theme import ThemeName
from textual.screen import Screen
from textual.widgets import Input, TextArea

from mergegraph.errors import Problem
from mergegraph.recipe.load import load_recipe
from mergegraph.runs.ending import Done, End, Failed
from mergegraph.runs.progress import Progress

MODELS = Path(__file__).resolve().parents[3] / "recipes" / "models" / "tiny-llama"

TWELVE = """\
# French in, legal English out, and half of the code model
mergegraph: 1
models:
  base: ./models/base
  french: ./models/french
  legal: ./models/legal
nodes:
  d_french: {op: delta, model: french, base: base}
  d_legal: {op: delta, model: legal, base: base}
  dare: {op: dare, input: d_french, density: 0.7}
  anti: {op: negate, input: d_legal}
  ties:
    op: ties
    inputs: [dare, anti]
    density: 0.5
  scaled: {op: scale, input: ties, by: [0.2, 0.8]}   # weak first, strong last
  merged: {op: sum, inputs: [scaled, base]}
  soup: {op: soup, inputs: [merged, french]}
  out: {op: save, input: soup, path: out/merged}
"""
TWO = """\
mergegraph: 1
models:
  base: ./models/base
  code: ./models/python
  french: ./models/french
nodes:
  merged: base + 0.6*(code - base) + 0.4*(french - base)
  out: {op: save, input: merged, path: out/two}
"""
_OUTPUT = Path("out/merged")
_MIB = 1 << 20
_WHEN = 1e9


def furnish(folder: Path, patch: pytest.MonkeyPatch, records: Mapping[str, Path]) -> None:
    """The folder `merges` of somebody's home, with models, recipes and records; it is the current one afterwards."""
    home = folder / "home"
    merges = home / "merges"
    (merges / "models").mkdir(parents=True)
    for name in ("base", "french", "legal", "python"):
        (merges / "models" / name).symlink_to(MODELS / name)
    files = {"detox.yaml": TWELVE, "two.yaml": TWO}
    for name, text in {**files, **{name: file.read_text() for name, file in records.items()}}.items():
        (merges / name).write_text(text)
        os.utime(merges / name, (_WHEN, _WHEN))
    patch.setenv("HOME", str(home))
    patch.setenv("HF_HOME", str(home / "none"))
    patch.setenv("HF_HUB_CACHE", str(home / "none"))
    patch.setenv("XDG_STATE_HOME", str(home / "state"))
    patch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    patch.setattr(keeping, "LOOK_SECONDS", 3600.0)
    patch.setattr(keeping, "AUTOSAVE_SECONDS", 3600.0)
    patch.setenv("TZ", "UTC")
    time.tzset()
    patch.setattr(opening, "ago", lambda seconds: "2 min ago")
    patch.setattr(planned, "free_bytes", lambda path: 42 << 30)
    patch.setattr(listing, "known", lambda: _RUNS)
    patch.setattr(listing, "time", SimpleNamespace(time=lambda: _WHEN))
    patch.setattr(Screen, "_compositor_refresh", _draw_nothing)
    patch.setattr(Input, "_toggle_cursor", lambda self: None)
    patch.setattr(TextArea, "_toggle_cursor_blink_visible", lambda self: None)
    patch.chdir(merges)


def _draw_nothing(screen: Screen[object]) -> None:
    """What a terminal would be sent between two pictures: a third of the time."""
    screen._dirty_widgets.clear()


def app_of(
    recipe: Path | None, mode: str, *, theme: ThemeName, ascii_only: bool, record: Path | None = None
) -> MergegraphApp:
    """The app on a recipe of the stage."""
    workspace = workspace_of(recipe, ascii_only=ascii_only)
    workspace.stats = record
    app = MergegraphApp(workspace, mode=mode, theme=theme)
    app._asked = Asked(threads="2", budget="64MiB")
    return app


@dataclass
class StillRun:
    """A run that is seen at one moment for ever."""

    view: RunView

    def close(self) -> None:
        pass

    def list_finished(self) -> None:
        self.view = replace(self.view, finished=self.view.shown.tensors[:0:-1] if self.view.shown else ())

    def pause_or_go_on(self) -> str:
        return ""

    def stop(self) -> bool:
        return False


def merging(folder: Path) -> StillRun:
    """A merge of models of 1.1 B parameters, half done."""
    return StillRun(_view(folder, _shown(93), None))


def done(folder: Path) -> StillRun:
    shown = _shown(160)
    report = {
        "outputs": [{"node": "out", "path": str(_OUTPUT), "bytes": 2200 * _MIB}], "computed": 201, "seconds": 15.9,
        "write_bytes": 2200 * _MIB, "measured_bytes": 812 * _MIB, "reserved_bytes": 300 * _MIB,
        "budget_bytes": 768 * _MIB,
    }  # fmt: skip
    last = replace(shown.progress, state="done", held_bytes=0)
    return StillRun(_view(folder, replace(shown, progress=last, share=1.0), Done(report)))


def failed(folder: Path) -> StillRun:
    tensor = "model.layers.11.mlp.up_proj.weight"
    problem = Problem(
        f"The tensor {tensor} is not finite.", node="ties", why="17 elements of 11,534,336 are nan",
        fix="look at the model: mergegraph check detox.yaml --values",
    )  # fmt: skip
    return StillRun(_view(folder, _shown(93), Failed((problem,), 1)))


def _view(folder: Path, shown: Shown, end: End | None) -> RunView:
    return RunView((_OUTPUT,), 4711, shown, end, is_stopping=False, graph=_graph(folder), recipe=folder / "detox.yaml")


def _graph(folder: Path) -> DrawnGraph:
    return graph_of(load_recipe(folder / "detox.yaml"))


def _shown(moments: int) -> Shown:
    """After so many looks, ten a second: what a merge of 160 of them would have shown."""
    now = [0.0]
    follower = Follower(lambda: now[0])
    shown = None
    for moment in range(moments):
        now[0] = moment / 10
        shown = follower.observe(_moment(moment))
    assert shown is not None
    return shown


_PARTS = (
    *(f"self_attn.{part}_proj" for part in "qkvo"), *(f"mlp.{part}_proj" for part in ("gate", "up", "down")),
    "input_layernorm", "post_attention_layernorm",
)  # fmt: skip
_WEIGHTS = {"base": 9, "french": 8, "legal": 8, "d_french": 4, "d_legal": 4, "dare": 11, "anti": 2, "ties": 38,
            "scaled": 3, "merged": 3, "soup": 4, "out": 14}  # fmt: skip


def _moment(moment: int) -> Progress:
    wave = (moment * 7919) % 13 / 13  # as uneven as a disk
    done = moment + wave
    tensors = int(done / 160.92 * 201)
    name = f"model.layers.{tensors // 9}.{_PARTS[tensors % 9]}.weight"
    state = "merging" if moment else "starting"
    return Progress(
        state, int(done / 160.92 * 2200) * _MIB, 2200 * _MIB, tensors, 201,
        held_bytes=int(280 + 380 * wave) * _MIB, peak_bytes=681 * _MIB, budget_bytes=768 * _MIB, tensor=name,
        node="ties", seconds=moment / 10,
        node_seconds=tuple((node, weight * done / 540) for node, weight in _WEIGHTS.items()),
        resident_bytes=int(420 + min(moment, 40) * 5 + 170 * wave) * _MIB,
    )  # fmt: skip


def _registered(end: End | None, progress: Progress | None, output: str, seconds_ago: float) -> SimpleNamespace:
    return SimpleNamespace(
        outputs=(Path(output),), arguments=("run", "detox.yaml"), pid=4711, began=_WHEN - seconds_ago,
        folder=Path(output), end=lambda: end, progress=lambda: progress,
    )  # fmt: skip


_RUNS = (
    _registered(Done({}), None, "out/two", 86_400),
    _registered(None, _moment(93), "out/merged", 9),
    _registered(Failed((), 1), None, "out/third", 7_200),
)
