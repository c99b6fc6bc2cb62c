"""Whatever configuration is imported: the recipe is read by mergegraph, without a warning of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mergegraph.errors import RecipeError
from mergegraph.graph import build
from mergegraph.mergekit.signatures import REQUIRED, SIGNATURES, Base
from mergegraph.recipe.load import parse_recipe
from tests.mergekit.texts import imported, lacking

NUMBERS = st.sampled_from([0.25, 0.5, 1, 1e-4, 0.37])
FILTERS = st.sampled_from(["self_attn", "mlp", "norm", "lm_head", "embed", "q_proj", "*", "a[b", "it's: {odd}"])
WORDS = st.sampled_from(["one", "org/two", "org/two-B@rev", "3three", "./gone/four", "org/two+org/lora", "a b"])


def settings_of(value: Any) -> Any:
    """A number, a gradient, or conditions that end with one for all tensors."""
    values = value | st.lists(value, min_size=1, max_size=4)
    condition = st.fixed_dictionaries({"filter": FILTERS, "value": values})
    last = st.fixed_dictionaries({"value": values})
    listed = st.tuples(st.lists(condition, min_size=1, max_size=3), last).map(lambda drawn: [*drawn[0], drawn[1]])
    return values | listed


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """A configuration of any method, of models or of slices, that mergekit would accept."""
    method = draw(st.sampled_from(sorted(SIGNATURES)))
    signature = SIGNATURES[method]
    fewest, most = signature.inputs
    models = draw(st.lists(WORDS, unique=True, min_size=max(2, fewest), max_size=4))[: min(most, 4)]
    config: dict[str, Any] = {"merge_method": method}
    sources: list[dict[str, Any]] = [{"model": model} for model in models]
    if signature.base is Base.NEEDED:
        config["base_model"] = models[0] if signature.counts_base else "org/base"
        sources += [] if signature.counts_base else [{"model": "org/base"}]
    for source in sources:
        given_ = {name: draw(settings_of(NUMBERS)) for name in signature.per_model}
        source["parameters"] = given_
    shared = {
        name: draw(settings_of(NUMBERS))
        for name, default in signature.shared.items()
        if name in ("t", "lambda") and (default is REQUIRED or draw(st.booleans()))
    }
    config["parameters"] = shared
    if draw(st.booleans()):
        ends = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
        config["slices"] = [
            {"sources": [{**source, "layer_range": [index, index + end]} for source in sources]}
            for index, end in enumerate(ends)
        ]
    else:
        config["models"] = sources
    return config


@settings(max_examples=150, deadline=None)
@given(configurations(), st.booleans())
def test_the_recipe_is_read_and_wired(config: dict[str, Any], fix: bool) -> None:
    text = imported(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), fix=fix).text
    if lacking(text):
        with pytest.raises(RecipeError) as caught:
            parse_recipe(text, file="recipe.yaml", folder=Path("/nowhere"))
        assert all("There is no op" in problem.fact for problem in caught.value.problems)
        return
    recipe = parse_recipe(text, file="recipe.yaml", folder=Path("/nowhere"))
    assert recipe.warnings == ()
    build(recipe)


@settings(max_examples=50, deadline=None)
@given(configurations())
def test_importing_twice_gives_one_text(config: dict[str, Any]) -> None:
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    assert imported(text) == imported(text)
