"""Environments of the peers: one venv each, pinned, in the user's cache, whole or not there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from harness.backends.worker import Peer
from harness.errors import MissingPeerError, PeerError, UnknownNameError
from harness.files import cache_folder, write_json

#: Written last, in the environment's folder: what has none is a half-made environment.
_STAMP = "installed.json"
_PROBE = "import ensurepip, sys, venv; print(*sys.version_info[:2])"


@cache
def peers() -> dict[str, Peer]:
    """The peers that installed packages declare in the entry-point group "xai_harness.peers", by name."""
    points = sorted(entry_points(group="xai_harness.peers"), key=lambda point: point.name)
    return {point.name: point.load() for point in points}


def python_of(name: str) -> Path:
    """The interpreter that runs peer ``name``: the one its environment variable names, else the installed one.

    Raises UnknownNameError; PeerError where it is not installed or the interpreter is gone.
    """
    peer = _peer(name)
    chosen = os.environ.get(variable_of(name))
    if chosen:
        if not _executable(Path(chosen)):
            raise PeerError(
                f"{variable_of(name)} is {chosen!r}, which is no program that can be run; "
                f"set it to a Python interpreter that has {peer.requirement}, or unset it"
            )
        return Path(chosen)
    folder = folder_of(peer)
    if not (folder / _STAMP).exists():
        raise MissingPeerError(f"{name} is not installed; install it with: xai-harness peers install {name}")
    python = _venv_python(folder)
    if not _executable(python):
        raise PeerError(
            f"{name}: the interpreter {python} is gone; install it again with: xai-harness peers install {name}"
        )
    return python


def install(name: str, progress: Callable[[str], None] = lambda line: None) -> Path:
    """Make the environment of peer ``name`` and return its interpreter; one that is there is returned as it is.

    ``progress`` is called with a line of text whenever something goes on. What a killed run has left is never
    taken for an environment: the next run makes it anew (pip keeps what it has downloaded). Raises
    UnknownNameError; PeerError where no fitting Python is found, another process is installing it, or pip fails.
    """
    peer = _peer(name)
    folder = folder_of(peer)
    with _locked(folder.parent / f"{name}.lock", name):
        if (folder / _STAMP).exists() and _executable(_venv_python(folder)):
            progress(f"{peer.requirement} is installed already")
            return _venv_python(folder)
        base = find_python(peer)
        (folder / _STAMP).unlink(missing_ok=True)
        log = folder.with_suffix(".log")
        log.unlink(missing_ok=True)
        progress(f"making an environment with {base}")
        _run(
            (base, "-m", "venv", "--clear", folder),
            log,
            progress,
            f"{name}: making an environment with {base}",
        )
        progress(f"installing {peer.requirement}; the log is {log}")
        options = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off")
        pinned = ("--constraint", str(peer.constraints))
        if peer.beside:
            pips: tuple[tuple[str, ...], ...] = (
                ("--no-deps", "--ignore-requires-python", "--requirement", str(peer.constraints)),
            )
        elif peer.dependencies:
            pips = ((*pinned, peer.requirement, *peer.extras),)
        else:
            pips = (("--no-deps", *pinned, peer.requirement), (*pinned, *peer.extras))
        for wanted in pips:
            _run(
                (_venv_python(folder), "-m", "pip", "install", *options, *wanted),
                log,
                progress,
                f"{name}: pip install {peer.requirement}",
            )
        if peer.beside:
            _link(folder)
        write_json(folder / _STAMP, {"requirement": peer.requirement, "python": str(base)})
    return _venv_python(folder)


def remove(name: str, which: Callable[[Path], bool] = lambda folder: True) -> list[Path]:
    """Remove the environments of peer ``name``, those of earlier pins too; the folders that were there.

    ``which``: whether the one in this folder goes.
    """
    peer = _peer(name)
    folder = folder_of(peer)
    if not folder.parent.is_dir():
        return []
    removed = []
    with _locked(folder.parent / f"{name}.lock", name):
        for path in sorted(folder.parent.iterdir()):
            if not re.fullmatch(re.escape(name) + r"-[0-9a-f]{12}(\.log)?", path.name):
                continue
            if not which(Path(str(path).removesuffix(".log"))):
                continue
            if path.is_dir():
                # First, so that a removal cut short leaves nothing that looks whole.
                (path / _STAMP).unlink(missing_ok=True)
                shutil.rmtree(path)
                removed.append(path)
            else:
                path.unlink()
    return removed


def status() -> list[dict[str, Any]]:
    """A row a peer: name, requirement, whether it can be used, its interpreter, where that comes from, what to do."""
    rows = []
    for name, peer in peers().items():
        source = variable_of(name) if os.environ.get(variable_of(name)) else "installed"
        row: dict[str, Any] = {"name": name, "requirement": peer.requirement}
        try:
            row |= {"available": True, "python": str(python_of(name)), "source": source, "note": ""}
        except PeerError as error:
            row |= {"available": False, "python": None, "source": None, "note": str(error)}
        rows.append(row)
    return rows


def variable_of(name: str) -> str:
    """The environment variable that names another interpreter for peer ``name``."""
    return f"XAI_HARNESS_PEER_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"


def folder_of(peer: Peer) -> Path:
    """Where the environment of ``peer`` belongs; other pins, another folder."""
    behind = (_own_packages(),) if peer.beside else ()
    pins = "\n".join((peer.requirement, *peer.extras, peer.constraints.read_text(encoding="utf-8"), *behind))
    return cache_folder() / "peers" / f"{peer.name}-{hashlib.sha256(pins.encode()).hexdigest()[:12]}"


def find_python(peer: Peer) -> Path:
    """A Python that ``peer`` installs on: this one if it fits, else the first on the PATH, in the order of the peer.

    Raises PeerError where there is none that can also make environments.
    """
    others = () if peer.beside else (f"python{major}.{minor}" for major, minor in peer.pythons)
    names = [sys.executable, *others]
    for candidate in filter(None, map(shutil.which, names)):
        # A name on the PATH may be a stub of a version manager, or a Python without venv: asked, not believed.
        try:
            answer = subprocess.run((candidate, "-c", _PROBE), capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if answer.returncode == 0 and tuple(map(int, answer.stdout.split())) in peer.pythons:
            return Path(candidate)
    wanted = [f"{major}.{minor}" for major, minor in peer.pythons]
    if peer.beside:
        raise PeerError(
            f"{peer.name} runs on the Python of the harness, which is {'.'.join(map(str, sys.version_info[:2]))}; "
            f"it was seen to run on {', '.join(wanted)}: run the harness with that one, with venv"
        )
    raise PeerError(
        f"{peer.name} needs Python {', '.join(wanted)} with venv; this is {'.'.join(map(str, sys.version_info[:2]))} "
        f"and none of them is on the PATH; install one (uv python install {wanted[0]}, or the system's "
        f"python{wanted[0]} and python{wanted[0]}-venv), so that python{wanted[0]} runs it"
    )


def _own_packages() -> str:
    """The folder that the packages of this interpreter are installed in."""
    return sysconfig.get_paths()["purelib"]


def _link(folder: Path) -> None:
    """Have the environment in ``folder`` find this interpreter's packages behind its own."""
    site_packages = next((folder / "lib").glob("python3.*/site-packages"))
    line = f"import site; site.addsitedir({_own_packages()!r})\n"
    (site_packages / "zz_harness_environment.pth").write_text(line, encoding="utf-8")


def _run(command: Sequence[str | Path], log: Path, progress: Callable[[str], None], what: str) -> None:
    """Run ``command``, every line of its output to ``log`` and ``progress``. PeerError unless it ends well."""
    own = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    lines = []
    with (
        open(log, "a", encoding="utf-8") as written,
        subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=own,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                written.write(line)
                if text := line.strip():
                    lines.append(text)
                    progress(text)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        errors = [line for line in lines if line.lower().startswith("error")] or lines or ["no output"]
        raise PeerError(f"{what} failed: {errors[-1]} (full log: {log})")


@contextlib.contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    """Hold the lock file at ``path``; it is freed with this process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PeerError(
                f"{name} is being installed or removed by another process; wait for it, then run this again"
            ) from None
        yield


def _peer(name: str) -> Peer:
    if name not in peers():
        raise UnknownNameError("peer", name, peers(), "See: xai-harness peers list")
    return peers()[name]


def _venv_python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
