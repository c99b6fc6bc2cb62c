"""Graphs to draw: the shapes of merges that people make, and random ones."""

from __future__ import annotations

import random

from hypothesis import strategies as st
from mergegraph_tui.model.graph import DrawnGraph, DrawnInput, DrawnNode


def load(name: str) -> DrawnNode:
    return DrawnNode(name, "load", "source", (f"./models/{name}",))


def delta(name: str, model: str, base: str) -> DrawnNode:
    wires = (DrawnInput(model, "model"), DrawnInput(base, "base"))
    return DrawnNode(name, "delta", "delta", ("delta",), wires, "delta", frozenset({"weights"}))


def one_input(name: str, op: str, source: str, summary: str) -> DrawnNode:
    return DrawnNode(name, op, "one-input", (summary,), (DrawnInput(source, "input"),), "delta", frozenset({"delta"}))


def merge(name: str, op: str, sources: list[str], space: str = "weights") -> DrawnNode:
    wires = tuple(map(DrawnInput, sources))
    accepts = frozenset({"weights", "delta"}) if op == "sum" else frozenset({space})
    return DrawnNode(name, op, "merge", (op,), wires, space, accepts)  # pyright: ignore[reportArgumentType]


def save(name: str, source: str) -> DrawnNode:
    accepts = frozenset({"weights", "delta"})
    return DrawnNode(name, "save", "sink", ("out/merged",), (DrawnInput(source, "input"),), accepts=accepts)


def twelve() -> DrawnGraph:
    """A skill added, another taken out, and the result averaged with the first model."""
    return DrawnGraph.of([
        load("base"), load("math"), load("toxic"),
        delta("d_math", "math", "base"), delta("d_toxic", "toxic", "base"),
        one_input("dare", "dare", "d_math", "dare density: 0.3"), one_input("anti", "negate", "d_toxic", "negate"),
        merge("ties", "ties", ["dare", "anti"], "delta"), one_input("scaled", "scale", "ties", "scale by: 0.8"),
        merge("merged", "sum", ["scaled", "base"]), merge("soup", "soup", ["merged", "math"]), save("out", "soup"),
    ])  # fmt: skip


def experts(count: int, steps: int) -> DrawnGraph:
    """Many fine-tunes of one base: each a delta, treated in so many steps, all added."""
    nodes = [load("base")]
    last: list[str] = []
    for number in range(count):
        nodes += [load(f"e{number}"), delta(f"d{number}", f"e{number}", "base")]
        for step in range(steps):
            nodes.append(one_input(f"s{step}_{number}", "scale", nodes[-1].name, "scale by: 0.5"))
        last.append(nodes[-1].name)
    nodes += [merge("all", "ties", last, "delta"), one_input("half", "scale", "all", "scale by: 0.5")]
    return DrawnGraph.of([*nodes, merge("merged", "sum", ["base", "half"]), save("out", "merged")])


def tangle(count: int, seed: int = 0) -> DrawnGraph:
    """A random graph of `count` nodes with up to three inputs each."""
    chance = random.Random(seed)
    nodes: list[DrawnNode] = []
    for number in range(count):
        near = [node.name for node in nodes[-30:]]
        sources = chance.sample(near, min(len(near), chance.choice((1, 1, 2, 2, 2, 3))))
        is_source = number < max(2, count // 8)
        nodes.append(load(f"n{number}") if is_source else merge(f"n{number}", "sum", sources))
    return DrawnGraph.of(nodes)


@st.composite
def graphs(draw: st.DrawFn, *, cyclic: bool = False) -> DrawnGraph:
    """Small graphs of every kind, also with one node read twice by another. `cyclic`: wires may lead anywhere."""
    nodes: list[DrawnNode] = []
    all_names = [f"{'n' * draw(st.integers(1, 9))}{number}" for number in range(draw(st.integers(1, 16)))]
    for number, name in enumerate(all_names):
        names = all_names if cyclic else all_names[:number]
        sources = draw(st.lists(st.sampled_from(names), max_size=4)) if names else []
        space = draw(st.sampled_from(["weights", "delta"]))
        wires = tuple(DrawnInput(source, draw(st.sampled_from(["inputs", "base", "a", "b"]))) for source in sources)
        nodes.append(DrawnNode(name, "sum", "merge", ("a summary " * draw(st.integers(0, 4)),), wires, space))
    return DrawnGraph.of(nodes)
