"""Other people's libraries as candidates: each pinned, in an interpreter of its own beside the harness's environment.

What runs there is a module ``*_side.py`` of this folder, whose ``backend`` is an ordinary backend. The versions in
``pins/`` are all that is installed: torch, TensorFlow and NumPy are those of the harness.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.backends.candidate import WorkerBackend
from harness.backends.protocol import Backend, Model, Prepared
from harness.backends.worker import Peer
from harness.files import installed_versions, source_digest
from harness.graph import Graph
from harness.methods import Method
from harness.peers import python_of, variable_of

_HERE = Path(__file__).parent


def _library(name: str, requirement: str, side: str) -> Peer:
    return Peer(
        name=name,
        requirement=requirement,
        constraints=_HERE / "pins" / f"{name}.txt",
        adapter=_HERE / f"{side}_side.py",
        pythons=((3, 11),),
        extras=(),
        beside=True,
    )


CAPTUM = _library("captum", "captum==0.9.0", "captum")
ZENNIT_0_5 = _library("zennit-0.5", "zennit==0.5.1", "zennit")
ZENNIT_1_0 = _library("zennit-1.0", "zennit==1.0.0", "zennit")
SIGNXAI2_0_13 = _library("signxai2-0.13", "signxai2==0.13.0", "signxai2_names")
SIGNXAI2_0_15 = _library("signxai2-0.15", "signxai2==0.15.10", "signxai2_composites")
LRP_PF_AUC = _library("lrp-pf-auc", "lrp-pf-auc==0.1.6", "lrp_pf_auc")
LXT = _library("lxt", "lxt==2.1", "lxt")
XPLIQUE = _library("xplique", "xplique==2.0.2", "xplique")
TF_KERAS_VIS = _library("tf-keras-vis", "tf-keras-vis==0.8.7", "tf_keras_vis")
ZENNIT_CRP = _library("zennit-crp", "zennit-crp==0.6.0", "zennit_crp")


class HostedBackend:
    """The backend of ``peer``; its process starts when something is first run, or asked of a network.

    Every call raises PeerError where the library is not installed.
    """

    #: What it changes of its process is watched there.
    runs_elsewhere = True

    def __init__(self, peer: Peer) -> None:
        self.name = peer.name
        self._peer = peer
        self._started: WorkerBackend | None = None

    def version(self) -> dict[str, str]:
        """The pinned versions, which are those that are there, unless a variable names another interpreter."""
        python_of(self.name)
        if variable_of(self.name) in os.environ:
            return self._worker().version()
        pins = self._peer.constraints.read_text(encoding="utf-8").split()
        behind = installed_versions("torch", "tensorflow", "keras", "numpy")
        return {**behind, **dict(pin.split("==") for pin in pins), "source": source_digest("ported_impls")}

    def supports(self, method: Method, graph: Graph) -> str:
        return self._worker().supports(method, graph)

    def prepare(self, model: Model, dtype: str, device: str = "cpu") -> Prepared:
        return self._worker().prepare(model, dtype, device)

    def close(self) -> None:
        """End the process, if there is one; the next call starts it again."""
        if self._started is not None:
            self._started.close()
            self._started = None

    def _worker(self) -> WorkerBackend:
        if self._started is None:
            self._started = WorkerBackend(f"{self._peer.adapter}:backend", python=python_of(self.name))
        return self._started


def captum() -> Backend:
    return HostedBackend(CAPTUM)


def zennit_0_5() -> Backend:
    return HostedBackend(ZENNIT_0_5)


def zennit_1_0() -> Backend:
    return HostedBackend(ZENNIT_1_0)


def signxai2_0_13() -> Backend:
    return HostedBackend(SIGNXAI2_0_13)


def signxai2_0_15() -> Backend:
    return HostedBackend(SIGNXAI2_0_15)


def lrp_pf_auc() -> Backend:
    return HostedBackend(LRP_PF_AUC)


def lxt() -> Backend:
    return HostedBackend(LXT)


def xplique() -> Backend:
    return HostedBackend(XPLIQUE)


def tf_keras_vis() -> Backend:
    return HostedBackend(TF_KERAS_VIS)


def zennit_crp() -> Backend:
    return HostedBackend(ZENNIT_CRP)
