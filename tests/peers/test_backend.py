"""A peer is what is installed now: nothing is remembered of it that may have changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.backends import backend_named
from harness.errors import PeerError
from tests.peers.library import stand_in

VARIABLE = "XAI_HARNESS_PEER_SIGNXAI"


def test_a_peer_is_looked_for_each_time_it_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = stand_in(tmp_path)
    monkeypatch.setenv(VARIABLE, python)
    backend = backend_named("signxai")
    there, worker = backend.version(), backend.worker
    assert there["signxai"] == "0.1"
    assert (backend.version(), backend.worker) == (there, worker)
    monkeypatch.setenv(VARIABLE, "/gone/python")
    for ask in (backend.version, lambda: backend.worker, backend_named("signxai").version):
        with pytest.raises(PeerError, match="/gone/python"):
            ask()
    monkeypatch.setenv(VARIABLE, python)
    assert backend.version() == there
    worker.close()


def test_another_interpreter_has_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    backend = backend_named("signxai")
    processes = []
    for name in ("one", "two"):
        monkeypatch.setenv(VARIABLE, stand_in(tmp_path / name))
        assert backend.version()["signxai"] == "0.1"
        processes.append(backend.worker)
    assert processes[0] is not processes[1]
    processes[1].close()
