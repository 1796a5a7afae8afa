"""Which framework a test needs, read from its source: running it, or even importing it, may not be possible."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
FRAMEWORKS = ("tensorflow", "torch")

#: What importing a package asks for. A name that ends in ``_`` stands for all modules that begin so.
IMPORT_NEEDS = {
    "tensorflow": {"tensorflow"},
    "keras": {"tensorflow"},
    "reference_impls.tensorflow": {"tensorflow"},
    "ported_models.twins.keras_": {"tensorflow"},
    "torch": {"torch"},
    "torchvision": {"torch"},
    "zennit": {"torch"},
    "ported_impls": {"torch"},
    "ported_models.twins.torch_": {"torch"},
    "ported_models.sources.torch_": {"torch"},
    "evidence.planted_bugs.bugs": {"torch"},
}
#: What every test below a folder asks for.
FOLDER_NEEDS = {
    "evidence/planted_bugs": {"tensorflow", "torch"},
    "reference": {"tensorflow"},
    "port": {"torch"},
}
#: What calling a function or method of this name asks for.
CALL_NEEDS = {
    "keras": {"tensorflow"},
    "keras_logits": {"tensorflow"},
    "torch": {"torch"},
    "torch_logits": {"torch"},
    "assert_twins_agree": {"tensorflow", "torch"},
}
#: Backends by the framework they need, and the calls that are given a backend's name.
BACKEND_NEEDS = {"tensorflow": {"tensorflow"}, "torch": {"torch"}, "zennit": {"torch"}}
BACKEND_CALLS = {"backend_named", "explain", "verify"}


def needs_of_import(module: str) -> set[str]:
    """The frameworks that importing ``module`` needs; a helper module of the tests is looked into."""
    needs = (
        what
        for name, what in IMPORT_NEEDS.items()
        if module == name or module.startswith(name if name.endswith("_") else f"{name}.")
    )
    helper = _helper(module)
    return set().union(*needs, needs_of_module(helper) if helper else ())


@functools.cache
def needs_of_module(path: Path) -> frozenset[str]:
    """The frameworks without which the test module at ``path`` cannot even be imported."""
    return frozenset(needs_of_folder(path.parent).union(*map(_named, _parsed(path).body)))


def needs_of_folder(folder: Path) -> set[str]:
    """The frameworks that every test below ``folder`` needs."""
    return set().union(
        *(needs for name, needs in FOLDER_NEEDS.items() if folder.is_relative_to(TESTS / name))
    )


@functools.cache
def needs_of_functions(path: Path) -> dict[str, set[str]]:
    """The frameworks that each function of a module needs, itself or through helpers of the tests."""
    bodies = {node.name: tuple(ast.walk(node)) for node in _nodes(path) if isinstance(node, ast.FunctionDef)}
    needs = {name: set().union(*map(_named, nodes)) for name, nodes in bodies.items()}
    words = {name: _words(nodes) for name, nodes in bodies.items()}
    for name, helper in _imported_helpers(path):
        for user in bodies:
            if name in words[user]:
                needs[user] |= needs_of_functions(helper).get(name, set())
    for _ in bodies:  # The longest chain of helpers has as many links as there are functions.
        before = needs
        needs = {
            name: what.union(*(needs[helper] for helper in words[name].intersection(bodies)))
            for name, what in needs.items()
        }
        if needs == before:
            break
    return needs


@functools.cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@functools.cache
def _nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(_parsed(path)))


@functools.cache
def _helper(module: str) -> Path | None:
    """The file of a module of the tests; None for any other."""
    path = TESTS.parent.joinpath(*module.split(".")).with_suffix(".py")
    return path if module.startswith("tests.") and path.is_file() else None


def _imported_helpers(path: Path) -> Iterator[tuple[str, Path]]:
    """Name and module of everything that a module imports from modules of the tests."""
    for node in _nodes(path):
        if isinstance(node, ast.ImportFrom) and (helper := _helper(node.module or "")):
            yield from ((alias.asname or alias.name, helper) for alias in node.names)


def _named(node: ast.AST) -> set[str]:
    """The frameworks that one statement or call names: an import, a twin, a backend."""
    if isinstance(node, ast.Import):
        return set().union(*(needs_of_import(alias.name) for alias in node.names))
    if isinstance(node, ast.ImportFrom) and node.module:
        modules = (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        return set().union(*map(needs_of_import, modules))
    if isinstance(node, ast.Call):
        return _called(node)
    return set()


def _called(call: ast.Call) -> set[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name not in BACKEND_CALLS:
        return CALL_NEEDS.get(name, set())
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    names = (value.value for value in given if isinstance(value, ast.Constant))
    return set().union(*(BACKEND_NEEDS.get(str(name), set()) for name in names))


def _words(nodes: tuple[ast.AST, ...]) -> set[str]:
    """Every name that a function reads, and those of its arguments, which may be fixtures; ``nodes``: all of it."""
    assert isinstance(nodes[0], ast.FunctionDef)
    arguments = {argument.arg for argument in nodes[0].args.args}
    return arguments | {node.id for node in nodes if isinstance(node, ast.Name)}
