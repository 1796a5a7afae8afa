"""Environments of peers: pinned, whole or not there, found again, and every failure one line with what to do."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from harness import cli, peers
from harness.backends.candidate import WorkerBackend
from harness.backends.worker import Peer
from harness.errors import PeerError, UnknownNameError
from tests.worker.small_packages import write_wheel

pytestmark = pytest.mark.thinned(0.4)

THIS = sys.version_info[:2]


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """A peer "tiny" whose package, and two versions of what it needs, lie in a folder; nothing is installed yet."""
    wheels = tmp_path / "wheels"
    write_wheel(wheels, "tiny", "1.0", needs="tiny_core")
    write_wheel(wheels, "tiny_core", "1.5")
    write_wheel(wheels, "tiny_core", "2.0")
    constraints = tmp_path / "tiny.txt"
    constraints.write_text("tiny-core==1.5\n")
    declared = Peer("tiny", "tiny==1.0", constraints, tmp_path / "tiny_side.py", (THIS,), extras=())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("XAI_HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("XAI_HARNESS_PEER_TINY", raising=False)
    declare(monkeypatch, declared)
    return declared


def declare(monkeypatch: pytest.MonkeyPatch, declared: Peer) -> None:
    monkeypatch.setattr(peers, "peers", lambda: {declared.name: declared})


def pretend_installed(declared: Peer) -> Path:
    """What an installation leaves, without the minutes: the stamp and something that runs."""
    folder = peers.folder_of(declared)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "installed.json").write_text("{}")
    return folder


# Installing


def test_an_installed_peer_has_its_own_package_and_the_pinned_version_of_what_it_needs(peer: Peer) -> None:
    lines: list[str] = []
    python = peers.install("tiny", lines.append)
    program = "import tiny, tiny_core; print(tiny.version, tiny_core.version)"
    ran = subprocess.run([python, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "1.0 1.5\n"
    assert peers.python_of("tiny") == python
    assert any("tiny==1.0" in line for line in lines)
    assert any("tiny_core" in line for line in lines)  # pip's own words, as it goes

    lines.clear()
    assert peers.install("tiny", lines.append) == python
    assert lines == ["tiny==1.0 is installed already"]


@pytest.mark.nightly
def test_an_install_that_was_cut_short_is_no_install_and_the_next_one_makes_it_anew(peer: Peer) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("Collecting") or "Processing" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        peers.install("tiny", interrupt)
    folder = peers.folder_of(peer)
    assert (folder / "bin" / "python").exists()  # half of it is there
    with pytest.raises(
        PeerError, match="tiny is not installed; install it with: xai-harness peers install tiny"
    ):
        peers.python_of("tiny")

    (folder / "left-over").touch()
    peers.install("tiny")
    assert peers.python_of("tiny") == folder / "bin" / "python"
    assert not (folder / "left-over").exists()


def test_a_failure_of_pip_is_its_last_error_and_where_the_whole_log_is(peer: Peer, monkeypatch) -> None:
    broken = dataclasses.replace(peer, requirement="tiny==9.9")
    declare(monkeypatch, broken)
    with pytest.raises(PeerError) as caught:
        peers.install("tiny")
    message = str(caught.value)
    assert "\n" not in message
    found = re.fullmatch(
        r"tiny: pip install tiny==9.9 failed: ERROR: No matching distribution found for tiny==9.9 "
        r"\(full log: (.*)\)",
        message,
    )
    assert found is not None
    assert "from versions: 1.0" in Path(found[1]).read_text()
    with pytest.raises(PeerError, match="not installed"):
        peers.python_of("tiny")


def test_two_installs_at_once_are_refused(peer: Peer) -> None:
    folder = peers.folder_of(peer).parent
    folder.mkdir(parents=True)
    with open(folder / "tiny.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PeerError, match="tiny is being installed or removed by another process"):
            peers.install("tiny")


# Which Python


def test_this_python_is_taken_if_it_fits(peer: Peer) -> None:
    assert peers.find_python(peer) == Path(sys.executable)


def test_another_python_on_the_path_is_taken_if_this_one_does_not_fit(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    # 3.4 is a stub of a version manager, 3.3 is not what its name says, 3.2 is a Python 3.2.
    for name, body in (("3.4", "exit 127"), ("3.3", "echo 3 9"), ("3.2", "echo 3 2")):
        program = programs / f"python{name}"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    wants = dataclasses.replace(peer, pythons=((3, 4), (3, 3), (3, 2)))
    assert peers.find_python(wants) == programs / "python3.2"


def test_without_a_fitting_python_the_error_says_what_to_install(peer: Peer, monkeypatch) -> None:
    declare(monkeypatch, dataclasses.replace(peer, pythons=((3, 2), (3, 1))))
    with pytest.raises(PeerError) as caught:
        peers.install("tiny")
    message = str(caught.value)
    assert message.startswith(
        f"tiny needs Python 3.2, 3.1 with venv; this is {THIS[0]}.{THIS[1]} and none of"
    )
    assert "uv python install 3.2" in message


# Finding it again


def test_other_pins_are_another_environment(peer: Peer) -> None:
    pretend_installed(peer)
    assert peers.python_of("tiny").exists()
    peer.constraints.write_text("tiny-core==2.0\n")
    with pytest.raises(PeerError, match="tiny is not installed"):
        peers.python_of("tiny")


def test_an_environment_whose_python_was_removed_says_so(peer: Peer) -> None:
    python = pretend_installed(peer) / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.11")
    with pytest.raises(PeerError, match="is gone; install it again with: xai-harness peers install tiny"):
        peers.python_of("tiny")


def test_a_variable_names_another_interpreter(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_HARNESS_PEER_TINY", sys.executable)
    assert peers.python_of("tiny") == Path(sys.executable)
    assert peers.status()[0]["source"] == "XAI_HARNESS_PEER_TINY"


def test_a_variable_that_names_nothing_is_an_error_even_if_the_peer_is_installed(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_installed(peer)
    for wrong in (tmp_path / "absent", tmp_path, peer.constraints):
        monkeypatch.setenv("XAI_HARNESS_PEER_TINY", str(wrong))
        with pytest.raises(PeerError, match=r"XAI_HARNESS_PEER_TINY is .* no program that can be run"):
            peers.python_of("tiny")


def test_removing_takes_all_environments_of_the_peer_and_nothing_else(peer: Peer, tmp_path: Path) -> None:
    old = pretend_installed(peer)
    peer.constraints.write_text("tiny-core==2.0\n")
    new = pretend_installed(peer)
    other = pretend_installed(dataclasses.replace(peer, name="tiny-er"))
    assert sorted(peers.remove("tiny")) == sorted([old, new])
    assert not old.exists() and not new.exists() and other.exists()
    with pytest.raises(PeerError, match="tiny is not installed"):
        peers.python_of("tiny")
    assert peers.remove("tiny") == []


@pytest.mark.parametrize("call", [peers.install, peers.remove, peers.python_of])
def test_a_name_nobody_knows(peer: Peer, call) -> None:
    with pytest.raises(UnknownNameError, match="unknown peer 'tny'; did you mean 'tiny'"):
        call("tny")


def test_a_peer_without_dependencies_is_installed_without_what_it_requires(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_wheel(tmp_path / "wheels", "extra", "3.0")
    peer.constraints.write_text("extra==3.0\n")
    alone = dataclasses.replace(peer, dependencies=False, extras=("extra",))
    declare(monkeypatch, alone)
    python = peers.install("tiny")
    listed = subprocess.run((python, "-m", "pip", "list", "--format", "json"), capture_output=True, text=True)
    assert {"tiny", "extra"} <= {each["name"] for each in json.loads(listed.stdout)}
    assert not {"tiny-core", "tiny_core"} & {each["name"] for each in json.loads(listed.stdout)}


# The peers this project declares


@pytest.mark.parametrize("name", ["innvestigate", "signxai"])
def test_the_pins_name_one_version_of_every_package_for_every_python(name: str) -> None:
    declared = peers.peers()[name]
    lines = declared.constraints.read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    for major, minor in declared.pythons:
        here = {"python_version": f"{major}.{minor}"}
        valid = [pin for pin in pins if pin.marker is None or pin.marker.evaluate(here)]
        names = [pin.name.lower().replace("_", "-") for pin in valid]
        assert len(names) == len(set(names))
        assert {"safetensors", "numpy", "tensorflow", name} <= set(names)
        assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) for pin in valid)
    assert declared.requirement in lines


def test_the_declared_versions_are_the_ones_the_catalogue_speaks_of() -> None:
    references = {peer.requirement for peer in peers.peers().values() if not peer.beside}
    assert references == {"innvestigate==2.1.2", "signxai==1.1.9.2", "dl-backtrace==0.1.24"}


# The command line


@pytest.fixture
def call(peer: Peer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run `xai-harness peers` with these words: (exit status, standard output, standard error)."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["xai-harness", "peers", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        code = stopped.value.code
        return (0 if code is None else int(code)), captured.out, captured.err

    return run


def test_install_shows_how_it_goes_and_ends_with_the_interpreter(call, monkeypatch) -> None:
    def install(name: str, progress) -> Path:
        progress("Collecting tiny [1.0]")
        return Path("/here/bin/python")

    monkeypatch.setattr(peers, "install", install)
    assert call("install", "tiny") == (
        0,
        "tiny is installed: /here/bin/python\n",
        "Collecting tiny [1.0]\n",
    )


def test_an_interrupted_install_says_that_it_is_none(call, monkeypatch) -> None:
    def install(name: str, progress) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(peers, "install", install)
    status, out, err = call("install", "tiny")
    assert (status, out) == (130, "")
    assert err == "interrupted; tiny is not installed, run the same command again\n"


def test_list_says_what_is_there_and_what_to_do_about_the_rest(call, peer: Peer) -> None:
    head, line = call("list")[1].splitlines()
    assert head.split() == ["name", "pinned", "available", "interpreter"]
    assert line.split(maxsplit=3) == [
        "tiny",
        "tiny==1.0",
        "no",
        "tiny is not installed; install it with: xai-harness peers install tiny",
    ]
    folder = pretend_installed(peer)
    assert json.loads(call("list", "--json")[1]) == [
        {
            "name": "tiny",
            "requirement": "tiny==1.0",
            "available": True,
            "python": str(folder / "bin" / "python"),
            "source": "installed",
            "note": "",
        }
    ]


def test_remove_says_what_it_removed(call, peer: Peer) -> None:
    folder = pretend_installed(peer)
    assert call("remove", "tiny")[1] == f"removed {folder}\n"
    assert call("remove", "tiny")[1] == "tiny is not installed; nothing to remove\n"


def test_a_mistake_is_one_line_and_exit_status_2(call) -> None:
    status, out, err = call("install", "tny")
    assert (status, out) == (2, "")
    assert err == "error: unknown peer 'tny'; did you mean 'tiny'? See: xai-harness peers list\n"


# Beside the harness


@pytest.fixture
def beside(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """The peer "tiny" beside the harness's environment: all that is installed is listed, what it needs is not."""
    peer.constraints.write_text("tiny==1.0\n")
    declared = dataclasses.replace(peer, beside=True)
    declare(monkeypatch, declared)
    return declared


def test_a_peer_beside_the_harness_has_what_is_listed_and_behind_it_all_that_the_harness_has(
    beside: Peer,
) -> None:
    python = peers.install("tiny")
    program = "import numpy, tiny; print(tiny.version, numpy.__version__)"
    ran = subprocess.run([python, "-c", program], capture_output=True, text=True)
    assert ran.stdout == f"1.0 {np.__version__}\n"
    needed = subprocess.run([python, "-c", "import tiny_core"], capture_output=True, text=True)
    assert "No module named 'tiny_core'" in needed.stderr  # not listed, so not installed


@pytest.mark.nightly
def test_its_own_packages_come_before_those_of_the_harness(beside: Peer, tmp_path: Path) -> None:
    write_wheel(tmp_path / "wheels", "numpy", "0.1")
    beside.constraints.write_text("tiny==1.0\nnumpy==0.1\n")
    python = peers.install("tiny")
    program = "import numpy; from importlib.metadata import version; print(numpy.version, version('numpy'))"
    ran = subprocess.run([python, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "0.1 0.1\n"


def test_a_file_of_the_users_runs_in_a_peer_beside_the_harness(beside: Peer, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np, tiny\n"
        "import harness\n"
        "def ones(graph, x, target, method):\n"
        "    return np.ones_like(x)\n"
        "backend = harness.backend_from_function('tiny-' + tiny.version, ones, 'numpy')\n"
    )
    backend = WorkerBackend(f"{file}:backend", python=peers.install("tiny"))
    try:
        assert backend.name == "tiny-1.0"
    finally:
        backend.close()


def test_a_peer_beside_the_harness_is_made_of_the_python_that_runs_it(beside: Peer, monkeypatch) -> None:
    declare(monkeypatch, dataclasses.replace(beside, pythons=((3, 1),)))
    with pytest.raises(
        PeerError, match=r"runs on the Python of the harness, which is .* it was seen to run on 3.1"
    ):
        peers.install("tiny")
