"""Other people's libraries as candidates: each pinned, in an interpreter of its own beside the harness's environment.

What runs there is a module ``*_side.py`` of this folder, whose ``backend`` is an ordinary backend. The versions in
``pins/`` are all that is installed: torch, TensorFlow and NumPy are those of the harness.
"""

from __future__ import annotations

from pathlib import Path

from harness.backends.protocol import Backend
from harness.backends.worker import Peer

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


def hosted(peer: Peer) -> Backend:
    """The backend of ``peer``, whose process starts now. Raises PeerError where it is not installed."""
    from harness.backends.candidate import WorkerBackend
    from harness.peers import python_of

    return WorkerBackend(f"{peer.adapter}:backend", python=python_of(peer.name))


def captum() -> Backend:
    return hosted(CAPTUM)


def zennit_0_5() -> Backend:
    return hosted(ZENNIT_0_5)


def zennit_1_0() -> Backend:
    return hosted(ZENNIT_1_0)


def signxai2_0_13() -> Backend:
    return hosted(SIGNXAI2_0_13)


def signxai2_0_15() -> Backend:
    return hosted(SIGNXAI2_0_15)


def lrp_pf_auc() -> Backend:
    return hosted(LRP_PF_AUC)


def lxt() -> Backend:
    return hosted(LXT)


def xplique() -> Backend:
    return hosted(XPLIQUE)


def tf_keras_vis() -> Backend:
    return hosted(TF_KERAS_VIS)


def zennit_crp() -> Backend:
    return hosted(ZENNIT_CRP)
