"""The plugin protocol and the registry."""

from harness.backends.handing import run_on_copies, step_on_copies, to_watch
from harness.backends.protocol import Backend, Model, Prepared, Programs, StepProgram, Steps
from harness.backends.registry import (
    CANDIDATE,
    REFERENCE,
    adapter_plugin,
    backend_named,
    installed_name,
    is_installed,
    list_backends,
    model_plugin,
    packages_of,
    register_backend,
)
from harness.backends.user_file import is_user_file

__all__ = [
    "CANDIDATE",
    "REFERENCE",
    "Backend",
    "Model",
    "Prepared",
    "Programs",
    "StepProgram",
    "Steps",
    "adapter_plugin",
    "backend_named",
    "installed_name",
    "is_installed",
    "is_user_file",
    "list_backends",
    "model_plugin",
    "packages_of",
    "register_backend",
    "run_on_copies",
    "step_on_copies",
    "to_watch",
]
