"""The form of a node: made from its operation, filled in by key, with its problems and what its schedules come to."""

from __future__ import annotations

from pathlib import Path

from mergegraph_tui.app import MergegraphApp
from mergegraph_tui.dialogs.pick import PickDialog
from mergegraph_tui.model.records import measured_file
from mergegraph_tui.starting import workspace_of
from mergegraph_tui.widgets.form_view import FormView
from mergegraph_tui.widgets.inspector import FieldInput
from mergegraph_tui.widgets.preview import PreviewPanel
from textual.pilot import Pilot

from tests.tui.app.piloting import drive, press, until
from tests.tui.app.test_building import select

SCHEDULED = """  d: {op: delta, model: code, base: base}
  thin: {op: dare, input: d, density: [{layers: "0:2", value: 0.2}, {value: 0.5}]}
  both: {op: sum, inputs: [base, thin]}
  other: {op: save, input: both, path: out/other}
"""


def shown(app: MergegraphApp) -> str:
    rows = app.screen.query_one(FormView).painted_rows()
    return "\n".join("".join(cell.glyph for cell in row).rstrip() for row in rows)


def test_a_formula_is_typed_and_a_problem_stands_below_it(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await select(app, pilot, "merged")
        await press(app, pilot, "enter")
        line = app.screen.query_one(FieldInput)
        assert (line.has_focus, line.value) == (True, "base + 0.6*(code - base)")
        await press(app, pilot, "end", "+", "enter")
        assert line.has_class("-typing"), "what cannot be read stays open"
        assert "✗" in shown(app)
        assert app.workspace.document.text == recipe.read_text()
        await press(app, pilot, "backspace", *"+code", "enter")
        assert app.workspace.document.can_undo == "set merged.expression"
        assert "merged: base + 0.6*(code - base)+code\n" in app.workspace.document.text
        await press(app, pilot, "escape", "u")
        assert app.workspace.document.text == recipe.read_text()

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_fields_one_after_the_other_choices_and_clearing(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        text = app.workspace.document
        await select(app, pilot, "out")
        await press(app, pilot, "enter", *"out/new", "tab")
        assert "path: out/new" in text.text
        form = app.screen.query_one(FormView)
        assert (form.field and form.field.label, app.screen.query_one(FieldInput).has_focus) == ("dtype", True)
        await press(app, pilot, *"bfloat16", "enter")
        assert "dtype: bfloat16" in text.text
        await press(app, pilot, "d")
        assert text.can_undo == "clear out.dtype"
        assert "dtype" not in text.text
        form.move_to([field.label for field in form.fields].index("format"))
        await press(app, pilot, "right")
        assert "format: delta" in text.text
        form.move_to([field.label for field in form.fields].index("input"))
        await press(app, pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, PickDialog))
        assert isinstance(app.screen, PickDialog)
        assert {choice.label: bool(choice.refused) for choice in app.screen.found} == {
            "base": False, "code": False, "merged": False,
        }  # fmt: skip
        await press(app, pilot, *"code", "enter")
        assert "input: code" in text.text
        await press(app, pilot, "escape", *"uuuuu")
        assert text.text == recipe.read_text()

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_one_click_chooses_a_field_and_a_second_edits_it(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await select(app, pilot, "out")
        form, line = app.screen.query_one(FormView), app.screen.query_one(FieldInput)

        def place(label: str) -> tuple[int, int]:
            owner = str([field.label for field in form.fields].index(label))
            return 4, next(y for y in range(form.size.height) if form.owner_at(y) == owner)

        await pilot.hover(FormView, offset=place("dtype"))
        assert form.is_lit(form.owner_at(place("dtype")[1]) or "")
        await pilot.click(FormView, offset=place("dtype"))
        assert (form.field and form.field.label, form.has_focus, line.has_focus) == ("dtype", True, False)
        await pilot.click(FormView, offset=place("path"))
        assert not line.has_focus, "the first click on another one chooses it"
        await pilot.click(FormView, offset=place("path"))
        assert (line.has_focus, line.value) == (True, "out/merged")
        await pilot.press("end", *"-2")
        await pilot.click(FormView, offset=place("input"), times=2)
        await until(pilot, lambda: isinstance(app.screen, PickDialog) and app.screen.title_text() == "out: input")
        assert "path: out/merged-2" in app.workspace.document.text, "who clicks elsewhere means what was typed"
        await press(app, pilot, "escape")
        await pilot.click(FormView, offset=place("name"), times=2)
        await press(app, pilot, "end", "2", "enter")
        assert app.workspace.document.can_undo == "rename out to out2"
        assert app.workspace.selected == "out2"
        await pilot.hover("GraphCanvas", offset=(0, 0))
        assert not any(form.is_lit(str(index)) for index in range(len(form.fields)))

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_a_schedule_shows_its_rules_and_its_layers_and_takes_another_rule(recipe: Path) -> None:
    recipe.write_text(recipe.read_text() + SCHEDULED)

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        await select(app, pilot, "thin")
        assert "layers: 0:2  18 tensors" in shown(app)
        assert "all others  20 tensors" in shown(app)
        assert "layer 0-1    0.2" in shown(app)
        assert "tensors  38" in shown(app)
        form = app.screen.query_one(FormView)
        form.focus()
        form.move_to([field.kind for field in form.fields].index("rule"))
        await press(app, pilot, "plus", *"kind: norm", "enter")
        assert app.screen.query_one(FieldInput).has_class("-typing"), "a rule says its value"
        await press(app, pilot, *", value: 1", "enter")
        assert app.workspace.document.can_undo.startswith("a rule of thin")
        assert "kind: norm" in shown(app)
        await press(app, pilot, "enter", *"0.25", "enter")
        assert "▶" in shown(app), "the cursor is seen after what was typed is taken"
        assert "{kind: norm, value: 0.25}" in app.workspace.document.text

    drive(MergegraphApp(workspace_of(recipe)), act)


def test_what_is_typed_is_foretold_from_the_record_with_every_key(two_tuned: Path, record_file: Path) -> None:
    two_tuned.write_text(
        two_tuned.read_text()
        .replace("base + 0.6*(code - base)", "base + half")
        .replace(
            "nodes:",
            "nodes:\n  d: code - base\n  half: {op: scale, input: d, by: [{kind: mlp, value: 1}, {value: 0.2}]}",
        )
    )

    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        panel = app.screen.query_one(PreviewPanel)
        await select(app, pilot, "merged")
        await press(app, pilot, "enter")
        await until(pilot, lambda: "no statistics" in panel.text)
        assert panel.display
        await press(app, pilot, "escape", "escape")
        assert not panel.display
        file = measured_file(app.workspace.document)
        file.parent.mkdir(parents=True)
        file.write_bytes(record_file.read_bytes())

        await press(app, pilot, "enter")
        await until(pilot, lambda: "kept of code" in panel.text)
        before = row(panel, "kept of french")
        assert before[0] == before[1]
        await press(app, pilot, "end", *["left"] * len("*(french - base)"), "backspace", "9")
        await until(pilot, lambda: row(panel, "kept of french")[1] != before[1])
        assert row(panel, "kept of french")[0] == before[0]
        assert float(row(panel, "kept of french")[1]) > float(before[1])
        assert app.workspace.document.text == two_tuned.read_text(), "nothing is written yet"
        await press(app, pilot, "+")
        await until(pilot, lambda: "not foretold" in panel.text)
        await press(app, pilot, "escape", "escape")

        await select(app, pilot, "half")
        form = app.screen.query_one(FormView)
        form.focus()
        form.move_to([field.kind for field in form.fields].index("rule"))
        await press(app, pilot, "enter", *"0.2")
        await until(pilot, lambda: "kept of code" in panel.text and row(panel, "cast loss")[0] != "0")
        await until(pilot, lambda: row(panel, "kept of code")[0] != row(panel, "kept of code")[1])
        await press(app, pilot, "enter")
        assert not panel.display
        assert "{kind: mlp, value: 0.2}" in app.workspace.document.text

    drive(MergegraphApp(workspace_of(two_tuned)), act)


def row(panel: PreviewPanel, label: str) -> tuple[str, str]:
    """Now and then."""
    found = next((line.split() for line in panel.text.splitlines() if line.startswith(label)), ["", ""])
    return found[-2], found[-1]


def test_the_text_takes_the_place_of_the_form_where_there_is_no_room(recipe: Path) -> None:
    async def act(app: MergegraphApp, pilot: Pilot[int]) -> None:
        yaml, node = app.screen.query_one("#yaml"), app.screen.query_one("#node")
        assert (yaml.display, node.display) == (False, True)
        await press(app, pilot, "y")
        assert (yaml.display, node.display) == (True, False)
        app.screen.query_one("GraphCanvas").focus()
        await press(app, pilot, "enter")
        assert (yaml.display, node.display) == (False, True), "the form is wanted"

    drive(MergegraphApp(workspace_of(recipe)), act, size=(80, 24))

    async def wide(app: MergegraphApp, pilot: Pilot[int]) -> None:
        assert all(app.screen.query_one(each).display for each in ("#yaml", "#node", "#graph"))

    drive(MergegraphApp(workspace_of(recipe)), wide, size=(200, 50))
