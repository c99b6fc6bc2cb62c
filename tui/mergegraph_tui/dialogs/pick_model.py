"""The picker of models: what lies near the recipe and in the Hub's cache, or any path that is typed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textual.widgets import Input

from mergegraph.units import format_bytes
from mergegraph_tui.dialogs.pick import Choice, PickDialog
from mergegraph_tui.model.files import typed_path
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.shelf import Shelved, badge, distance, is_model, matching, one_model

_MOST = 200


class PickModel(PickDialog[Shelved]):
    """Gives a model. `recipe`: those that it loads already, for the badges; `adapters`: whether these are wanted."""

    def __init__(
        self,
        title: str,
        folder: Path,
        recipe: Sequence[tuple[str, Shelved]] = (),
        *,
        adapters: bool = False,
        ascii_only: bool = False,
    ) -> None:
        super().__init__(
            title,
            self._offered,
            placeholder="a name, or a path",
            empty="no model is called so here; type a path, ./models/ or ~/",
            ascii_only=ascii_only,
            takes_refused=True,
        )
        self._folder, self._recipe, self._adapters = folder, recipe, adapters
        self._glyphs = glyphs_of(ascii_only=ascii_only)
        self.models: Sequence[Shelved] = ()

    def _offered(self, typed: str) -> Sequence[Choice[Shelved]]:
        found = matching(self.models, typed)
        if typed.startswith((".", "/", "~")):
            near = {model.path for model in found}
            found += [model for model in self._below(typed) if model.path not in near]
        wanted = sorted(found, key=lambda model: (model.is_adapter != self._adapters, distance(model, self._recipe)))
        return [self._choice(model) for model in wanted[:_MOST]]

    def _below(self, typed: str) -> list[Shelved]:
        """The folders and files that a path which is being typed may mean."""
        try:
            path = typed_path(typed, self._folder)
            around, start = (path, "") if typed.endswith("/") else (path.parent, path.name)
            inside = [each for each in sorted(around.iterdir()) if each.name.startswith(start)]
            shown = [each for each in inside if start or not each.name.startswith(".")][:_MOST]
            return [one_model(each, self._folder) for each in shown if each.suffix == ".safetensors" or each.is_dir()]
        except (OSError, ValueError):
            return []

    def _choice(self, model: Shelved) -> Choice[Shelved]:
        is_plain = not model.file_bytes and not model.is_adapter
        note = f"{model.reference}  {model.architecture}".rstrip()
        said = "a folder: enter opens it" if is_plain else badge(model, self._recipe)
        if model.source == "hub":
            note = f"Hub cache  {model.architecture}".rstrip()
        end = said or (format_bytes(model.file_bytes) if model.file_bytes else "")
        icon = self._glyphs.icons["delta" if model.is_adapter else "source"]
        return Choice(model, model.name, note, end, (" " if is_plain else icon, "source"))

    def _take(self) -> None:
        """A folder that is no model is opened."""
        choice = self.marked
        if choice is not None and not is_model(choice.value.path) and choice.value.path.is_dir():
            field = self.query_one(Input)
            field.value = f"{choice.value.reference}/"
            field.cursor_position = len(field.value)
            return
        super()._take()
