"""The models of this machine: which are found, how a recipe names them, how they are related to its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mergegraph_tui.model.shelf import Shelved, badge, distance, hub_cache, is_model, matching, reference_of, shelf


def make(folder: Path, *files: str, base: str = "", width: int = 8) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file).write_bytes(b"x" * 5)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", "hidden_size": width, "num_hidden_layers": 3})
    )
    if base:
        (folder / "README.md").write_text(f"---\nbase_model: {base}\n---\n")
    return folder


def found(folder: Path, cache: Path, *known: Path) -> dict[str, Shelved]:
    return {model.reference: model for model in shelf(folder, known, cache)}


def test_folders_with_weights_are_models_and_are_not_looked_into(tmp_path: Path) -> None:
    home = tmp_path / "work"
    make(home / "models" / "one", "model.safetensors")
    make(home / "models" / "one" / "inner", "model.safetensors")
    make(home / "models" / "shards", "model-1-of-2.safetensors", "model-2-of-2.safetensors")
    make(home / "models" / "empty")
    make(home / ".hidden" / "two", "model.safetensors")
    make(home / "out.partial", "model.safetensors")
    (home / "loose.safetensors").write_bytes(b"x")
    (home / "models" / "adapter").mkdir()
    (home / "models" / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "org/one"}')
    models = found(home, tmp_path / "none")

    assert list(models) == ["./loose.safetensors", "./models/adapter", "./models/one", "./models/shards"]
    assert models["./models/adapter"].is_adapter
    assert models["./models/adapter"].bases == ("org/one",)
    assert (models["./models/shards"].file_bytes, models["./models/shards"].architecture) == (10, "llama 3x8")
    assert is_model(home / "models" / "one")
    assert not is_model(home / "models")


def test_models_beside_those_of_the_recipe_and_links_in_a_circle(tmp_path: Path) -> None:
    other = make(tmp_path / "elsewhere" / "base", "model.safetensors")
    make(tmp_path / "elsewhere" / "tune", "model.safetensors")
    home = tmp_path / "deep" / "work"
    home.mkdir(parents=True)
    (home / "loop").symlink_to(home)
    assert [model.name for model in shelf(home, [other], tmp_path / "none")] == ["base", "tune"]


def test_the_hubs_cache_gives_the_snapshot_that_main_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "hub"
    repository = cache / "models--org--name"
    for revision in ("aaa", "bbb"):
        make(repository / "snapshots" / revision, "model.safetensors")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("aaa")
    make(cache / "datasets--org--set" / "snapshots" / "c", "model.safetensors")
    models = shelf(tmp_path / "nowhere", (), cache)

    assert [(model.name, model.source, model.path.name) for model in models] == [("org/name", "hub", "aaa")]
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert hub_cache() == cache
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "own"))
    assert hub_cache() == tmp_path / "own"


REFERENCES = [
    ("work/models/a", "./models/a", "below the recipe"),
    ("other/a", "../other/a", "beside its folder"),
    ("work/../other/a", "../other/a", "as it was typed"),
    ("/opt/a", "/opt/a", "anywhere else"),
]


@pytest.mark.parametrize(("path", "reference", "reason"), REFERENCES, ids=[row[2] for row in REFERENCES])
def test_a_reference_is_short_where_it_is_near(tmp_path: Path, path: str, reference: str, reason: str) -> None:
    assert reference_of(tmp_path / path, tmp_path / "work") == reference, reason


def shelved(name: str, bases: tuple[str, ...] = (), shape: tuple[int, ...] = (1,), *, adapter: bool = False) -> Shelved:
    return Shelved(name, f"./{name}", Path("/m") / name, is_adapter=adapter, bases=bases, shape=shape)


BADGES = [
    (shelved("base"), "in the recipe: b", 4),
    (shelved("tune", ("org/base",)), "made from b", 0),
    (shelved("lora", ("./base",), (), adapter=True), "adapter of b", 0),
    (shelved("sister", ("org/root",)), "same base as b", 0),
    (shelved("stranger", ("org/else",)), "other base than b", 3),
    (shelved("root"), "base of b", 0),
    (shelved("silent"), "same shape as b", 1),
    (shelved("wide", (), (2,)), "other shape than b", 3),
    (shelved("bare", (), ()), "", 2),
]


@pytest.mark.parametrize(("model", "said", "far"), BADGES, ids=[row[1] or "nothing" for row in BADGES])
def test_a_badge_says_how_a_model_is_related(model: Shelved, said: str, far: int) -> None:
    recipe = [("b", shelved("base", ("org/root",)))]
    assert (badge(model, recipe), distance(model, recipe)) == (said, far)


def test_the_model_that_is_called_so_comes_first() -> None:
    models = [shelved("baseline"), shelved("my-base"), shelved("base"), shelved("code")]
    assert [model.name for model in matching(models, "base")] == ["base", "baseline", "my-base"]
    assert matching(models, "nothing") == []
