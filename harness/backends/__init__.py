"""The plugin protocol and the registry."""

from harness.backends.contract import (
    CAPABILITIES,
    capability,
    checked_prepared,
    required,
    versions_of,
    why_unsupported,
)
from harness.backends.handing import graph_of, logits_on_copies, run_on_copies, step_on_copies, to_watch
from harness.backends.protocol import (
    Arrays,
    Backend,
    Model,
    Prepared,
    Programs,
    StepProgram,
    Steps,
)
from harness.backends.registry import (
    CANDIDATE,
    ORACLE,
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
    "CAPABILITIES",
    "ORACLE",
    "REFERENCE",
    "Arrays",
    "Backend",
    "Model",
    "Prepared",
    "Programs",
    "StepProgram",
    "Steps",
    "adapter_plugin",
    "backend_named",
    "capability",
    "checked_prepared",
    "graph_of",
    "installed_name",
    "is_installed",
    "is_user_file",
    "list_backends",
    "logits_on_copies",
    "model_plugin",
    "packages_of",
    "register_backend",
    "required",
    "run_on_copies",
    "step_on_copies",
    "to_watch",
    "versions_of",
    "why_unsupported",
]
