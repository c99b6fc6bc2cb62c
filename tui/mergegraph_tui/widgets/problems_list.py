"""The problems of the recipe, the same that `mergegraph check` prints; one a line, the one under the cursor in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import on
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from mergegraph.errors import Problem, on_one_line, printable
from mergegraph.units import format_count
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.theme import ink

_LONGEST_NAME = 32


class ProblemsList(OptionList):
    """`show` what a check found. Its border title counts."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"problems--{kind}" for kind in ("error", "warning", "fine", "node", "more")
    }
    DEFAULT_CSS = """
    ProblemsList {
        height: auto; max-height: 9; padding: 0 1; background: $background; scrollbar-size: 1 1;
        & .problems--error { color: $error; text-style: bold; }
        & .problems--warning { color: $warning; text-style: bold; }
        & .problems--fine { color: $success; }
        & .problems--node { text-style: bold; }
        & .problems--more { color: $text-muted; }
        & > .option-list--option-highlighted { background: $background; color: $foreground; text-style: none; }
        &:focus > .option-list--option-highlighted { background: $boost; color: $foreground; text-style: none; }
    }
    """

    class Chosen(Message):
        """Enter or a click on a problem."""

        def __init__(self, problems: ProblemsList, problem: Problem) -> None:
            self.problems, self.problem = problems, problem
            super().__init__()

        @property
        def control(self) -> ProblemsList:
            return self.problems

    def __init__(self, *, ascii_only: bool = False, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes, markup=False)
        self._glyphs = glyphs_of(ascii_only=ascii_only)
        self._problems: Sequence[Problem] | None = None
        self._opened: int | None = None
        self.border_title = "Problems"

    def show(self, checked: Checked) -> None:
        """Show what was found; a list that stays the same keeps its cursor."""
        if self._problems == checked.problems and (checked.problems or self._problems is not None):
            if not checked.problems:
                self._show_fine(checked)
            return
        self._problems, self._opened = checked.problems, None
        self.border_title = _title(checked)
        if checked.problems:
            self.set_options(Option(self._line(problem)) for problem in checked.problems)
        else:
            self._show_fine(checked)

    def step(self, by: int) -> None:
        """Choose the next problem, or the one before; after the last comes the first."""
        if self._problems:
            now = self.highlighted
            count = len(self._problems)
            self.highlighted = (0 if by > 0 else count - 1) if now is None else (now + by) % count
            self.post_message(self.Chosen(self, self._problems[self.highlighted]))

    @on(OptionList.OptionHighlighted)
    def open_one(self, event: OptionList.OptionHighlighted) -> None:
        """All of the problem under the cursor, the first line of the others."""
        event.stop()
        problems = self._problems or ()
        for index, write in ((self._opened, self._line), (event.option_index, self._whole)):
            if index is not None and index < len(problems):
                self.replace_option_prompt_at_index(index, write(problems[index]))
        self._opened = event.option_index

    @on(OptionList.OptionSelected)
    def choose(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if self._problems and event.option_index < len(self._problems):
            self.post_message(self.Chosen(self, self._problems[event.option_index]))

    def _show_fine(self, checked: Checked) -> None:
        counts = checked.counts
        said = [(counts.nodes, "node"), (counts.models, "model"), (counts.tensors, "tensor")]
        what = ", ".join(format_count(count, noun) for count, noun in said)
        text = f"{self._glyphs.marks['done']} fine ({what})" if checked.recipe is not None else "checking"
        style = self._style("fine" if checked.recipe is not None else "more")
        self.set_options([Option(Text(text, style, no_wrap=True, overflow="ellipsis"), disabled=True)])

    def _line(self, problem: Problem) -> Text:
        """The problem on one line."""
        line = self._head(problem)
        line.append(f"  {on_one_line(problem.fix)}" if problem.fix else "", self._style("more"))
        line.no_wrap, line.overflow = True, "ellipsis"
        return line

    def _whole(self, problem: Problem) -> Text:
        """The problem as the command prints it."""
        lines = [self._head(problem)]
        for label, said in (("why", problem.why), ("fix", problem.fix)):
            if said:
                lines.append(Text(f"  {label}  {printable(said)}", self._style("more")))
        return Text("\n").join(lines)

    def _head(self, problem: Problem) -> Text:
        line = f"line {problem.at.line}" if problem.at is not None and problem.at.line else ""
        place = ", ".join(part for part in (line, problem.tensor, problem.model) if part)
        return Text.assemble(
            (f"{self._glyphs.marks[problem.severity]} ", self._style(problem.severity)),
            (f"{self._short(problem.node)}  " if problem.node else "", self._style("node")),
            on_one_line(problem.fact),
            (f"   {on_one_line(place)}" if place else "", self._style("more")),
        )

    def _short(self, node: str) -> str:
        return "".join(self._glyphs.fitted(on_one_line(node), _LONGEST_NAME))

    def _style(self, kind: str) -> Style:
        return ink(self, f"problems--{kind}")


def _title(checked: Checked) -> str:
    if not checked.problems:
        return "Problems"
    errors, warnings = len(checked.errors), len(checked.warnings)
    return f"Problems  {format_count(errors, 'error')}, {format_count(warnings, 'warning')}"
