"""A recording that ends at any moment leaves the old golden or the new one, and nothing that is an error tomorrow.

The moments are those at which a recording is about to open, rename, remove or make a file or folder under its root: an
audit hook ends the process there, without any cleaning up. All are run by `make attack`; the tests take a sample.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.golden import inspect, locked, read_manifest, record, tidy
from tests.golden.conftest import X, make, rows
from tests.harness.linear_network import GradientBackend, network

POINTS = 40
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod")
SAMPLE = (5, 17, 24, 29)
KILLED = 77


def faulty() -> GradientBackend:
    """Whose goldens replace those of the plain one."""
    return GradientBackend("other", lambda layer, r: r * 1.5 if layer == "first" else r)


def killed_at(root: Path, point: int) -> None:
    """Record over the goldens of ``root`` and end at the moment ``point``; in a process of its own."""
    left = [point]

    def hook(event: str, arguments: tuple) -> None:
        if event in EVENTS and str(arguments[0]).startswith(str(root)):
            if not left[0]:
                os._exit(KILLED)
            left[0] -= 1

    sys.addaudithook(hook)
    list(
        record(root, network(), X * 2, "x", ["gradient"], faulty(), "float64", "sketch", reason="for a test")
    )


def crashed(root: Path, point: int) -> str:
    """What is wrong after a crash at ``point``; "done" where the recording had ended before, nothing if all is well."""
    code = "import sys; from pathlib import Path; from tests.golden.test_crashes import killed_at; "
    call = [
        sys.executable,
        "-c",
        code + "killed_at(Path(sys.argv[1]), int(sys.argv[2]))",
        str(root),
        str(point),
    ]
    ended = subprocess.run(
        call, cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    found = inspect(root)
    if found.problems:
        return f"{point}: {found.problems}"
    if sorted(found.entries) != ["linear/gradient.float64", "linear/input_t_gradient.float64"]:
        return f"{point}: only {sorted(found.entries)}"
    old = [row["status"] for row in rows(root)]
    new = [row["status"] for row in rows(root, faulty())]
    if old[1] != "unchanged" or {old[0], new[0]} != {"unchanged", "regressed"}:
        return f"{point}: neither the old nor the new golden: {old} {new}"
    with locked(root):
        tidy(root, read_manifest(root))
    after = inspect(root)
    if (
        after.leftovers
        or after.problems
        or len(list((root / "linear").iterdir())) != 4 - (old[0] == "unchanged")
    ):
        return f"{point}: not tidy {after.leftovers} {after.problems} {list((root / 'linear').iterdir())}"
    return "" if ended.returncode == KILLED else "done"


def before(root: Path) -> Path:
    return make(root, "sketch")


@pytest.mark.parametrize("point", SAMPLE)
def test_a_kill_leaves_the_old_golden_or_the_new_one(tmp_path: Path, point: int) -> None:
    assert crashed(before(tmp_path / "root"), point) == ""


def test_two_recordings_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.golden import record; "
        "from tests.harness.linear_network import GradientBackend, network; from tests.golden.conftest import X; "
        "[list(record(Path(sys.argv[1]), network(), X * (1 + n), 'x', [sys.argv[2]], GradientBackend(), 'float64', "
        "'full', reason='again')) for n in range(20)]"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "root"), name],
            cwd=Path(__file__).parents[2],
            env=environment,
        )
        for name in ("gradient", "input_t_gradient")
    ]
    assert [each.wait(60) for each in both] == [0, 0]
    found = inspect(tmp_path / "root")
    assert (found.problems, found.leftovers) == ((), ())
    assert sorted(found.entries) == ["linear/gradient.float64", "linear/input_t_gradient.float64"]
    # Each was replaced 19 times, and each time is on record.
    reasons = [each["entry"] for each in found.manifest.replaced if each["reason"] == "again"]
    assert sorted(reasons) == ["linear/gradient.float64"] * 19 + ["linear/input_t_gradient.float64"] * 19


def main() -> None:
    """All moments: `python -m tests.golden.test_crashes`."""
    import tempfile

    faults = []
    reached = 0
    with tempfile.TemporaryDirectory() as there:
        for point in range(POINTS):
            failure = crashed(before(Path(there) / str(point)), point)
            reached += failure != "done"
            if failure not in ("", "done"):
                faults.append(failure)
                print(failure)
    print(f"{reached - len(faults)} of {reached} kills in a recording leave the old golden or the new one.")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
