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

    ``beside``: for a library that runs on the harness's own torch or TensorFlow. Its environment is made of the Python
    that runs the harness; its own packages come first, and the rest is found in the harness's environment.
    ``constraints`` is then the whole list of what is installed, without dependencies, and whatever versions of Python
    and of other packages they ask for.
    """

    name: str
    requirement: str
    constraints: Path
    adapter: Path
    pythons: tuple[tuple[int, int], ...]
    extras: tuple[str, ...] = ("safetensors",)
    beside: bool = False
    dependencies: bool = True
