"""The reproducer: a folder whose script shows a candidate's error with NumPy and torch alone."""

from __future__ import annotations

import os
import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import harness
from harness.diagnosis.findings import Finding
from harness.diagnosis.measure import apart
from harness.diagnosis.reproducer import Evidence, write
from harness.errors import InvalidInputError
from harness.methods import TimesSign
from harness.methods import method as method_named
from harness.steps import ForwardStep
from ported_impls.backend import TorchBackend
from ported_impls.torchvision_shim import zennit
from ported_models.build import Builder
from ported_models.model import PortedModel
from tests.diagnosis.bare_interpreter import bare_site, run_bare
from tests.diagnosis.faulty_ports import (
    SharesBias,
    candidate,
    evidence_of,
    finding_of,
    oracle,
    other_epsilon,
    written,
)
from tests.prepared import ready


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_site(tmp_path_factory.mktemp("site"))


def printed_errors(output: str) -> list[float]:
    return [float(value) for value in re.findall(r"relative L2 error (\S+)", output)]


def run_here(script: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and output of a script; where it is not the imports that are tried, this process will do."""
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    return int(ended.value.code or 0), capsys.readouterr().out


def error_in_full_model(folder: Path, evidence: Evidence, model: Any, port: Any) -> float:
    """The candidate's error in the whole network on the reproducer's case, everything outside it zero.

    Zeros around a window are what the layer pads with; and relevance is linear in that of the outputs.
    """
    layer = evidence.layer
    assert layer is not None and evidence.relevance is not None
    with np.load(folder / "data.npz") as data:
        given, part, kernel = data["relevance"], data["input_0"], data["kernel"]
    channels = [
        channel
        for channel in range(layer.shape[-1])
        if any(np.array_equal(layer.weights["kernel"][..., channel], w) for w in np.moveaxis(kernel, -1, 0))
    ]
    window = re.search(r"a window of .* at \(([\d, ]+)\)", (folder / "README.md").read_text())
    start = [int(at) for at in re.findall(r"\d+", window.group(1))] if window else [0] * (part.ndim - 2)
    x = np.zeros((1, *layer.input_shapes[0]))
    x[(slice(None), *(slice(at, at + n) for at, n in zip(start, part.shape[1:-1], strict=True)))] = part
    relevance = np.zeros((1, *layer.shape))
    strides = layer.attributes.get("strides", ())
    inside = (
        slice(at // stride, at // stride + n)
        for at, stride, n in zip(start, strides, given.shape[1:-1], strict=True)
    )
    relevance[(slice(None), *inside)][..., channels] = given
    found = port.step(layer, (x,), relevance, evidence.method)
    return apart(oracle(model).step(layer, (x,), relevance, evidence.method), found)


# --- what the script shows ----------------------------------------------------------------------------


def test_nothing_of_this_project_or_of_zennit_can_be_imported_where_reproducers_are_tried(site, tmp_path):
    script = tmp_path / "names.py"
    script.write_text(
        "import importlib.util\n"
        "names = ('numpy', 'torch', 'harness', 'ported_impls', 'zennit', 'pandas', 'onnx', 'tensorflow')\n"
        "print([name for name in names if importlib.util.find_spec(name)])\n"
    )
    assert run_bare(site, script).stdout.strip() == "['numpy', 'torch']"


@pytest.mark.thinned(0.5)
@pytest.mark.parametrize(
    ("model_name", "layer", "method", "fault"),
    [
        ("digits-cnn", "conv3", "lrp.epsilon", SharesBias),
        ("digits-cnn", "conv2", "lrp.epsilon", other_epsilon),
        ("ecg-cnn1d", "conv2", "lrp.alpha_2_beta_1", zennit.rules.ZPlus),
        ("ecg-cnn1d", "dense1", "lrp.epsilon", other_epsilon),
    ],
)
def test_a_reproducer_shows_the_error_of_the_full_model_with_numpy_and_torch_alone(
    model_name, layer, method, fault, site, tmp_path
):
    model = harness.load_model(model_name)
    port = candidate(model, {layer: fault})
    evidence = evidence_of(model, layer, method, port)
    shown = run_bare(site, written(tmp_path / "r", evidence, model, port))
    assert shown.returncode == 1, shown.stderr
    assert "the error is there" in shown.stdout
    (printed,) = printed_errors(shown.stdout)
    # Seven digits are printed.
    assert printed == pytest.approx(error_in_full_model(tmp_path / "r", evidence, model, port), rel=1e-6)
    assert 0.1 <= printed / finding_of(evidence).error <= 10


def test_the_script_carries_out_the_steps_of_the_candidate_itself(tmp_path):
    model = harness.load_model("digits-cnn")
    port = candidate(model, {"conv3": SharesBias})
    script = written(
        tmp_path / "r", evidence_of(model, "conv3", "lrp.epsilon", port), model, port
    ).read_text()
    assert "aten.convolution.default" in script and "aten.convolution_backward.default" in script
    assert 'data["kernel"].transpose(3, 2, 0, 1)' in script
    assert "zeros_like_1 = aten.zeros_like.default(bias)" in script
    assert not re.search(r"harness\.|zennit\.|ported_", script)


def test_once_the_candidate_in_the_script_is_mended_it_exits_with_0(site, tmp_path):
    model = harness.load_model("digits-cnn")
    port = candidate(model, {"conv3": other_epsilon})
    script = written(tmp_path / "r", evidence_of(model, "conv3", "lrp.epsilon", port), model, port)
    assert run_bare(site, script).returncode == 1
    mended = script.read_text().replace("* 0.0625", "* 1e-07")
    script.write_text(mended)
    shown = run_bare(site, script)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "the error is gone" in shown.stdout


def test_for_a_healthy_candidate_the_script_exits_with_0(site, tmp_path):
    model = harness.load_model("digits-cnn")
    port = ready(TorchBackend(), model, "float64")
    shown = run_bare(
        site,
        written(tmp_path / "r", evidence_of(model, "conv3", "lrp.epsilon", port), model, port),
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr


def test_an_expected_result_is_recomputed_and_agrees_with_the_recorded_one(tmp_path, capsys):
    model = harness.load_model("digits-cnn")
    port = candidate(model, {"conv3": SharesBias}, "float32")
    evidence = evidence_of(model, "conv3", "lrp.epsilon", port, dtype="float32")
    status, output = run_here(written(tmp_path / "r", evidence, model, port), capsys)
    gap = re.search(r"recomputed here; (\S+) from", output)
    assert gap is not None, output
    # Both run in float64 on the same float32 numbers: 216 terms in a sum, some of them nearly cancelled.
    assert float(gap.group(1)) < 1e-12
    assert status == 1


def test_five_worst_entries_are_printed_with_both_values(tmp_path, capsys):
    """One dense unit of kernel (1, 2, 0), x = (1, 1, 1), R = 3: expected 3 * (1, 2, 0) / 3, found twice that."""
    b = Builder("line", (3,))
    b.add("dense", "unit", weights={"kernel": np.array([[1.0], [2], [0]])})
    model = PortedModel.from_graph(b.graph())
    inputs, relevance = (np.ones((1, 3)),), np.array([[3.0]])
    method = method_named("lrp.z")
    found, expected = np.array([[2.0, 4, 0]]), np.array([[1.0, 2, 0]])
    evidence = Evidence(method, "float64", inputs, (found,), (expected,), model.graph["unit"], relevance)
    _, output = run_here(written(tmp_path / "r", evidence, model, object()), capsys)
    assert "best scale 0.5 on the candidate, 0.0e+00 left after it" in output
    rows = [line.split() for line in output.splitlines() if line.strip().startswith("(0,")]
    assert [(float(want), float(got)) for *_, want, got in rows] == [(2, 4), (1, 2), (0, 0)]
    assert printed_errors(output) == [1.0]


# --- other stages -------------------------------------------------------------------------------------


def test_a_forward_error_is_shown_by_the_layer_on_the_inputs_that_the_candidate_had(site, tmp_path):
    model = harness.load_model("digits-cnn")
    port = candidate(model, {})
    port.twin.get_submodule("bn1").eps = 0.5
    method, layer = method_named("gradient"), model.graph["bn1"]
    x = np.random.default_rng(1).standard_normal((2, *model.input_shape))
    run = port.prepared.run(x, method, np.array([0, 0]), True)
    inputs = (run.activations["conv1"],)
    expected = oracle(model).carry_forward(ForwardStep(layer, inputs, model.graph))
    evidence = Evidence(method, "float64", inputs, (run.activations["bn1"],), (expected,), layer)
    script = written(tmp_path / "r", evidence, model, port, "forward")
    shown = run_bare(site, script)
    assert shown.returncode == 1, shown.stderr
    assert "aten.native_batch_norm.default" in script.read_text()
    (printed,) = printed_errors(shown.stdout)
    assert printed >= 0.1 * finding_of(evidence).error
    script.write_text(re.sub(r"0\.1, 0\.5\)", f"0.1, {layer.attributes['epsilon']})", script.read_text()))
    assert run_bare(site, script).returncode == 0


@pytest.mark.parametrize(("head", "start"), [("logit", 4.0), ("one", 1.0), ("relu_logit", 4.0)])
def test_a_head_is_shown_with_the_start_that_the_method_has(head, start, tmp_path, capsys):
    model = harness.load_model("digits-cnn")
    method = replace(method_named("gradient"), head=head)
    logits, found = np.array([[1.0, 4, -2]]), np.array([[0.0, 2, 0]])
    expected = np.array([[0, start, 0]])
    evidence = Evidence(
        method, "float64", (logits,), (found,), (expected,), layer=model.graph["conv1"], target=np.array([1])
    )
    status, output = run_here(written(tmp_path / "r", evidence, model, object(), "head"), capsys)
    assert "0.0e+00 from what the float64 reference gave" in output
    assert f"best scale {start / 2:g} on the candidate" in output
    assert status == 1


@pytest.mark.parametrize(
    ("postprocess", "expected"),
    [
        ("none", [3.0, -4.0]),
        ("times_input", [6.0, 4.0]),
        ("abs", [3.0, 4.0]),
        ("square", [9.0, 16.0]),
        (TimesSign(0.0), [3.0, 4.0]),
        (TimesSign(-1.0), [3.0, -4.0]),
    ],
)
def test_what_is_done_at_the_input_is_shown_on_the_relevance_that_reached_it(
    postprocess, expected, tmp_path, capsys
):
    """x = (2, -1) and relevance (3, -4); the candidate gives (7, 7)."""
    model = harness.load_model("digits-cnn")
    method = replace(method_named("gradient"), postprocess=postprocess)
    evidence = Evidence(
        method,
        "float64",
        (np.array([[2.0, -1.0]]), np.array([[3.0, -4.0]])),
        (np.array([[7.0, 7.0]]),),
        (np.array([expected]),),
    )
    status, output = run_here(written(tmp_path / "r", evidence, model, object(), "postprocess"), capsys)
    assert "0.0e+00 from what the float64 reference gave" in output
    assert status == 1


def test_a_whole_run_is_compared_as_recorded_and_says_what_is_needed_to_go_further(tmp_path, capsys):
    model = harness.load_model("digits-cnn")
    first, second = np.ones((1, 8, 8, 1)), np.full((1, 8, 8, 1), 1.5)
    evidence = Evidence(method_named("gradient"), "float64", (first,), (second,), (first,))
    status, output = run_here(written(tmp_path / "r", evidence, model, object(), "rule"), capsys)
    assert printed_errors(output) == [0.5]
    assert status == 1
    assert "put a call of the candidate into `candidate()`" in (tmp_path / "r" / "README.md").read_text()


# --- candidates that cannot be written down -------------------------------------------------------------


class Dropping(zennit.core.Hook):
    """The gradient with half of it dropped at random."""

    def backward(self, module: Any, grad_input: Any, grad_output: Any) -> Any:
        return tuple(torch.nn.functional.dropout(gradient, 0.5) for gradient in grad_input)

    def copy(self) -> Any:
        return Dropping()


def test_where_operations_give_another_result_each_time_the_recorded_one_stands_and_the_script_says_so(
    tmp_path, capsys
):
    model = harness.load_model("digits-cnn")
    port = candidate(model, {"conv3": Dropping})
    script = written(tmp_path / "r", evidence_of(model, "conv3", "gradient", port), model, port)
    assert "As recorded (the recorded operations give another result" in " ".join(
        script.read_text().replace("as recorded", "As recorded").split()
    )
    assert run_here(script, capsys)[0] == 1


def test_of_a_black_box_the_edges_that_were_seen_are_shown(tmp_path, capsys):
    b = Builder("sum", (2,))
    b.add("relu", "right")
    b.add("add", "total", ["input", "right"])
    model = PortedModel.from_graph(b.graph())
    inputs = (np.array([[1.0, 2]]), np.array([[1.0, 2]]))
    expected, found = (np.array([[1.0, 1]]), np.array([[1.0, 1]])), (None, np.array([[3.0, 3]]))
    evidence = Evidence(
        method_named("lrp.z"), "float64", inputs, found, expected, model.graph["total"], np.array([[2.0, 2]])
    )
    _, output = run_here(written(tmp_path / "r", evidence, model, object()), capsys)
    assert printed_errors(output) == [2.0]
    assert "array 1" in output and "array 0" not in output


def test_nan_in_the_candidate_is_an_error_however_small_the_rest(tmp_path, capsys):
    model = harness.load_model("digits-cnn")
    expected = np.ones((1, 4))
    found = np.array([[1.0, np.nan, 1, 1]])
    evidence = Evidence(method_named("gradient"), "float64", (expected,), (found,), (expected,))
    status, output = run_here(written(tmp_path / "r", evidence, model, object()), capsys)
    assert "1 entries are NaN or infinite" in output
    assert status == 1


# --- the folder -----------------------------------------------------------------------------------------


def small_evidence() -> Evidence:
    one = np.ones((1, 2))
    return Evidence(method_named("gradient"), "float64", (one,), (2 * one,), (one,))


def test_a_reproducer_is_replaced_by_another(tmp_path):
    model = harness.load_model("digits-cnn")
    first = written(tmp_path, small_evidence(), model, object()).read_text()
    second = written(tmp_path, replace(small_evidence(), method=method_named("lrp.z")), model, object())
    assert second.read_text() != first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "data.npz", "reproduce.py"]


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InvalidInputError, match=r"not empty and holds no reproducer \(thesis.tex\)"):
        written(tmp_path, small_evidence(), harness.load_model("digits-cnn"), object())
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "r").write_text("x")
    with pytest.raises(InvalidInputError, match="is a file; name a folder"):
        written(tmp_path / "r", small_evidence(), harness.load_model("digits-cnn"), object())


def test_nothing_found_is_nothing_to_reproduce(tmp_path):
    evidence = replace(small_evidence(), observed=(None,))
    with pytest.raises(InvalidInputError, match="nothing to reproduce"):
        write(
            tmp_path / "r",
            Finding("rule", "conv1", "unknown", "?", 1.0, 0.0),
            evidence,
            harness.load_model("digits-cnn").graph,
            object(),
            object(),
        )
    assert not (tmp_path / "r").exists()


def test_a_disk_that_is_full_leaves_no_script_behind(tmp_path, monkeypatch):
    model = harness.load_model("digits-cnn")
    script = written(tmp_path, small_evidence(), model, object())

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path, small_evidence(), model, object())
    assert not script.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_data_needs_no_pickle(tmp_path):
    model = harness.load_model("digits-cnn")
    port = candidate(model, {"conv3": SharesBias})
    written(tmp_path, evidence_of(model, "conv3", "lrp.epsilon", port), model, port)
    with np.load(tmp_path / "data.npz", allow_pickle=False) as data:
        assert {"input_0", "relevance", "kernel", "bias", "expected_0"} <= set(data)


def test_versions_of_both_sides_are_in_the_readme(tmp_path):
    model = harness.load_model("digits-cnn")
    evidence = small_evidence()
    versions = {"candidate": {"torch": "2.13.0", "source": "f" * 64}, "reference": {"numpy": "2.4"}}
    write(
        tmp_path / "r",
        finding_of(evidence),
        evidence,
        model.graph,
        object(),
        oracle(model),
        versions=versions,
    )
    text = (tmp_path / "r" / "README.md").read_text()
    assert "| candidate | torch 2.13.0, source ffffffffffff |" in text
    assert "| reference | numpy 2.4 |" in text
