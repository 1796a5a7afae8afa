"""The page: one file that asks nothing of the network, in which names are text, with all that a case has left."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.errors import InvalidInputError
from harness.graph import Graph, Layer
from harness.report import case_view, changes, document_of, read_document, tables_html, worklist, write_report
from harness.report.page import page_html
from harness.report.view import quantised
from harness.token_texts import token_texts

ROW: dict[str, Any] = {
    "model": "digits-cnn",
    "input": "zero",
    "method": "lrp.z",
    "dtype": "float64",
    "reference": "tensorflow",
    "candidate": "torch",
    "verdict": "equivalent",
    "passed": True,
    "worst_layer": "conv",
    "worst_rel_l2": 1e-16,
    "worst_ratio": 0.5,
    "seconds_total": 1.5,
    "files": [],
}
FAILED = ROW | {
    "method": "lrp.flat",
    "verdict": "divergent",
    "passed": False,
    "first_divergent": "conv",
    "worst_ratio": 1e9,
}
GRAPH = Graph(
    "net",
    (
        Layer("x", "input", (), (), (2, 3, 1), ("batch", "height", "width", "channel")),
        Layer("y", "relu", ("x",), ((2, 3, 1),), (2, 3, 1), ("batch", "height", "width", "channel")),
    ),
    "y",
)


def levels(kept: dict[str, Any]) -> list[Any]:
    flat = np.frombuffer(base64.b64decode(kept["bytes"]), np.uint8)
    return flat.reshape(kept["shape"]).tolist()


def detail(page: str, place: int) -> dict[str, Any]:
    packed = re.search(rf'id="detail-{place}">([^<]*)<', page)
    assert packed is not None
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.append((tag, found))
        self.cells += tag == "a" and (found.get("class") or "").startswith("cell")


def tags(page: str) -> _Tags:
    parser = _Tags()
    parser.feed(page)
    return parser


def test_a_map_keeps_zero_exactly_and_the_ends_of_its_range() -> None:
    # 127 + 127 * value / 2: the largest is 2.
    kept = quantised(np.array([[0.0, 2.0, -2.0], [1.0, np.nan, np.inf]]), 10)
    assert levels(kept) == [[127, 254, 0], [190, 255, 255]]
    assert (kept["largest"], kept["not_finite"], kept["block"]) == (2.0, 2, [1, 1])


def test_a_map_that_is_too_large_is_summed_over_blocks_so_that_no_relevance_is_lost() -> None:
    kept = quantised(np.arange(12.0).reshape(2, 6), 3)
    assert kept["block"] == [1, 2]
    # Sums of two: 1, 5, 9 and 13, 17, 21.
    assert kept["largest"] == 21.0
    assert levels(kept) == [[round(127 + 127 * n / 21) for n in line] for line in ((1, 5, 9), (13, 17, 21))]


def test_numbers_at_the_ends_of_the_range_have_a_map() -> None:
    kept = quantised(np.array([[1e308, -1e308]]), 4)
    assert levels(kept) == [[254, 0]]
    assert levels(quantised(np.array([[5e-324, 0.0]]), 4)) == [[254, 127]]


def test_the_worst_sample_comes_first_and_all_are_there() -> None:
    x = np.ones((3, 2, 3, 1))
    candidate = x + np.array([0.0, 0.5, 0.1]).reshape(3, 1, 1, 1)
    view = case_view(GRAPH, x, x, candidate, ["a", "b", "c"], passed=False)
    assert [sample["name"] for sample in view["samples"]] == ["b", "c", "a"]
    # Of ones and ones and a half: every value is off by half of its own.
    assert view["samples"][0]["rel_l2"] == pytest.approx(0.5)
    assert view["samples"][0]["difference"]["largest"] == 0.5
    assert view["network"] == [["x", "input", []], ["y", "relu", [0]]]


def text_model(names: tuple[str, ...] | None, *shape: int) -> Any:
    """A network of (token) or (token, feature) as a report sees it: a graph, and what its tokens are called."""
    axes = ("batch", "token", "feature")[: len(shape) + 1]
    graph = Graph("text", (Layer("x", "input", (), (), shape, axes),), "x")
    texts = None if names is None else lambda x: [names] * len(x)
    return SimpleNamespace(name="text", graph=graph, token_texts=texts)


def test_tokens_are_called_by_their_text_or_number() -> None:
    ids, vectors = np.array([[101.0, 7.0]]), np.zeros((1, 2, 3))
    assert token_texts(text_model(("[CLS]", "<b>"), 2), ids) == (("[CLS]", "<b>"),)
    assert token_texts(text_model(None, 2), ids) == (("101", "7"),)
    assert token_texts(text_model(("a", "b"), 2, 3), vectors) == (("a", "b"),)
    assert token_texts(text_model(None, 2, 3), vectors) == ()
    with pytest.raises(InvalidInputError, match="names 3 tokens, expected 2 for each of 1 samples"):
        token_texts(text_model(("a", "b", "c"), 2), ids)


def test_the_relevance_of_a_token_is_the_sum_over_its_features_with_its_text() -> None:
    """By hand: 1 - 3 = -2 and 2 + 0.5 = 2.5; the candidate turns the first sign: 3 + 1 = 4, 6 more."""
    reference = np.array([[[1.0, -3.0], [2.0, 0.5]]])
    candidate = np.array([[[1.0, 3.0], [2.0, 0.5]]])
    model = text_model(("<b>", '"it\'s"'), 2, 2)
    texts = token_texts(model, np.zeros((1, 2, 2)))
    (sample,) = case_view(model.graph, np.zeros((1, 2, 2)), reference, candidate, texts=texts)["samples"]
    assert sample["labels"] == ["token"]
    assert sample["input"]["tokens"] == ["<b>", '"it\'s"']
    assert [sample[side]["numbers"] for side in ("reference", "candidate", "difference")] == [
        [-2.0, 2.5],
        [4.0, 2.5],
        [6.0, 0.0],
    ]
    bars = case_view(model.graph, np.zeros((1, 2, 2)), reference, candidate)["samples"][0]
    assert "tokens" not in bars["input"] and bars["reference"]["shape"] == [2]


def test_tokens_that_are_markup_are_text_in_the_page(tmp_path: Path) -> None:
    model = text_model(("<b>", "</script><img src=x onerror=alert(1)>"), 2)
    x = np.array([[1.0, 2.0]])
    view = case_view(model.graph, x, x, -x, texts=token_texts(model, x))
    (tmp_path / "case.view.json").write_text(json.dumps(view))
    page = page_html(document_of([ROW | {"files": ["case.view.json"]}]), tmp_path)
    assert "onerror" not in page and "<b>" not in page
    assert detail(page, 0)["view"]["samples"][0]["reference"]["numbers"] == [1.0, 2.0]
    assert {tag for tag, _ in tags(page).tags}.isdisjoint({"b", "img"})


@pytest.mark.parametrize(
    ("axes", "shape", "drawn"),
    [
        (("batch", "time", "channel"), (5, 2), [2, 5]),
        (("batch", "token"), (7,), [7]),
        (("batch", "depth", "height", "width", "channel"), (2, 3, 4, 1), [3, 8]),
    ],
)
def test_series_tokens_and_volumes_have_maps_too(axes: Any, shape: Any, drawn: list[int]) -> None:
    graph = Graph("net", (Layer("x", "input", (), (), shape, axes),), "x")
    x = np.ones((1, *shape))
    (sample,) = case_view(graph, x, x, x)["samples"]
    assert sample["reference"]["shape"] == drawn


def test_the_page_asks_nothing_of_the_network() -> None:
    page = page_html(document_of([ROW, FAILED]), Path())
    found = tags(page)
    for tag, attributes in found.tags:
        for name in ("src", "href", "action", "data", "poster"):
            target = attributes.get(name)
            assert target is None or target.startswith(("#", "data:")), (tag, target)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page)
    assert found.cells == 2


def test_names_are_text_wherever_they_stand() -> None:
    name = '"><img src=x onerror=alert(1)></script><script>alert(2)</script>{{7*7}}'
    row = FAILED | dict.fromkeys(
        ("model", "method", "input", "candidate", "message", "cause", "worst_layer"), name
    )
    skipped = [{"model": name, "method": name, "reason": name}]
    document = document_of([row], {name: {name: name}}, skipped, notes=(name,), title=name)
    page = page_html(document, Path())
    plain = page_html(
        document_of(
            [FAILED], {"a": {"a": "a"}}, [{"model": "a", "method": "a", "reason": "a"}], notes=("a",)
        ),
        Path(),
    )
    count = [tag for tag, _ in tags(page).tags]
    assert "img" not in count
    assert count.count("script") == [tag for tag, _ in tags(plain).tags].count("script")
    assert "{{7*7}}" in page


def test_a_case_has_its_tables_maps_and_diagnosis_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/a.csv").write_text(
        "layer,kind,rel_l2,floor,ref_argmax\nconv,conv2d,0.5,1e-15,\"{'batch': 0}\"\n"
    )
    (tmp_path / "m/a.forward.csv").write_text("layer,rel_l2\nconv,0.25\n")
    x = np.ones((1, 2, 3, 1))
    (tmp_path / "m/a.view.json").write_text(json.dumps(case_view(GRAPH, x, x, 2 * x)))
    finding = {
        "layer": "conv",
        "stage": "rule",
        "cause": "scale",
        "sentence": "conv: halved",
        "words": "halved",
    }
    diagnosis = {
        **{key: finding[key] for key in ("layer", "stage", "cause")},
        "explanation": "conv: halved",
        "notes": [],
        "reproducer": "m/a.reproducer",
        "findings": [finding | {"error": 0.5, "floor": 1e-15, "residual": None}],
        "introduced": [
            {"layer": "conv", "introduced": 0.5, "inherited": 0.0, "floor": 1e-15, "differs": True}
        ],
    }
    (tmp_path / "m/a.diagnosis.json").write_text(json.dumps(diagnosis))
    (tmp_path / "m/a.reproducer").mkdir()
    (tmp_path / "m/a.reproducer/reproduce.py").write_text("print(1)")
    names = [
        "m/a.csv",
        "m/a.forward.csv",
        "m/a.view.json",
        "m/a.diagnosis.json",
        "m/a.reproducer/reproduce.py",
    ]
    page = page_html(document_of([FAILED | {"files": names}]), tmp_path)
    found = detail(page, 0)
    assert found["layers"]["rows"] == [["conv", "conv2d", 0.5, 1e-15, "batch 0"]]
    assert found["forward"]["rows"] == [["conv", 0.25]]
    assert found["diagnosis"]["findings"][0]["sentence"] == "conv: halved"
    assert found["diagnosis"]["introduced"] == {"conv": [0.5, 0.0, 1e-15, True]}
    archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(found["reproducer"]["zip"])))
    assert archive.read("a.reproducer/reproduce.py") == b"print(1)"
    assert found["view"]["samples"][0]["reference"]["largest"] == 1.0


def test_tables_without_cases_have_a_page_too_and_their_names_are_text() -> None:
    name = "<img src=x><script>alert(1)</script>"
    page = tables_html(name, [name], {name: [{name: name, "n": 0.123456}, {"n": float("nan")}]})
    found = [tag for tag, _ in tags(page).tags]
    assert "img" not in found
    assert found.count("script") == 1
    assert 'data-value="0.123456">0.1235<' in page
    assert [attributes["data-kind"] for tag, attributes in tags(page).tags if tag == "button"] == [
        "text",
        "number",
    ]


def test_a_file_that_is_missing_damaged_or_elsewhere_costs_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("layer\nsecret\n")
    run = tmp_path / "run"
    run.mkdir()
    (run / "cut.view.json").write_text('{"samples": [')
    (run / "a.csv").write_text("layer\nconv\n")
    files = ["gone.forward.csv", "cut.view.json", "../secret.csv", "a.csv"]
    found = detail(page_html(document_of([ROW | {"files": files}]), run), 0)
    assert found == {"layers": {"columns": ["layer"], "rows": [["conv"]]}}


def test_a_report_that_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    document = document_of([ROW, FAILED | {"worst_ratio": float("nan")}], {"python": "3"}, notes=("a note",))
    page = write_report(document, tmp_path)
    assert page == tmp_path / "report.html"
    again = read_document(tmp_path)
    assert again == document
    assert page_html(again, tmp_path) == page.read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"rows": []}'])
def test_a_folder_without_a_report_is_one_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(InvalidInputError, match="report") as raised:
        read_document(tmp_path)
    assert "\n" not in str(raised.value)


def test_what_improved_and_what_broke_against_another_run() -> None:
    before = document_of([ROW, FAILED, ROW | {"method": "gone"}, ROW | {"method": "kept"}])
    now = document_of(
        [
            ROW | {"verdict": "error", "passed": False, "message": "candidate raised"},
            FAILED | {"verdict": "equivalent", "passed": True},
            ROW | {"method": "new"},
            # Equal bit for bit now, within rounding before: nothing that anyone has done.
            ROW | {"method": "kept", "verdict": "identical"},
        ]
    )
    found = changes(now, before, "now", "before")
    assert [(each.method, each.before, each.now) for each in found.broke] == [
        ("lrp.z", "equivalent", "error")
    ]
    assert [(each.method, each.before, each.now) for each in found.improved] == [
        ("lrp.flat", "divergent", "equivalent")
    ]
    assert ([each.method for each in found.new], [each.method for each in found.gone]) == (["new"], ["gone"])
    assert found.same == 1
    assert found.sentence == "1 improved, 1 broke, 1 unchanged, 1 new, 1 gone"


def test_the_cause_of_most_cases_comes_first_on_the_worklist() -> None:
    def failed(method: str, cause: str, layer: str, **more: Any) -> dict[str, Any]:
        return FAILED | {"method": method, "cause": cause, "diagnosed_layer": layer, **more}

    rows = [
        failed("a", "scale", "conv", diagnosis=["halved"]),
        failed("b", "epsilon-value", "dense", diagnosis=["epsilon is 0.1"]),
        failed("c", "epsilon-value", "dense", like="digits-cnn b float64"),
        failed("d", "unknown", "conv", diagnosis=["something else"], first_divergent="pool"),
        ROW,
    ]
    tasks = worklist(document_of(rows))
    assert [(task.cause, task.layer, task.methods, task.diagnosed) for task in tasks] == [
        ("epsilon-value", "dense", ("b", "c"), 1),
        ("scale", "conv", ("a",), 1),
        ("", "pool", ("d",), 1),
    ]
    assert tasks[0].sentence == "epsilon is 0.1"
