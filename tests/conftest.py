"""Which frameworks a test needs, found from where it stands and what it imports.

A test that needs TensorFlow or torch gets the mark of that name, so that an environment with one framework
can run everything else: ``pytest --without torch`` proves that torch is absent, leaves out the modules
that need it, and runs the rest. A test that reaches a framework some other way (by a backend's name, say)
carries the mark itself: ``@pytest.mark.torch``.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Quiet start-up of TensorFlow; Keras must not pick another backend than the one under test.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Several workers that each start a thread per core only get in each other's way.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    threads = str(max(1, (os.cpu_count() or 1) // int(workers)))
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(variable, threads)

# A busy machine is no failure; CI draws the same examples every time.
settings.register_profile(
    "harness",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("harness")

TESTS = Path(__file__).parent
FRAMEWORKS = ("tensorflow", "torch")

#: What importing a package asks for.
NEEDS = {
    "tensorflow": {"tensorflow"},
    "keras": {"tensorflow"},
    "reference_impls.tensorflow": {"tensorflow"},
    "torch": {"torch"},
    "torchvision": {"torch"},
    "zennit": {"torch"},
    "ported_impls": {"torch"},
}
#: What every test below a folder asks for.
FOLDER_NEEDS = {
    "reference": {"tensorflow"},
    "port": {"torch"},
}
#: Backends by the framework they need, and the calls that are given a backend's name.
BACKEND_NEEDS = {"tensorflow": {"tensorflow"}, "torch": {"torch"}, "zennit": {"torch"}}
BACKEND_CALLS = {"backend_named", "explain", "verify"}


def needs_of_import(module: str) -> set[str]:
    """The frameworks that importing ``module`` needs."""
    needs = (what for name, what in NEEDS.items() if module == name or module.startswith(f"{name}."))
    return set().union(*needs)


def _named(node: ast.AST) -> set[str]:
    """The frameworks that one statement or call names: an import, a twin, a backend."""
    if isinstance(node, ast.Import):
        return set().union(*(needs_of_import(alias.name) for alias in node.names))
    if isinstance(node, ast.ImportFrom) and node.module:
        return set().union(*(needs_of_import(f"{node.module}.{alias.name}") for alias in node.names))
    if isinstance(node, ast.Call):
        return _called(node)
    return set()


def _called(call: ast.Call) -> set[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if isinstance(call.func, ast.Attribute) and name in ("keras", "torch"):
        return {"keras": {"tensorflow"}, "torch": {"torch"}}[name]
    if name not in BACKEND_CALLS:
        return set()
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    names = (value.value for value in given if isinstance(value, ast.Constant))
    return set().union(*(BACKEND_NEEDS.get(str(name), set()) for name in names))


@functools.cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@functools.cache
def needs_of_module(path: Path) -> frozenset[str]:
    """The frameworks without which the test module at ``path`` cannot even be imported."""
    return frozenset(
        needs_of_folder(path.parent).union(*(_named(statement) for statement in _parsed(path).body))
    )


def needs_of_folder(folder: Path) -> set[str]:
    """The frameworks that every test below ``folder`` needs."""
    parts = folder.relative_to(TESTS).parts if folder.is_relative_to(TESTS) else ()
    return FOLDER_NEEDS.get(parts[0], set()) if parts else set()


@functools.cache
def needs_of_functions(path: Path) -> dict[str, set[str]]:
    """The frameworks that each function of a module needs, itself or through its helpers there."""
    bodies = {node.name: node for node in ast.walk(_parsed(path)) if isinstance(node, ast.FunctionDef)}
    needs = {name: set().union(*map(_named, ast.walk(body))) for name, body in bodies.items()}
    uses = {name: set(bodies).intersection(_words(body)) for name, body in bodies.items()}
    for _ in bodies:  # The longest chain of helpers has as many links as there are functions.
        needs = {name: what.union(*(needs[helper] for helper in uses[name])) for name, what in needs.items()}
    return needs


def _words(body: ast.FunctionDef) -> set[str]:
    arguments = {argument.arg for argument in body.args.args}
    return arguments | {node.id for node in ast.walk(body) if isinstance(node, ast.Name)}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--without",
        choices=FRAMEWORKS,
        help="check that this framework is not installed, and run everything that does not need it",
    )


def pytest_configure(config: pytest.Config) -> None:
    absent = config.getoption("--without")
    if absent and importlib.util.find_spec(absent) is not None:
        raise pytest.UsageError(
            f"--without {absent}: {absent} is installed in this environment; run tox -e "
            f"{'torch-only' if absent == 'tensorflow' else 'tensorflow-only'}, which makes one without it"
        )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    absent = config.getoption("--without")
    if collection_path.is_dir():
        return True if absent in needs_of_folder(collection_path) else None
    return True if collection_path.suffix == ".py" and absent in needs_of_module(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    absent = config.getoption("--without")
    for item in items:
        needs = set(needs_of_module(item.path))
        if isinstance(item, pytest.Function):
            needs |= needs_of_functions(item.path).get(item.originalname, set())
        for framework in sorted(needs):
            item.add_marker(framework)
    left_out = [item for item in items if absent and item.get_closest_marker(absent)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker(absent)]
