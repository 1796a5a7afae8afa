"""Where tasks are done: in this process, in several of this machine, on a Dask cluster."""

from harness.engine.executors.cluster import DaskCluster
from harness.engine.executors.contract import Begun, Done, Event, Executor, Group, Job, Json, Lost, Task, Work
from harness.engine.executors.here import InProcess
from harness.engine.executors.processes import TASK_TIMEOUT_S, LocalProcesses

__all__ = [
    "TASK_TIMEOUT_S",
    "Begun",
    "DaskCluster",
    "Done",
    "Event",
    "Executor",
    "Group",
    "InProcess",
    "Job",
    "Json",
    "LocalProcesses",
    "Lost",
    "Task",
    "Work",
]
