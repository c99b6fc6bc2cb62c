"""What a finished folder says of itself, whatever lies in its mergegraph.json."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph.tensors.completed import Completed, completed, completed_result_id


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b'{"result_id": "7c1e"}', Completed("7c1e"), id="an id"),
        pytest.param(
            b'{"result_id": "7c1e", "tensors": {"a": {"xxh3_128": "0", "nonfinite": 3}, "b": {"overflowed": 2}}}',
            Completed("7c1e", {"a": 3}),
            id="a tensor with NaN",
        ),
        pytest.param(b'{"result_id": "7c1e", "tensors": {"a": "0"}}', Completed("7c1e"), id="checksums alone"),
        pytest.param(b'{"result_id": "7c1e", "tensors": []}', Completed("7c1e"), id="no mapping of tensors"),
        pytest.param(b'{"result_id": 7}', None, id="a number"),
        pytest.param(b"[]", None, id="a list"),
        pytest.param(b'{"result_', None, id="torn"),
        pytest.param(b"\xff", None, id="no text"),
        pytest.param(None, None, id="no file"),
    ],
)
def test_what_a_finished_folder_says(tmp_path: Path, content: bytes | None, expected: Completed | None) -> None:
    if content is not None:
        (tmp_path / "mergegraph.json").write_bytes(content)
    assert completed(tmp_path) == expected
    assert completed_result_id(tmp_path) == (expected.result_id if expected else None)
