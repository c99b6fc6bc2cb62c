"""The merge methods of mergekit 0.1.5: what each reads, what it takes where nothing is given, what its base is.

Found by running it. A parameter that a method does not read changes nothing there, wherever it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Base(Enum):
    """What `base_model` is to a method."""

    NEEDED = "the model the others are compared with; there must be one"
    FOR_DELTAS = "where it is given, the method works on the differences from it"
    ANOTHER_INPUT = "one more input like the others"
    FILES_ONLY = "the model whose config and tokenizer are used, and no input"


REQUIRED = None
"""The default of a parameter that must be given."""

Default = float | bool | None


@dataclass(frozen=True, slots=True)
class Signature:
    """`per_model` parameters may be given anywhere, `shared` ones only for a slice or the whole merge.

    `inputs`: how many models it takes, the fewest and the most; they count the base where `counts_base`.
    """

    per_model: Mapping[str, Default]
    shared: Mapping[str, Default]
    base: Base
    inputs: tuple[int, int] = (1, 10_000)
    counts_base: bool = False


def _signature(
    per_model: Mapping[str, Default],
    shared: Mapping[str, Default],
    base: Base,
    inputs: tuple[int, int] = (1, 10_000),
    *,
    counts_base: bool = False,
) -> Signature:
    return Signature(MappingProxyType(dict(per_model)), MappingProxyType(dict(shared)), base, inputs, counts_base)


_WEIGHT: dict[str, Default] = {"weight": REQUIRED}
_SPARSE: dict[str, Default] = {**_WEIGHT, "density": 1.0}
_BREADCRUMBS: dict[str, Default] = {**_SPARSE, "gamma": 0.01}
_DELLA: dict[str, Default] = {**_SPARSE, "epsilon": 0.15}
_SUMMED: dict[str, Default] = {"normalize": False, "lambda": 1.0}
_AVERAGED: dict[str, Default] = {"normalize": True, "lambda": 1.0}
_RAM: dict[str, Default] = {"epsilon": 1e-5}
_TWO = (2, 2)

SIGNATURES: Mapping[str, Signature] = MappingProxyType(
    {
        "linear": _signature(_WEIGHT, {"normalize": True}, Base.ANOTHER_INPUT),
        "slerp": _signature({}, {"t": REQUIRED}, Base.NEEDED, _TWO, counts_base=True),
        "nuslerp": _signature(_WEIGHT, {"nuslerp_flatten": True, "nuslerp_row_wise": False}, Base.FOR_DELTAS, _TWO),
        "multislerp": _signature(_WEIGHT, {"normalize_weights": True, "eps": 1e-8}, Base.FOR_DELTAS),
        "karcher": _signature({}, {"max_iter": 10.0, "tol": 1e-5}, Base.ANOTHER_INPUT),
        "task_arithmetic": _signature(_WEIGHT, _SUMMED, Base.NEEDED),
        "ties": _signature(_SPARSE, {**_AVERAGED, "rescale": False}, Base.NEEDED),
        "dare_ties": _signature(_SPARSE, {**_SUMMED, "rescale": True}, Base.NEEDED),
        "dare_linear": _signature(_SPARSE, {**_SUMMED, "rescale": True}, Base.NEEDED),
        "della": _signature(_DELLA, {**_AVERAGED, "rescale": True}, Base.NEEDED),
        "della_linear": _signature(_DELLA, {**_SUMMED, "rescale": True}, Base.NEEDED),
        "breadcrumbs": _signature(_BREADCRUMBS, {**_SUMMED, "rescale": False}, Base.NEEDED),
        "breadcrumbs_ties": _signature(_BREADCRUMBS, {**_SUMMED, "rescale": False}, Base.NEEDED),
        "sce": _signature({}, {"select_topk": 1.0}, Base.NEEDED),
        "model_stock": _signature({}, {"filter_wise": False}, Base.NEEDED, (2, 10_000)),
        "nearswap": _signature({}, {"t": REQUIRED}, Base.NEEDED, _TWO, counts_base=True),
        "arcee_fusion": _signature({}, {}, Base.NEEDED, _TWO, counts_base=True),
        "ram": _signature({}, _RAM, Base.NEEDED),
        "ramplus_tl": _signature({}, {**_RAM, "r": 0.1, "alpha": 0.2}, Base.NEEDED),
        "passthrough": _signature({"scale": 1.0}, {}, Base.FILES_ONLY, (1, 1)),
    }
)

KNOWN_PARAMETERS = frozenset(
    name for signature in SIGNATURES.values() for name in (*signature.per_model, *signature.shared)
)

MASK_STORAGE = "int8_mask"
"""How mergekit holds a mask in memory; the result does not depend on it."""
