"""Runs an adapter in another Python interpreter: requests and answers are JSON lines, arrays are safetensors files."""

from harness.backends.worker.peer import Peer
from harness.backends.worker.worker import Worker, own_surroundings, surroundings_of_another

__all__ = ["Peer", "Worker", "own_surroundings", "surroundings_of_another"]
