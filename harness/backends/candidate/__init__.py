"""A backend of a file of the user's own, in a process of its own that stays warm from case to case."""

from harness.backends.candidate.backend import TIMEOUT_S, WorkerBackend

__all__ = ["TIMEOUT_S", "WorkerBackend"]
