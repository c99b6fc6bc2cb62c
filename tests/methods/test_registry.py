"""How operations are found: by a file in the package, or by another package's entry point."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import mergegraph.methods
from mergegraph.errors import RecipeError
from mergegraph.methods import registry
from mergegraph.methods.base import Method
from mergegraph.recipe.load import parse_recipe

MODULE = '''
from typing import Literal
from mergegraph.fields import Weights
from mergegraph.methods.base import Method

class Base(Method):
    """Has no op of its own."""

class {cls}(Base):
    """A method of a test."""
    op: Literal["{op}"] = "{op}"
    input: Weights
'''


@pytest.fixture(autouse=True)
def fresh_registry() -> Iterator[None]:
    """Each test looks anew, and leaves no module behind."""
    before = set(sys.modules)
    registry.methods.cache_clear()
    yield
    registry.methods.cache_clear()
    for name in {name for name in sys.modules if name.startswith("mergegraph.methods.")} - before:
        delattr(mergegraph.methods, name.rpartition(".")[2])
        del sys.modules[name]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files are files of the package `mergegraph.methods`."""
    monkeypatch.setattr(mergegraph.methods, "__path__", [*mergegraph.methods.__path__, str(tmp_path)])
    return tmp_path


def install(monkeypatch: pytest.MonkeyPatch, *loaded: object) -> None:
    """Other packages offer these as plugins."""
    asked: list[str] = []

    def entry_points(*, group: str) -> list[Any]:
        asked.append(group)
        return [SimpleNamespace(load=lambda each=each: each) for each in loaded]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    registry.methods()
    assert asked == ["mergegraph.methods"]


def module(name: str, op: str, cls: str = "Blend") -> ModuleType:
    made = ModuleType(name)
    sys.modules[name] = made
    exec(MODULE.format(cls=cls, op=op), vars(made))
    del sys.modules[name]
    return made


def test_a_file_in_the_package_is_an_operation(package: Path) -> None:
    (package / "blend_of_a_test.py").write_text(MODULE.format(cls="Blend", op="blend"))
    found = registry.methods()
    assert found["blend"].__module__ == "mergegraph.methods.blend_of_a_test"
    assert "sum" in found


def test_recipes_may_use_it_at_once(package: Path) -> None:
    recipe = "mergegraph: 1\nmodels: {a: ./a}\nnodes:\n  m: {op: blend, input: a}\n  out: {op: save, input: m, path: o}"
    with pytest.raises(RecipeError, match="blend"):
        parse_recipe(recipe, file="r.yaml", folder=package)
    registry.methods.cache_clear()
    (package / "blend_of_a_test.py").write_text(MODULE.format(cls="Blend", op="blend"))
    assert parse_recipe(recipe, file="r.yaml", folder=package).nodes["m"].method == registry.methods()["blend"](
        input="a"  # pyright: ignore
    )


def test_classes_without_an_op_and_imported_ones_are_not_operations(package: Path) -> None:
    (package / "blend_of_a_test.py").write_text(
        "from mergegraph.methods.linear import Sum\n" + MODULE.format(cls="Blend", op="blend")
    )
    found = registry.methods()
    assert found["sum"].__module__ == "mergegraph.methods.linear"
    assert len(found) == len(set(found.values()))
    assert all(cls.op_name() == op for op, cls in found.items())


def test_operations_are_sorted_and_cannot_be_changed() -> None:
    found = registry.methods()
    assert list(found) == sorted(found)
    with pytest.raises(TypeError):
        found["more"] = Method  # pyright: ignore


def test_two_files_cannot_claim_one_name(package: Path) -> None:
    (package / "first_of_a_test.py").write_text(MODULE.format(cls="One", op="blend"))
    (package / "second_of_a_test.py").write_text(MODULE.format(cls="Two", op="blend"))
    with pytest.raises(ValueError, match=r'"blend": mergegraph.methods.first_of_a_test and .*second_of_a_test'):
        registry.methods()


def test_a_plugin_may_be_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, module("plugin_of_a_test", "blend"))
    assert registry.methods()["blend"].__module__ == "plugin_of_a_test"


def test_a_plugin_may_be_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    cls = vars(module("plugin_of_a_test", "blend"))["Blend"]
    install(monkeypatch, cls)
    assert registry.methods()["blend"] is cls


def test_a_plugin_cannot_take_the_name_of_an_own_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r'"sum": mergegraph.methods.linear and plugin_of_a_test'):
        install(monkeypatch, module("plugin_of_a_test", "sum"))
