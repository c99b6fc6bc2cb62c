"""A measured child: its own memory and time, not its parent's, and what it reported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.child import Finished, Traffic, high_water_mark, run_child, traffic
from benchmarks.table import table

MIB = 1 << 20


def run_python(code: str) -> Finished:
    return run_child([sys.executable, "-c", code])


def test_peak_memory_is_the_childs_even_when_it_gave_it_back() -> None:
    small = run_python("import time; time.sleep(0.1)")
    ballast = bytearray(b"x") * (300 * MIB)
    large = run_python("import time; a = bytearray(b'x') * (120 << 20); del a; time.sleep(0.1)")
    beside_ballast = run_python("import time; time.sleep(0.1)")
    assert 0 < small.peak_bytes < 60 * MIB
    assert 120 * MIB < large.peak_bytes < 120 * MIB + 60 * MIB
    assert beside_ballast.peak_bytes < 60 * MIB < len(ballast)


def test_cpu_and_wall_seconds_are_apart() -> None:
    asleep = run_python("import time; time.sleep(0.3)")
    busy = run_python("import time\nwhile time.process_time() < 0.3: pass")
    assert asleep.wall_seconds >= 0.3
    assert asleep.cpu_seconds < 0.3 <= busy.cpu_seconds


def test_exit_code_and_both_streams_come_back() -> None:
    finished = run_python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (finished.exit_code, finished.stdout, finished.stderr) == (3, "out\n", "err\n")


@pytest.mark.parametrize(
    ("stdout", "expected"),
    [
        ("", {}),
        ('{"kind": "progress"}\n', {}),
        ('{"kind": "done", "n": 1}\n', {"n": 1}),
        ('{"kind": "done", "n": 1}\n{"kind": "done", "n": 2}\n', {"n": 2}),  # the last one counts
        ('{"kind": "done", "n": 1}\nnot JSON\n["kind"]\n\n', {"n": 1}),  # whatever follows it
    ],
)
def test_the_done_report_is_the_last_of_its_kind(stdout: str, expected: dict[str, int]) -> None:
    report = Finished(0, 0.0, 0.0, 0, stdout, "").done_report()
    assert {name: value for name, value in report.items() if name != "kind"} == expected


def test_a_table_is_markdown_with_aligned_columns() -> None:
    assert table(("a", "bb"), [("ccc", "d")]) == "| a   | bb |\n| --- | -- |\n| ccc | d  |"


def test_traffic_is_counted_to_the_last_byte(tmp_path: Path) -> None:
    given, made = tmp_path / "given", tmp_path / "made"
    given.write_bytes(bytes(3 * MIB + 7))
    code = f"open({str(made)!r}, 'wb').write(open({str(given)!r}, 'rb').read() * 2)"
    nothing, copied = run_python("pass").traffic, run_python(code).traffic
    assert copied.read - nothing.read == pytest.approx(3 * MIB + 7, abs=4096)
    assert copied.written - nothing.written == 2 * (3 * MIB + 7)


@pytest.mark.parametrize(
    ("status", "peak_bytes"),
    [
        ("Name:\tx\nVmPeak:\t  99 kB\nVmHWM:\t   12345 kB\nVmRSS:\t  7 kB\n", 12345 * 1024),
        ("Name:\tx\nState:\tZ (zombie)\n", 0),  # ended: no memory any more
    ],
)
def test_the_high_water_mark_in_a_status(status: str, peak_bytes: int) -> None:
    assert high_water_mark(status) == peak_bytes


def test_traffic_in_the_text_of_the_kernel() -> None:
    text = "rchar: 11\nwchar: 13\nsyscr: 2\nsyscw: 3\nread_bytes: 17\nwrite_bytes: 19\ncancelled_write_bytes: 5\n"
    assert traffic(text) == Traffic(read=11, written=13, fetched=17, dirtied=19)
