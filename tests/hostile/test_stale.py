"""Ten ways to change code without changing the file that is named: what is computed next is of the changed code."""

from __future__ import annotations

import json
import os
import py_compile
from collections.abc import Callable
from pathlib import Path

import pytest

#: The oracle, times ``factor()`` of what stands for the way.
CANDIDATE = """
from dataclasses import replace
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness.backends import backend_named
{imports}

class Prepared:
    def __init__(self, inner): self.inner = inner
    def run(self, x, method, target, layers):
        found = self.inner.run(x, method, target, layers)
        return replace(found, attribution=found.attribution * ({factor}))

class Candidate:
    name = "mine"
    def version(self): return {{"mine": "1.0"}}
    def supports(self, method, graph): return ""
    def prepare(self, model, dtype, device="cpu"): return Prepared(backend_named("oracle").prepare(model, dtype))
"""


def text(name: str, content: str = "FACTOR = {}\n") -> Callable[[Path, int], None]:
    """The file ``name`` with a factor in it; its time of change and its size are the same for every factor."""

    def write(folder: Path, factor: int) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.format(factor))
        os.utime(path, (10**9, 10**9))

    return write


def link(folder: Path, factor: int) -> None:
    (folder / f"helper_{factor}.py").write_text(f"FACTOR = {factor}\n")
    (folder / "linked.py").unlink(missing_ok=True)
    (folder / "linked.py").symlink_to(f"helper_{factor}.py")


def bytecode(folder: Path, factor: int) -> None:
    source = folder / "source.txt"
    source.write_text(f"FACTOR = {factor}\n")
    py_compile.compile(str(source), str(folder / "compiled.pyc"), doraise=True)


def package_again(folder: Path, factor: int) -> None:
    text("package/__init__.py", "from package.inner import FACTOR\n")(folder, 0)
    text("package/inner.py")(folder, factor)


def site(folder: Path, factor: int) -> None:
    text("site/installed_of_mine.py")(folder, factor)
    text("site/installed_of_mine-1.0.dist-info/METADATA", "Name: installed_of_mine\nVersion: 1.0\n")(
        folder, factor
    )


def variable(folder: Path, factor: int) -> None:
    os.environ["FACTOR_OF_MINE"] = str(factor)


#: By what is changed: what the file imports, what it multiplies by, and what makes the change.
WAYS: dict[str, tuple[str, str, Callable[[Path, int], None]]] = {
    "a module beside it": ("import helper", "helper.FACTOR", text("helper.py")),
    "a module of a package": ("import package", "package.FACTOR", package_again),
    "a symbol handed on": ("from handed_on import *", "FACTOR", package_again),
    "a file of data": (
        "import json, pathlib",
        "json.loads((pathlib.Path(__file__).parent / 'data.json').read_text())['f']",
        text("data.json", '{{"f": {}}}'),
    ),
    "an environment variable": ("", "int(os.environ['FACTOR_OF_MINE'])", variable),
    "what a link leads to": ("import linked", "linked.FACTOR", link),
    "bytecode without a source": ("import compiled", "compiled.FACTOR", bytecode),
    "an installed package of the same version": (
        "sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'site'))\n"
        "import installed_of_mine",
        "installed_of_mine.FACTOR",
        site,
    ),
    "what is put over another module at import": (
        "import math, patch",
        "math.factor_of_mine",
        text("patch.py", "import math\nmath.factor_of_mine = {}\n"),
    ),
    "a module that is imported when it runs": ("", "__import__('late').FACTOR", text("late.py")),
    "a module that is found by its file": (
        "import runpy",
        "runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'other.py'))['FACTOR']",
        text("other.py"),
    ),
    "conftest": ("import conftest_of_mine", "conftest_of_mine.FACTOR", text("conftest_of_mine.py")),
}
COMMAND = ("run", "--reference", "oracle", "--candidate", "mine.py:Candidate", "--model", "digits-cnn")
CASE = ("--method", "gradient", "--dtype", "float64", "--out", "out", "--json")


@pytest.mark.thinned(0.2)
@pytest.mark.parametrize(("imports", "factor", "change"), WAYS.values(), ids=WAYS)
def test_changed_code_gets_no_verdict_of_before(
    call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    imports: str,
    factor: str,
    change: Callable[[Path, int], None],
) -> None:
    monkeypatch.setenv("FACTOR_OF_MINE", "0")
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    (tmp_path / "handed_on.py").write_text("from package import FACTOR\n")
    (tmp_path / "mine.py").write_text(CANDIDATE.format(imports=imports, factor=factor))
    for value, expected in ((1, "identical"), (2, "divergent"), (1, "identical")):
        change(tmp_path, value)
        status, out, err = call(*COMMAND, *CASE)
        (row,) = json.loads(out)["rows"]
        assert (status, row["verdict"]) == (int(expected == "divergent"), expected), (row["message"], err)
        assert "done before" not in err
