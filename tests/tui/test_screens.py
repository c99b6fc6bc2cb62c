"""Text pictures of every screen and dialog of the real app; `python -m tests.tui.screens.pictures` takes them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tui.screens.pictures import FOLDER, take
from tests.tui.screens.tours import WALKS


@pytest.fixture(scope="session")
def records(record_file: Path, weaker_record: Path) -> dict[str, Path]:
    return {"stats.json": record_file, "weaker.json": weaker_record}


@pytest.mark.parametrize(("tour", "size"), WALKS, ids=[f"{tour}-{size[0]}" for tour, size in WALKS])
def test_every_screen_and_dialog_looks_as_it_did(
    tour: str, size: tuple[int, int], tmp_path: Path, records: dict[str, Path]
) -> None:
    taken = take(tour, size, tmp_path, records)
    assert taken
    for name, text in taken.items():
        lines = text.splitlines()
        assert (FOLDER / f"{name}.txt").read_text().splitlines() == lines, f"{name} looks otherwise"
        assert max(map(len, lines)) <= size[0]
        assert len(lines) == size[1]


def test_no_picture_is_left_over() -> None:
    """One of a stop that is no more would go on as a promise of the guide."""
    sizes = {f"-{size[0]}" for _, size in WALKS}
    assert {path.stem[-3:].lstrip("0123456789") for path in FOLDER.glob("*-80.txt")} == {"-80"}
    assert all(any(path.stem.endswith(size) for size in sizes) for path in FOLDER.iterdir())
