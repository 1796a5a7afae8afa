"""Thirty hostile names of a model, its layers and a candidate: text everywhere, never a path, markup or code."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt

from harness.backends import backend_named
from harness.diagnosis import diagnose
from harness.golden import find_goldens, load_golden, record, verify
from harness.graph import Graph, Layer
from harness.naming import file_name, markdown, printable, shell
from harness.report import write_summary
from harness.runner import Selection, run
from ported_models.model import PortedModel

HOSTILE = [
    "../../x",
    "/etc/passwd",
    "..",
    ".",
    "",
    " ",
    "a/b",
    "a\\b",
    "C:\\x",
    "con",
    "NUL.txt",
    "-rf",
    "~root",
    "x" * 400,
    "new\nline",
    "carriage\rreturn",
    "tab\tand\x00nul",
    "\x1b[2J\x1b]0;title\x07",
    "right\u202eto left",
    "m\u043edel",
    "line\u2028separator",
    '"""\nimport os; os.system("touch PWNED")\n"""',
    "'''+__import__('os').system('touch PWNED')+'''",
    "\\",
    'ends in "',
    "{0} {x!r} %s %(x)s $\\frac{",
    "$(touch PWNED)`touch PWNED`;touch PWNED",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "[click](javascript:alert(1)) ![x](http://evil/x.png) | # **b**",
    "[red]x[/red][/] :smile: [link=http://evil]y[/link]",
    "http://evil www.evil.org a@b.c &amp; `code`",
]


def model_named(name: str) -> PortedModel:
    """x (3) -> dense (4) -> ReLU -> dense (2), all of them called after ``name``, but for its dots."""
    generator = np.random.default_rng(3)
    axes, plain = ("batch", "feature"), name.replace(".", "_")
    x, first, relu, last = (f"{plain}{place}" for place in range(4))
    kernels = generator.normal(size=(3, 4)), 1 + generator.random(size=(4, 2))
    layers = (
        Layer(x, "input", (), (), (3,), axes),
        Layer(first, "dense", (x,), ((3,),), (4,), axes, {}, {"kernel": kernels[0]}),
        Layer(relu, "relu", (first,), ((4,),), (4,), axes),
        Layer(last, "dense", (relu,), ((4,),), (2,), axes, {}, {"kernel": kernels[1]}),
    )
    given = np.array([[0.5, -1.0, 2.0]], np.float32)
    return PortedModel.from_graph(Graph(name, layers, last), examples={name: lambda: given})


class Doubling:
    """The oracle, but for the first dense layer, which passes on twice the relevance."""

    def __init__(self, name: str) -> None:
        self.name = name

    def version(self) -> dict[str, str]:
        return {self.name: self.name}

    def supports(self, method: Any, graph: Any) -> str:
        return ""

    def prepare(self, model: Any, dtype: str, device: str = "cpu") -> Doubling:
        self.doubled = model.graph.layers[1].name
        self.inner = backend_named("oracle").prepare(model, dtype)
        return self

    def run(self, x: np.ndarray, method: Any, target: np.ndarray, layers: bool) -> Any:
        found = self.inner.run(x, method, target, layers)
        first = next(iter(found.activations))
        doubled = {**found.relevances, first: 2 * found.relevances[first]}
        return replace(found, attribution=found.attribution * 2, relevances=doubled)

    def step(self, layer: Layer, inputs: Any, relevance: np.ndarray, method: Any) -> Any:
        shares = self.inner.step(layer, inputs, relevance, method)
        return tuple(2 * share for share in shares) if layer.name == self.doubled else shares


@contextmanager
def nothing_outside(place: Path, *asked_for: str) -> Iterator[None]:
    """Nothing is made or changed in ``place``, but in the folders that were asked for."""
    (place / "x").mkdir(parents=True)
    (place / "victim").write_text("mine")

    def outside() -> dict[str, str]:
        return {
            path.relative_to(place).as_posix(): path.read_text() if path.is_file() else ""
            for path in place.rglob("*")
            if path.relative_to(place).parts[:2] not in {("deep", name) for name in asked_for}
        }

    (place / "deep").mkdir()
    before = outside()
    yield
    assert outside() == before
    assert not list(place.rglob("PWNED"))


def links_and_html(page: str) -> tuple[list[str], list[str]]:
    """What a reader of Markdown makes of a page: where its links and pictures lead, and its HTML."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(page)
    flat = [inner for token in tokens for inner in (token, *(token.children or ()))]
    links = [
        str(each.attrGet("href") or each.attrGet("src"))
        for each in flat
        if each.type in ("link_open", "image")
    ]
    return links, [each.content for each in flat if each.type.startswith("html")]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, id=str(place), marks=[pytest.mark.nightly] * bool(place % 6))
        for place, name in enumerate(HOSTILE)
    ],
)
def test_a_hostile_name_is_text_in_every_file(tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    model, candidate = model_named(name), Doubling(name)
    x = model.examples[name]()
    place = tmp_path / "place"
    with nothing_outside(place, "out", "golden", "reproducer", "temporary"):
        deep = place / "deep"
        monkeypatch.setattr("tempfile.tempdir", str(deep / "temporary"))
        (deep / "temporary").mkdir()
        selection = Selection((model,), ("lrp.z",), ("float64",), "oracle", candidate)  # type: ignore[arg-type]
        rows = run(selection, deep / "out")
        write_summary(rows, deep / "out", {name: name}, [{"model": name, "method": name, "reason": name}])
        assert [row["verdict"] for row in rows] == ["divergent"]
        for file in rows[0]["files"]:
            assert (deep / "out" / file).is_file()
        page = (deep / "out" / "summary.md").read_text()
        links, html = links_and_html(page)
        shown = [file for file in rows[0]["files"] if not file.endswith(".view.json")]
        assert (sorted(links), html) == (sorted(shown), [])
        assert printable(page, lines=True) == page

        (recorded,) = record(deep / "golden", model, x, name, ["lrp.z"], "oracle", "float64")
        path = recorded.path
        assert path in list(find_goldens(deep / "golden", [name], ["lrp.z"]))
        assert load_golden(path).trace.model == name
        assert verify(path, "oracle", {"": model}).passed

        for folder in (deep / "reproducer", None):
            found = diagnose(model, x, "lrp.z", "oracle", candidate, dtype="float64", reproduce_in=folder)
            assert found.layer == model.graph.layers[1].name
            written = found.reproducer
            assert written is not None
            assert written.parent == (deep if folder else deep / "temporary")
        script = written / "reproduce.py"
        assert [type(node) for node in ast.parse(script.read_text()).body[:2]] == [ast.Expr, ast.Import]
        assert printable(script.read_text(), lines=True) == script.read_text()
        done = subprocess.run([sys.executable, str(script)], cwd=place / "x", capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (1, "")
        assert "the error is there" in done.stdout
        assert links_and_html((written / "README.md").read_text()) == ([], [])


def test_no_two_names_are_one_file() -> None:
    names = [*HOSTILE, "x", "lrp.z", "a_b", "a+b", file_name("a/b"), file_name("..")]
    assert len({file_name(name).lower() for name in names}) == len(names)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", file_name(name))
        assert len(file_name(name)) <= 120


def test_names_that_are_file_names_stay_as_they_are() -> None:
    for name in (
        "digits-cnn",
        "lrp.alpha_1_beta_0-input_layer_rule_flat",
        "vgg16-mri",
        "lrp.epsilon-epsilon_0.25",
    ):
        assert (file_name(name), markdown(name), shell([name])) == (name, name, name)


@pytest.mark.parametrize("name", [name for name in HOSTILE if "\0" not in name])
def test_a_word_of_a_shell_is_that_word(name: str) -> None:
    words = ["printf", "%s", name]
    done = subprocess.run(["bash", "-c", shell(words)], capture_output=True)
    assert done.stdout == name.encode()
    assert printable(shell(words)) == shell(words)


def test_two_networks_of_one_name_have_goldens_of_their_own(tmp_path: Path) -> None:
    one = model_named("net")
    other = one.with_weights(lambda layer, key, array: array * 2)
    x = one.examples["net"]()
    paths = [
        next(record(tmp_path, model, x, "x", ["lrp.z"], "oracle", "float64")).path
        for model in (one, other, one)
    ]
    assert paths[0] == paths[2] != paths[1]
    for path, model in zip(paths, (one, other, one), strict=True):
        assert load_golden(path).facts["model_digest"] == model.digest
        assert verify(path, "oracle", {"a": one, "b": other}).verdict == "identical"
    assert sorted(find_goldens(tmp_path, ["net"])) == sorted(set(paths))


def test_files_of_hostile_names_through_the_command_line(call, tmp_path: Path) -> None:
    import onnx

    stems = ["[red]$(touch PWNED)", 'a"""b\x1b[2J', "net"]
    files = []
    for place, stem in enumerate(stems):
        model = model_named("m").with_weights(lambda layer, key, array, place=place: array * (place + 1))
        for folder in ("a", "b") if stem == "net" else ("a",):
            (tmp_path / folder).mkdir(exist_ok=True)
            changed = model.with_weights(
                lambda layer, key, array, folder=folder: array * (1 + (folder == "b"))
            )
            files.append(f"{folder}/{stem}.onnx")
            onnx.save(changed.onnx, tmp_path / files[-1])
    np.save(tmp_path / "x.npy", np.array([[0.5, -1.0, 2.0]], np.float32))
    named = [word for file in files for word in ("--model", file)]
    common = (*named, "--method", "lrp.z", "--dtype", "float64", "--input", "x.npy")
    before = {path.name for path in tmp_path.iterdir()}
    status, out, err = call("run", *common, "--reference", "oracle", "--candidate", "oracle", "--out", "out")
    assert status == 0, err
    assert "\x1b[2J" not in out + err and "4 of 4 cases passed" in out
    assert len([path for path in (tmp_path / "out").iterdir() if path.is_dir()]) == 4
    common = (*named, "--method", "lrp.z", "--dtype", "float64", "--input", "x.npy", "--root", "golden")
    status, out, err = call("golden", "record", *common, "--reference", "oracle")
    folders = [path for path in (tmp_path / "golden").iterdir() if path.is_dir()]
    assert (status, len(folders)) == (0, 4), err
    status, out, err = call(
        "golden", "verify", *named, "--root", "golden", "--candidate", "oracle", "--out", "out", "--json"
    )
    rows = json.loads(out)["rows"]
    assert (status, [row["verdict"] for row in rows]) == (0, ["identical"] * 4), rows
    assert {path.name for path in tmp_path.iterdir()} == before | {"out", "golden"}
