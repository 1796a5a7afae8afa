"""What a peer is: a library that runs in an interpreter of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Peer:
    """One library, pinned, and the script that answers for it.

    ``requirement`` is the library's own pin (``name==version``), ``constraints`` a pip constraints file with the
    versions of everything else, ``adapter`` the script that `serve.py` imports there, ``extras`` what the adapter
    needs beside the library, ``pythons`` the Python versions the pins install on, best first.
    Without ``dependencies`` the library is installed without what it requires: the adapter needs the extras alone.
    Plugins name such an object in the entry-point group "xai_harness.peers".
    """

    name: str
    requirement: str
    constraints: Path
    adapter: Path
    pythons: tuple[tuple[int, int], ...]
    extras: tuple[str, ...] = ("safetensors",)
    dependencies: bool = True
