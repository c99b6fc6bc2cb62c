"""What all screens look at: the document, what is known of it, the node that is selected, the run that is followed.

Plain state without Textual, and without what checks and draws, for which the first frame does not wait. Who changes it
tells the app (`MergegraphApp.sync`), which shows it everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.document import Document
from mergegraph_tui.model.graph import DrawnGraph

if TYPE_CHECKING:
    from mergegraph_tui.model.followed import Followed
    from mergegraph_tui.model.loaded import LoadedRecord
    from mergegraph_tui.model.runs import RegisteredRun, Run
    from mergegraph_tui.model.searches import FollowedSearch


@dataclass
class Workspace:
    """`checked` may be about an older text than the document's (its `text` says which); `drawn` is the last good graph.

    `run` is the one that the Run screen shows, and `followed` what is seen of it; `search`: that of the Search screen.
    `stats`: the record that the Stats screen shows, where the user chose.
    """

    document: Document
    checked: Checked = field(default_factory=lambda: Checked(""))
    drawn: DrawnGraph = field(default_factory=DrawnGraph)
    selected: str | None = None
    run: Run | RegisteredRun | None = None
    followed: Followed | None = None
    search: FollowedSearch | None = None
    stats: Path | None = None
    record: LoadedRecord | None = None
    """The record that was read last: the inspector foretells from it."""
    ascii_only: bool = False

    def begin(self, document: Document) -> None:
        """Go on with another recipe; nothing of the old one stays but the run that is followed."""
        self.document, self.checked, self.drawn = document, Checked(""), DrawnGraph()
        self.selected = self.stats = self.record = None

    def take(self, checked: Checked) -> None:
        """A result of the check: the graph is drawn anew where there is one, else the last one stays."""
        from mergegraph_tui.model.sketch import sketch

        self.checked = checked
        self.drawn = sketch(checked) or self.drawn

    @property
    def is_stale(self) -> bool:
        """Whether the graph is of an older text, which could still be read."""
        return self.checked.recipe is None and self.checked.readable is None
