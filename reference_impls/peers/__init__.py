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

#: The handlers of dl-backtrace 0.1.24 alone: not what it requires, which is most of a machine-learning stack.
DL_BACKTRACE = Peer(
    name="dl-backtrace",
    requirement="dl-backtrace==0.1.24",
    constraints=_HERE / "constraints" / "dl-backtrace.txt",
    adapter=_HERE / "backtrace_package_side.py",
    pythons=((3, 11), (3, 12), (3, 13)),
    extras=("numpy", "safetensors"),
    dependencies=False,
)

#: The same with torch, for those of its versions that compute with it.
DL_BACKTRACE_TORCH = Peer(
    name="dl-backtrace-torch",
    requirement="dl-backtrace==0.1.24",
    constraints=_HERE / "constraints" / "dl-backtrace.txt",
    adapter=_HERE / "backtrace_package_side.py",
    pythons=((3, 11), (3, 12), (3, 13)),
    extras=("numpy", "safetensors", "torch"),
    dependencies=False,
)
