"""A fresh interpreter that can import NumPy, torch, what they require, and nothing else that is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def requirements(*names: str) -> set[str]:
    """The distributions named and, as far as they are installed, all that they require."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = re.sub(r"[-_.]+", "-", pending.pop()).lower()
        if name in found:
            continue
        try:
            required = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found.add(name)
        pending += [
            match.group()
            for line in required
            if "extra" not in line and (match := re.match(r"[\w.-]+", line))
        ]
    return found


def bare_site(folder: Path) -> Path:
    """A folder to import from: links to the files of NumPy, torch and what they require."""
    for name in requirements("numpy", "torch"):
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or ()}:
            source, link = Path(str(installed.locate_file(top))), folder / top
            if top != ".." and not link.exists():
                link.symlink_to(source)
    return folder


def run_bare(site: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``python ARGUMENTS`` with the standard library and ``site`` alone, from the root folder.

    ``-I`` leaves out the environment's paths and the user's packages, ``-S`` those of this interpreter.
    """
    script, *rest = (str(argument) for argument in arguments)
    start = (
        f"import runpy, sys; sys.path.append({str(site)!r}); sys.argv = {[script, *rest]!r}; "
        f"runpy.run_path({script!r}, run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", start], capture_output=True, text=True, timeout=300, cwd="/"
    )
