"""What is made in docs/mergekit.md: usual configurations beside the recipes that `mergegraph import` writes of them.
`python -m tests.mergekit.guide` writes them there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mergegraph.mergekit.importing import import_configuration
from mergegraph.mergekit.places import Places

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "mergekit.md"
_MARKED = re.compile(r"(<!-- side by side -->\n).*?(<!-- end of side by side -->)", re.DOTALL)
_NOWHERE = Path("/nowhere")

_TWO = """\
models:
  - model: ./french
    parameters: {weight: WEIGHT}
  - model: ./python
    parameters: {weight: WEIGHT}
"""

CONFIGURATIONS = {
    "linear": (
        "A weighted average. mergekit divides the weights by their sum, as a soup does.",
        _TWO.replace("WEIGHT", "0.7", 1).replace("WEIGHT", "0.3") + "merge_method: linear\ndtype: bfloat16\n",
    ),
    "slerp": (
        "`t` is given as gradients over the layers, separately for attention and MLP. `base_model` becomes `a`, "
        "where `t` is 0.",
        "slices:\n"
        "  - sources:\n"
        "      - {model: ./french, layer_range: [0, 4]}\n"
        "      - {model: ./python, layer_range: [0, 4]}\n"
        "merge_method: slerp\n"
        "base_model: ./french\n"
        "parameters:\n"
        "  t:\n"
        "    - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}\n"
        "    - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}\n"
        "    - {value: 0.5}\n"
        "dtype: bfloat16\n",
    ),
    "task_arithmetic": (
        "Task vectors added to the base. By hand: `merged: base + 0.5*(french - base) + 0.3*(python - base)`.",
        "merge_method: task_arithmetic\nbase_model: ./base\n"
        + _TWO.replace("WEIGHT", "0.5", 1).replace("WEIGHT", "0.3")
        + "dtype: bfloat16\n",
    ),
    "ties": (
        "Deltas are trimmed, a sign is elected, and the rest is averaged. Fields are written out where "
        "mergekit's values differ from the paper's.",
        "merge_method: ties\nbase_model: ./base\n"
        + _TWO.replace("WEIGHT", "0.5, density: 0.4")
        + "parameters: {normalize: true}\ndtype: bfloat16\n",
    ),
    "dare_ties": (
        "Elements of the deltas are dropped at random, the rest is rescaled, and a sign is elected.",
        "merge_method: dare_ties\nbase_model: ./base\n"
        + _TWO.replace("WEIGHT", "0.5, density: 0.6")
        + "dtype: bfloat16\n",
    ),
    "passthrough": (
        "Layers of two models are stacked into one.",
        "merge_method: passthrough\n"
        "slices:\n"
        "  - sources: [{model: ./french, layer_range: [0, 3]}]\n"
        "  - sources: [{model: ./python, layer_range: [1, 4]}]\n"
        "dtype: bfloat16\n",
    ),
}  # fmt: skip
"""Method to what is said of it, and a configuration."""


def guide_as_it_should_be(guide: str) -> str:
    """The text of the guide with what is made in its place."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{side_by_side()}\n{found[2]}", guide)


def side_by_side() -> str:
    """A table for each method: the configuration left, the recipe right."""
    return "\n".join(line for name in CONFIGURATIONS for line in _table(name))


def recipe_of(name: str) -> str:
    """What `mergegraph import NAME.yml` prints where none of the models is on the machine."""
    places = Places(_NOWHERE, _NOWHERE, _NOWHERE)
    return import_configuration(CONFIGURATIONS[name][1], f"{name}.yml", places, fix=False).text


def _table(name: str) -> Iterator[str]:
    says, configuration = CONFIGURATIONS[name]
    recipe = "\n".join(line for line in recipe_of(name).splitlines() if not line.startswith("#"))
    yield from (f"### {name}", "", says, "")
    yield "<table><tr><th>mergekit</th><th>mergegraph</th></tr><tr><td>"
    yield from ("", "```yaml", configuration.rstrip(), "```", "", "</td><td>", "")
    yield from ("```yaml", recipe.rstrip(), "```", "", "</td></tr></table>", "")


if __name__ == "__main__":
    GUIDE.write_text(guide_as_it_should_be(GUIDE.read_text()))
