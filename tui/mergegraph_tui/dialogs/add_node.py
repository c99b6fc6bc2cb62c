"""The picker of new nodes: operations that take the selected node first, a formula as it is typed, models by name."""

from __future__ import annotations

from collections.abc import Sequence

from mergegraph_tui.dialogs.pick import Choice, PickDialog
from mergegraph_tui.model.checked import Checked
from mergegraph_tui.model.glyphs import glyphs_of
from mergegraph_tui.model.offers import Offer, offers
from mergegraph_tui.model.shelf import Shelved


class AddNode(PickDialog[Offer]):
    """`after`: the node that the new one reads, or "". Gives what was picked. `models` may come late: then `refill`."""

    def __init__(self, checked: Checked, after: str, title: str, *, ascii_only: bool) -> None:
        super().__init__(
            title,
            self._offered,
            placeholder="an operation, a model, or a formula such as base + 0.6*(code - base)",
            empty="nothing is called so; a formula names nodes of the recipe",
            ascii_only=ascii_only,
            takes_refused=True,
        )
        self._checked, self._after = checked, after
        self._glyphs = glyphs_of(ascii_only=ascii_only)
        self.models: Sequence[Shelved] = ()

    def _offered(self, typed: str) -> Sequence[Choice[Offer]]:
        return [self._choice(offer) for offer in offers(self._checked, self._after, typed, self.models)]

    def _choice(self, offer: Offer) -> Choice[Offer]:
        icons = self._glyphs.icons
        icon = {"op": icons.get(offer.text, icons["merge"]), "formula": icons["expression"], "model": icons["source"]}
        refused = ""
        if not offer.fits and offer.takes != "-":
            refused = f"takes {offer.takes}, not {self._after}" if self._after else f"takes {offer.takes}"
            refused += ": it is added without a wire"
        gives = f"gives {offer.gives}" if offer.gives else ""
        return Choice(offer, offer.label, offer.note, gives, (icon[offer.kind], "merge"), refused)
