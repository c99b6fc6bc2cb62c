"""The greedy soup, which is never below its best single model on the selection split.

Candidates in the order of their own scores; each is added to the average where that is not worse
(Wortsman et al., "Model soups", ICML 2022, arXiv 2203.05482, recipe 1). A candidate made from the running average is
only a proposal: it is accepted by the score of its own recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mergegraph.search.candidates import Asking, Candidate, Chosen, Decision, Spent
from mergegraph.search.outcome import Outcome
from mergegraph.search.scoring import Rule

SoupOf = Callable[[tuple[str, ...]], Candidate]


def greedy_soup(names: Sequence[str], soup_of: SoupOf, asking: Asking, rule: Rule, *, refine: bool = False) -> Chosen:
    """The soup that grows one model at a time."""
    search = _Greedy(soup_of, asking, rule)
    ended = ""
    try:
        search.start(names)
        search.grow()
        if refine:
            search.drop()
    except Spent as spent:
        ended = str(spent)
    if search.best is None:
        return Chosen(None, None, ended)
    return Chosen(soup_of(search.members), search.best, ended)


class _Greedy:
    """The soup so far: `members` in the order they came in, and its outcome."""

    def __init__(self, soup_of: SoupOf, asking: Asking, rule: Rule) -> None:
        self.soup_of, self.asking, self.rule = soup_of, asking, rule
        self.members: tuple[str, ...] = ()
        self.best: Outcome | None = None
        self.ranked: list[str] = []

    def start(self, names: Sequence[str]) -> None:
        """Evaluate every model alone; the best is the first member, also where the limits end it here."""
        singles: dict[str, Outcome] = {}
        try:
            for name in names:
                singles[name] = self.asking.outcome(self.soup_of((name,)))
        except Spent:
            self._rank(singles)
            raise
        self._rank(singles)

    def _rank(self, singles: dict[str, Outcome]) -> None:
        able = {name: each for name, each in singles.items() if not each.rejected}
        self.ranked = sorted(able, key=lambda name: -self.rule.score(able[name]))
        fit = [name for name in self.ranked if not self.rule.below_floor(able[name])]
        if fit:
            self.members, self.best = (fit[0],), able[fit[0]]
            self._decided(self.members, True, "the best single model", None)

    def grow(self) -> None:
        for name in self.ranked:
            if self.best is not None and name not in self.members:
                self._try((*self.members, name))

    def drop(self) -> None:
        """Leave out the member without which the score is best, as long as that makes it better."""
        while len(self.members) > 2:
            best = max(self._without(), key=lambda found: found[1], default=None)
            if best is None or not self._accept(best[0], best[2], strictly=True):
                return

    def _without(self) -> list[tuple[tuple[str, ...], float, Outcome]]:
        found: list[tuple[tuple[str, ...], float, Outcome]] = []
        for name in self.members:
            rest = tuple(other for other in self.members if other != name)
            outcome = self.asking.outcome(self.soup_of(rest))
            if not outcome.rejected and not self.rule.below_floor(outcome):
                found.append((rest, self.rule.score(outcome), outcome))
        return found

    def _try(self, members: tuple[str, ...]) -> None:
        candidate = self.soup_of(members)
        proposed = self.asking.outcome(candidate, cheap=True)
        assert self.best is not None
        if proposed.rejected:
            return
        verdict = self.rule.compare(proposed, self.best)
        if not verdict.accepted:
            self._decided(members, False, verdict.why, verdict.gain, verdict.error)
        elif candidate.grown is None:
            self._accept(members, proposed)
        else:
            shipped = self.asking.outcome(candidate)
            if not shipped.rejected:
                self._accept(members, shipped)

    def _accept(self, members: tuple[str, ...], outcome: Outcome, *, strictly: bool = False) -> bool:
        """Take `members` where their outcome passes the rule."""
        assert self.best is not None
        verdict = self.rule.compare(outcome, self.best)
        accepted = verdict.accepted and (verdict.gain > 0 or not strictly)
        if accepted:
            self.members, self.best = members, outcome
        self._decided(members, accepted, verdict.why, verdict.gain, verdict.error)
        return accepted

    def _decided(
        self, members: tuple[str, ...], accepted: bool, why: str, gain: float | None, error: float | None = None
    ) -> None:
        assert self.best is not None
        label = self.soup_of(members).label
        self.asking.decide(Decision(label, accepted, why, self.rule.score(self.best), gain, error))
