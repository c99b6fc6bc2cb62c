"""Each merge method of mergekit as nodes of a recipe, its defaults written out.

An input is a node with the parameters given to it; what differs from mergekit, or is a fault of it, is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType

from mergegraph.mergekit.merging import Merging
from mergegraph.mergekit.parameters import constant, is_one
from mergegraph.mergekit.signatures import SIGNATURES
from mergegraph.mergekit.writing import Noted, Tree

_L1 = "mergekit keeps the L1 norm of each tensor, where the paper has `expected`"


def emit(merging: Merging) -> str:
    """Add the nodes of a merge; the name of the last."""
    return _METHODS[merging.method](merging)


def _linear(merging: Merging) -> str:
    fields: dict[str, Tree] = {"op": "soup", "inputs": merging.weighted(merging.models())}
    return merging.finish(fields | _normalized(merging))


def _slerp(merging: Merging) -> str:
    return _between(merging, {"op": "slerp"}, {"t": merging.shared("t")})


def _nearswap(merging: Merging) -> str:
    return _between(merging, {"op": "nearswap"}, {"t": merging.shared("t")})


def _arcee_fusion(merging: Merging) -> str:
    return _between(merging, {"op": "arcee_fusion"}, {})


def _between(merging: Merging, op: Mapping[str, Tree], more: Mapping[str, Tree]) -> str:
    """From the base (a) to the other model (b)."""
    return merging.finish({**op, "a": merging.base_node(), "b": merging.models()[0], **more})


def _nuslerp(merging: Merging) -> str:
    axis: Tree = "tensor"
    if not merging.flag("nuslerp_flatten"):
        # mergekit's row_wise runs each angle down a column of the matrix, over its first dimension.
        row_wise = merging.flag("nuslerp_row_wise")
        axis = (
            Noted("column", "nuslerp_row_wise: mergekit's word for it", merging.scope.at_of("nuslerp_row_wise"))
            if row_wise
            else "row"
        )
    return _on_sphere(merging, "nuslerp", {"axis": axis})


def _multislerp(merging: Merging) -> str:
    result = _on_sphere(merging, "multislerp", {}) if merging.flag("normalize_weights") else _unnormalized(merging)
    if merging.number("eps") != SIGNATURES["multislerp"].shared["eps"]:
        fix = "delete it: inputs that cancel out are an error here"
        merging.scope.findings.error('"eps" of multislerp has no counterpart.', merging.scope.at_of("eps"), fix)
    return result


def _on_sphere(merging: Merging, op: str, more: Mapping[str, Tree]) -> str:
    """Between models; with a base between what they have beyond it."""
    fields: dict[str, Tree] = {"op": op, "inputs": merging.weighted(merging.models())}
    if merging.base is None:
        return merging.finish({**fields, **more})
    return merging.onto_base(merging.add("turned", {**fields, "base": merging.base_node(), **more}))


def _unnormalized(merging: Merging) -> str:
    """Weights that are not normalised make the result longer by their sum."""
    weights = [constant(merging.own("weight", operand)) for operand in merging.inputs]
    known = [weight for weight in weights if weight is not None]
    if len(known) != len(weights):
        fact = "`normalize_weights: false` with weights that differ from tensor to tensor cannot be imported."
        fix = "give each model one weight"
        merging.scope.findings.error(fact, merging.scope.at_of("normalize_weights"), fix)
    fields: dict[str, Tree] = {"op": "multislerp", "inputs": merging.weighted(merging.models())}
    if merging.base is not None:
        fields["base"] = merging.base_node()
    by = Noted(_decimal_sum(known), "normalize_weights: false: times the sum of the weights", merging.scope.at)
    longer: dict[str, Tree] = {"op": "scale", "input": merging.add("turned", fields), "by": by}
    return merging.finish(longer) if merging.base is None else merging.onto_base(merging.add("longer", longer))


def _decimal_sum(numbers: Sequence[float]) -> float:
    """The sum of the decimals that were written: 0.2 + 0.1 is 0.3."""
    return float(sum((Fraction(repr(number)) for number in numbers), Fraction(0)))


def _karcher(merging: Merging) -> str:
    shared: dict[str, Tree] = {"max_iter": int(merging.number("max_iter")), "tol": merging.number("tol")}
    return merging.finish({"op": "karcher", "inputs": _inputs(merging), **shared})


def _inputs(merging: Merging) -> list[Tree]:
    return [Noted(operand.node, "", operand.at) for operand in merging.inputs]


def _task_arithmetic(merging: Merging) -> str:
    return merging.onto_base(_summed(merging, merging.deltas()))


def _summed(merging: Merging, deltas: Sequence[str]) -> str:
    fields: dict[str, Tree] = {"op": "soup", "inputs": merging.weighted(deltas)}
    return merging.add("tasks", fields | _normalized(merging))


def _normalized(merging: Merging) -> dict[str, Tree]:
    return {"normalize": Noted(merging.flag("normalize"), "", merging.scope.at_of("normalize"))}


def _elected(merging: Merging, deltas: Sequence[str]) -> str:
    fields: dict[str, Tree] = {"op": "elect", "inputs": merging.weighted(deltas)}
    return merging.add("agreed", fields | _election(merging))


def _election(merging: Merging) -> dict[str, Tree]:
    combine = "mean" if merging.flag("normalize") else "sum"
    note = f"normalize: {str(merging.flag('normalize')).lower()}"
    return {"sign": "mass", "vote": "weighted", "combine": Noted(combine, note, merging.scope.at_of("normalize"))}


def _ties(merging: Merging) -> str:
    fields: dict[str, Tree] = {"op": "ties", "inputs": merging.weighted(merging.models(), "density")}
    fields |= {"base": merging.base_node(), "scope": "tensor", **_election(merging)}
    fields["rescale"] = "l1" if merging.flag("rescale") else "none"
    return merging.onto_base(merging.add("agreed", fields))


def _pruned(merging: Merging, op: str, more: Sequence[str], options: Mapping[str, Tree]) -> list[str]:
    """Each model's delta with elements dropped; a density of 1 drops none. `more`: what else a model is given."""
    base = merging.base_node()
    rescale = "l1" if merging.flag("rescale") else "none"
    pruned: list[str] = []
    for operand in merging.inputs:
        density = merging.own("density", operand)
        kept = constant(density)
        if kept is not None and kept >= 1:
            pruned.append(merging.nodes.delta(operand.node, base, operand.at))
            continue
        if kept is not None and kept <= 0:
            # An op may refuse it, as della does; in mergekit the model takes part with zeros.
            nothing: dict[str, Tree] = {
                "op": "scale",
                "input": merging.nodes.delta(operand.node, base, operand.at),
                "by": Noted(0.0, f"a density of {kept:g} keeps nothing", operand.at),
            }
            pruned.append(merging.nodes.add(f"nothing_of_{operand.node}", nothing, operand.at))
            continue
        fields: dict[str, Tree] = {"op": op, "input": operand.node, "base": base, "density": density}
        fields |= {name: merging.own(name, operand) for name in more}
        # The difference from the papers is said once, at the first node that has it.
        note = _L1 if rescale == "l1" and op != "outliers" and not any(name.startswith(op) for name in pruned) else ""
        fields |= {**options, "rescale": Noted(rescale, note, merging.scope.at_of("rescale"))}
        pruned.append(merging.nodes.add(f"{op}_{operand.node}", fields, operand.at))
    return pruned


def _sparse(op: str, more: Sequence[str], options: Mapping[str, Tree], *, elects: bool) -> Callable[[Merging], str]:
    """A method that prunes every delta, then elects or adds up."""
    combine = _elected if elects else _summed

    def method(merging: Merging) -> str:
        return merging.onto_base(combine(merging, _pruned(merging, op, more, options)))

    return method


def _sce(merging: Merging) -> str:
    merging.scope.findings.warning(
        "sce weighs models by the size of their deltas in every tensor, however small.",
        merging.scope.at,
        "docs/mergekit.md lists the differences that are kept on purpose",
        "mergekit weighs them alike where the mean squares of the selected deltas add up to less than 1e-6: "
        "in tensors that a fine-tune moves by less than about 1e-3",
    )
    fields: dict[str, Tree] = {"op": "sce", "inputs": _inputs(merging), "base": merging.base_node()}
    return merging.onto_base(merging.add("fused", {**fields, "select_topk": merging.shared("select_topk")}))


def _model_stock(merging: Merging) -> str:
    merging.scope.findings.warning(
        "model_stock measures the angle between deltas in every tensor, however small.",
        merging.scope.at,
        "docs/mergekit.md lists the differences that are kept on purpose",
        "mergekit divides by max(|d_i| |d_j|, 1e-6), and so stays nearer to the base where the norms of the deltas "
        f"of a {'row' if merging.flag('filter_wise') else 'tensor'} are below about 1e-3",
    )
    fields: dict[str, Tree] = {"op": "model_stock", "inputs": _inputs(merging), "base": merging.base_node()}
    return merging.finish({**fields, "axis": "row" if merging.flag("filter_wise") else "tensor", "clamp": False})


def _ram(merging: Merging) -> str:
    return _by_overlap(merging, "ram", ())


def _ram_plus(merging: Merging) -> str:
    return _by_overlap(merging, "ram_plus", ("r", "alpha"))


def _by_overlap(merging: Merging, op: str, more: Sequence[str]) -> str:
    at = merging.scope.at_of("epsilon")
    fields: dict[str, Tree] = {"op": op, "inputs": _inputs(merging), "base": merging.base_node()}
    fields |= {name: merging.number(name) for name in ("epsilon", *more)}
    if merging.scope.fix:
        fields["relative"] = Noted(True, "epsilon times the rms of the delta", at)
    else:
        fields["relative"] = Noted(False, "mergekit's epsilon is absolute: a small learning rate leaves nothing", at)
        fact = f"The epsilon of {merging.method} is absolute: a delta smaller than it everywhere is dropped."
        fix = "--fix-known-faults makes it relative to the size of each delta"
        merging.scope.findings.warning(fact, at, fix)
    return merging.onto_base(merging.add("joined", fields))


def _passthrough(merging: Merging) -> str:
    (operand,) = merging.inputs
    by = merging.own("scale", operand)
    if is_one(by, 1.0):
        return operand.node
    return merging.finish({"op": "scale", "input": operand.node, "by": by})


_DELLA: Mapping[str, Tree] = MappingProxyType({"axis": "row"})
_OUTLIERS: Mapping[str, Tree] = MappingProxyType({"scope": "tensor"})

_METHODS: Mapping[str, Callable[[Merging], str]] = MappingProxyType(
    {
        "linear": _linear,
        "slerp": _slerp,
        "nuslerp": _nuslerp,
        "multislerp": _multislerp,
        "karcher": _karcher,
        "task_arithmetic": _task_arithmetic,
        "ties": _ties,
        "dare_ties": _sparse("dare", (), {}, elects=True),
        "dare_linear": _sparse("dare", (), {}, elects=False),
        "della": _sparse("della", ("epsilon",), _DELLA, elects=True),
        "della_linear": _sparse("della", ("epsilon",), _DELLA, elects=False),
        "breadcrumbs": _sparse("outliers", ("gamma",), _OUTLIERS, elects=False),
        "breadcrumbs_ties": _sparse("outliers", ("gamma",), _OUTLIERS, elects=True),
        "sce": _sce,
        "model_stock": _model_stock,
        "nearswap": _nearswap,
        "arcee_fusion": _arcee_fusion,
        "ram": _ram,
        "ramplus_tl": _ram_plus,
        "passthrough": _passthrough,
    }
)
assert _METHODS.keys() == SIGNATURES.keys()
