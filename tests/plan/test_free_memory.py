"""How much memory this process may still take, by the kernel's word and by every control group around it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergegraph.plan.free_memory import default_budget, free_memory_bytes

MIB = 1 << 20
V2, V1 = "0::/a/b\n", "4:cpu,cpuacct:/a\n9:memory:/a/b\n"
Files = dict[str, str]


def system(folder: Path, group: str, files: Files, available_mib: int = 1000) -> Path:
    """A root folder with what the kernel would say there."""
    meminfo = f"MemTotal: 9 kB\nMemAvailable:   {available_mib * 1024} kB\n"
    stored = {"proc/meminfo": meminfo, "proc/self/cgroup": group, **files}
    for name, text in stored.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def limits(folder: str, limit: object, used: int, cached: int = 0) -> Files:
    return {
        f"sys/fs/cgroup/{folder}memory.max": f"{limit}\n",
        f"sys/fs/cgroup/{folder}memory.current": f"{used}\n",
        f"sys/fs/cgroup/{folder}memory.stat": f"anon 5\ninactive_file {cached}\nslab 3\n",
    }


def old_limits(folder: str, limit: int, used: int, cached: int = 0) -> Files:
    return {
        f"sys/fs/cgroup/memory/{folder}memory.limit_in_bytes": f"{limit}\n",
        f"sys/fs/cgroup/memory/{folder}memory.usage_in_bytes": f"{used}\n",
        f"sys/fs/cgroup/memory/{folder}memory.stat": f"inactive_file 1\ntotal_inactive_file {cached}\n",
    }


@pytest.mark.parametrize(
    ("group", "files", "free_mib"),
    [
        pytest.param(V2, {}, 1000, id="no control group is mounted"),
        pytest.param(V2, limits("a/b/", "max", 700 * MIB), 1000, id="no limit"),
        pytest.param(V2, limits("a/b/", 900 * MIB, 700 * MIB), 200, id="a limit"),
        pytest.param(V2, limits("a/b/", 900 * MIB, 700 * MIB, 500 * MIB), 700, id="cached files give way"),
        pytest.param(V2, limits("a/b/", 5000 * MIB, 700 * MIB), 1000, id="a limit above what is free"),
        pytest.param(V2, limits("a/b/", "max", 1) | limits("a/", 300 * MIB, 1 * MIB), 299, id="a limit further up"),
        pytest.param("0::/\n", limits("", 64 * MIB, 4 * MIB), 60, id="a container sees its own group as the root"),
        pytest.param(V2, limits("", 64 * MIB, 4 * MIB), 60, id="the path is the host's, the files the container's"),
        pytest.param(V2, limits("a/b/", 100 * MIB, 101 * MIB), 0, id="over the limit"),
        pytest.param(V2, limits("a/b/", "?", 1), 1000, id="a limit nobody can read"),
        pytest.param(V1, old_limits("a/b/", 900 * MIB, 700 * MIB), 200, id="version 1"),
        pytest.param(V1, old_limits("a/b/", 900 * MIB, 700 * MIB, 300 * MIB), 500, id="version 1, cached files"),
        pytest.param(V1, old_limits("a/b/", 9223372036854771712, 700 * MIB), 1000, id="version 1, no limit"),
        pytest.param(V1, old_limits("", 64 * MIB, 4 * MIB), 60, id="version 1 in a container"),
        pytest.param("0::/../x\n", limits("", 64 * MIB, 4 * MIB), 60, id="a group outside the container's view"),
    ],
)
def test_the_smallest_of_what_the_kernel_and_the_groups_allow(
    group: str, files: Files, free_mib: int, tmp_path: Path
) -> None:
    assert free_memory_bytes(system(tmp_path, group, files)) == free_mib * MIB


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    assert free_memory_bytes(tmp_path) is None
    assert default_budget(tmp_path) == 2 << 30


@pytest.mark.parametrize(("available_mib", "budget_mib"), [(1000, 250), (100_000, 2048)])
def test_the_default_budget_is_a_quarter_of_it_and_at_most_2_gib(
    available_mib: int, budget_mib: int, tmp_path: Path
) -> None:
    assert default_budget(system(tmp_path, V2, {}, available_mib)) == budget_mib * MIB
