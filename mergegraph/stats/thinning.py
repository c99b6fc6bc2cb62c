"""Metrics of what a recipe takes from its sources: mass that is trimmed or loses an election, noise of dropping."""

from __future__ import annotations

import math

from mergegraph.stats.at import At, NoValue, changed
from mergegraph.stats.record import Forecast, Mass, Thinned


def trim_loss(at: At) -> float:
    return _lost(_of(at).trim, "the recipe does not trim it")


def election_loss(at: At) -> float:
    return _lost(_of(at).election, "no election has it among its inputs")


def drop_variance(at: At) -> float:
    found = _forecast(at)
    return found.variance / changed(found.energy)


def drop_error(at: At) -> float:
    found = _forecast(at)
    return math.sqrt(found.error / changed(found.energy))


def _of(at: At) -> Thinned:
    if not at.tensor.thinned:
        raise NoValue("nothing is taken from it")
    return at.tensor.thinned[at.i]


def _lost(mass: Mass | None, reason: str) -> float:
    if mass is None:
        raise NoValue(reason)
    return min(max(1.0 - mass.after / changed(mass.before), 0.0), 1.0)


def _forecast(at: At) -> Forecast:
    found = _of(at).drop
    if found is None:
        raise NoValue("no one step drops elements of it")
    return found
