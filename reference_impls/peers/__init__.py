"""The real libraries that the reference is measured against, each pinned and in an interpreter of its own.

The versions in ``constraints/`` were seen to install and run together.
"""

from __future__ import annotations

from pathlib import Path

from harness.backends.worker import Peer

_HERE = Path(__file__).parent

#: iNNvestigate 2.1.2 with the newest TensorFlow it was released against.
INNVESTIGATE = Peer(
    name="innvestigate",
    requirement="innvestigate==2.1.2",
    constraints=_HERE / "constraints" / "innvestigate.txt",
    adapter=_HERE / "innvestigate_side.py",
    pythons=((3, 11), (3, 10), (3, 9)),
)

#: signxai 1.1.9.2 with the newest TensorFlow it admits.
SIGNXAI = Peer(
    name="signxai",
    requirement="signxai==1.1.9.2",
    constraints=_HERE / "constraints" / "signxai.txt",
    adapter=_HERE / "signxai_side.py",
    pythons=((3, 11), (3, 10), (3, 9), (3, 8)),
)
