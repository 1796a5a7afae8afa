"""A recording that ends at any moment leaves the old golden or the new one, and nothing that is an error tomorrow.

The moments of a crash are those at which a recording is about to open, rename, remove or make a file or folder under
its root: an audit hook ends the process there, without any cleaning up. A kill comes from outside, at any time while
the recording goes on. All are run by `make attack-goldens`; the tests take a sample.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.golden import inspect, locked, read_manifest, record, tidy
from tests.golden.conftest import X, make, rows
from tests.harness.linear_network import GradientBackend, network

POINTS = 40
KILLS = 40
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod")
SAMPLE = (5, 17, 24, 29)
#: Of the kills: how far in the recording, as a share of what one takes.
SHARES = (0.2, 0.9)
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


def recording(root: Path, point: int) -> subprocess.Popen[str]:
    """`killed_at` in a process of its own, which says when it begins, all it needs loaded, and when it has ended."""
    code = "import sys; from pathlib import Path; from tests.golden.test_crashes import killed_at; "
    call = [
        sys.executable,
        "-c",
        code
        + "print('begun', flush=True); killed_at(Path(sys.argv[1]), int(sys.argv[2])); print('ended', flush=True)",
        str(root),
        str(point),
    ]
    process = subprocess.Popen(
        call,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    return process


def crashed(root: Path, point: int) -> str:
    """What is wrong after a crash at ``point``; "done" where the recording had ended before, nothing if all is well."""
    with recording(root, point) as process:
        status = process.wait()
    return wrong_after(root, str(point)) or ("" if status == KILLED else "done")


def killed_after(root: Path, seconds: float) -> str:
    """What is wrong after a kill that comes ``seconds`` after the beginning of a recording; see `crashed`."""
    with recording(root, -1) as process:
        time.sleep(seconds)
        process.kill()
        status = process.wait()
    return wrong_after(root, f"{seconds:.4f} s") or ("" if status == -signal.SIGKILL else "done")


def seconds_of_one(root: Path) -> float:
    """How long a recording over the goldens of ``root`` takes."""
    with recording(root, -1) as process:
        begun = time.monotonic()
        assert process.stdout is not None and process.stdout.readline() == "ended\n"
        return time.monotonic() - begun


def wrong_after(root: Path, when: str) -> str:
    """What is wrong with ``root`` after a recording that ended ``when``; nothing if all is well."""
    found = inspect(root)
    if found.problems:
        return f"{when}: {found.problems}"
    if sorted(found.entries) != ["linear/gradient.float64", "linear/input_t_gradient.float64"]:
        return f"{when}: only {sorted(found.entries)}"
    old = [row["status"] for row in rows(root)]
    new = [row["status"] for row in rows(root, faulty())]
    if old[1] != "unchanged" or {old[0], new[0]} != {"unchanged", "regressed"}:
        return f"{when}: neither the old nor the new golden: {old} {new}"
    with locked(root):
        tidy(root, read_manifest(root))
    after = inspect(root)
    if (
        after.leftovers
        or after.problems
        or len(list((root / "linear").iterdir())) != 4 - (old[0] == "unchanged")
    ):
        return f"{when}: not tidy {after.leftovers} {after.problems} {list((root / 'linear').iterdir())}"
    return ""


def before(root: Path) -> Path:
    return make(root, "sketch")


@pytest.mark.parametrize("point", SAMPLE)
def test_a_crash_leaves_the_old_golden_or_the_new_one(tmp_path: Path, point: int) -> None:
    assert crashed(before(tmp_path / "root"), point) == ""


@pytest.mark.parametrize("share", SHARES)
def test_a_kill_leaves_the_old_golden_or_the_new_one(tmp_path: Path, share: float) -> None:
    seconds = seconds_of_one(before(tmp_path / "measured"))
    assert killed_after(before(tmp_path / "root"), share * seconds) in ("", "done")


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
    """All crashes and kills: `python -m tests.golden.test_crashes`."""
    import tempfile

    with tempfile.TemporaryDirectory() as there:
        places = (before(Path(there) / str(number)) for number in range(POINTS + KILLS + 1))
        crashes = [crashed(next(places), point) for point in range(POINTS)]
        seconds = seconds_of_one(next(places))
        kills = [killed_after(next(places), (number + 0.5) / KILLS * seconds) for number in range(KILLS)]
    faults = 0
    for what, found in (("crashes", crashes), ("kills", kills)):
        met = [each for each in found if each != "done"]
        wrong = [each for each in met if each]
        faults += len(wrong)
        print(*wrong, sep="\n", end="\n" if wrong else "")
        print(
            f"{len(met) - len(wrong)} of {len(met)} {what} in a recording leave the old golden or the new one "
            f"({len(found) - len(met)} came after its end)."
        )
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
