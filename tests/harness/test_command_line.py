"""The command line as a user meets it: what it prints, its exit status, and one line for every mistake."""

from __future__ import annotations

import errno
import json
import re
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import typer

from harness import cli
from harness.backends import register_backend
from harness.errors import MissingFrameworkError
from harness.methods import DIALECTS
from harness.peers import peers, variable_of
from harness.terminal import size_text
from tests.harness.linear_network import GradientBackend
from tests.peers.library import stand_in


class DigitsBackend:
    """Stands in for a backend whose framework is not there."""

    name = "absent"

    def version(self) -> dict[str, str]:
        return {}

    def supports(self, method: object, graph: Any) -> str:
        return ""

    def prepare(self, model: object, dtype: str, device: str = "cpu") -> object:
        raise MissingFrameworkError("torch")


ORACLE = ("--reference", "oracle", "--candidate", "oracle", "--dtype", "float64", "--model", "digits-cnn")


def test_a_run_prints_a_line_a_case_and_leaves_its_report(call, tmp_path) -> None:
    status, out, _ = call(
        "run", *ORACLE, "--method", "gradient", "--method", "lrp.z", "--method", "lrp.z_plu?", "--out", "here"
    )
    assert status == 0
    lines = [line for line in out.splitlines() if "digits-cnn" in line]
    assert len(lines) == 3
    assert all(line.startswith("identical") for line in lines)
    assert "3 of 3 cases passed" in out
    names = {path.relative_to(tmp_path / "here").as_posix() for path in (tmp_path / "here").rglob("*")}
    assert {
        "summary.md",
        "summary.csv",
        "digits-cnn/lrp.z_plus.float64.png",
        "digits-cnn/lrp.z.float64.csv",
    } <= names


def test_a_method_that_has_no_layers_leaves_its_files_too(call, tmp_path) -> None:
    status, out, _ = call("run", *ORACLE, "--method", "random", "--out", "here")
    assert status == 0, out
    assert (tmp_path / "here" / "digits-cnn" / "random.float64.png").stat().st_size > 0


def test_json_is_all_there_is_on_standard_output(call) -> None:
    status, out, _ = call("run", *ORACLE, "--method", "gradient", "--out", "here", "--json")
    document = json.loads(out)
    assert (status, document["passed"], document["cases"]) == (0, 1, 1)
    assert document["rows"][0]["verdict"] == "identical"


def test_a_case_that_does_not_pass_is_exit_status_one(call) -> None:
    register_backend("silent", GradientBackend("silent"))
    status, out, _ = call(
        "run", *ORACLE[:2], "--candidate", "silent", *ORACLE[4:], "--method", "lrp.z", "--out", "o"
    )
    assert status == 1
    assert "0 of 1 cases passed" in out
    assert "does not implement 'lrp.z'" in out


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


@pytest.mark.parametrize("path", [*commands(typer.main.get_command(cli.app))], ids=" ".join)
def test_help_says_what_values_are_and_fits_into_80_columns(call, monkeypatch, path: tuple[str, ...]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = call(*path, "--help")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    # The types of Python (<str>, <list[str]>) are no words for a user.
    assert "<" not in out
    assert "{" not in out
    assert "TEXT" not in out or path in (("golden", "record"), ("golden", "import"), ("golden", "prune"))


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (950, "950 B"), (1234, "1.2 kB"), (41182080, "41 MB"), (6.2e9, "6.2 GB")]
)
def test_sizes_are_read_at_a_glance(count: float, text: str) -> None:
    assert size_text(count) == text


def test_a_list_of_nothing_says_what_to_do(call) -> None:
    status, out, _ = call("golden", "list")
    assert (status, out) == (
        0,
        "no golden under golden is selected; record some with: xai-harness golden record\n",
    )


def test_peers_are_listed_by_the_name_that_installs_them(call, own_cache) -> None:
    status, out, _ = call("peers", "list")
    assert status == 0
    head, *lines = out.splitlines()
    assert head.split() == ["name", "pinned", "available", "interpreter"]
    assert {"innvestigate", "signxai", "dl-backtrace-torch"} <= {line.split()[0] for line in lines}


@pytest.mark.parametrize("what", ["methods", "models", "backends", "doctor"])
def test_listings_come_as_text_and_as_json(call, what: str) -> None:
    _, text, _ = call(what)
    status, out, _ = call(what, "--json")
    rows = json.loads(out)
    assert status in (0, 1) if what == "doctor" else status == 0
    key = "check" if what == "doctor" else "name"
    assert rows
    assert all(row[key][:8] in text for row in rows)


def test_a_peer_that_is_not_installed_is_no_fault_of_the_machine(call, monkeypatch, tmp_path) -> None:
    """Nor is one that was there a moment ago: the answer of the first call is not remembered."""
    monkeypatch.setenv("XAI_HARNESS_PEER_SIGNXAI", stand_in(tmp_path / "there"))
    _, out, _ = call("doctor", "--json")
    (row,) = (row for row in json.loads(out) if row["check"] == "backend signxai")
    assert (row["ok"], row["found"]) == (True, "ready")
    monkeypatch.setenv("XAI_HARNESS_CACHE", str(tmp_path))
    for name in ("INNVESTIGATE", "SIGNXAI"):
        monkeypatch.delenv(f"XAI_HARNESS_PEER_{name}", raising=False)
    _, out, _ = call("doctor", "--json")
    rows = {row["check"]: row for row in json.loads(out)}
    assert rows["backend signxai"]["ok"]
    # A set variable that names nothing is a fault.
    assert not rows["backend dl-backtrace"]["ok"]
    for name in peers():
        monkeypatch.delenv(variable_of(name), raising=False)
    _, out, _ = call("doctor", "--json")
    rows = {row["check"]: row for row in json.loads(out)}
    # Backends that share a peer, and have another name than it, are no fault either.
    assert {row["ok"] for check, row in rows.items() if check.startswith("backend dl-backtrace-")} == {True}
    assert "xai-harness peers install signxai" in rows["backend signxai"]["found"]


def test_methods_can_be_listed_by_name_and_by_dialect(call) -> None:
    _, out, _ = call("methods", "lrpsign_*", "--json")
    assert {row["dialect"] for row in json.loads(out)} == {"signxai 1.1.9.2"}
    _, out, _ = call("methods", "--dialect", "zennit", "--json")
    assert "epsilon_gamma_box" in {row["name"] for row in json.loads(out)}
    _, out, _ = call("methods", "--dialect", "signxai", "--json")
    assert len(json.loads(out)) == 152
    _, out, _ = call("methods", "--help")
    assert set(DIALECTS) <= set(re.findall(r"\w+", out))


def test_a_method_that_does_not_apply_is_counted_and_named_in_the_report(call, tmp_path) -> None:
    two = ("--method", "gradient", "--method", "grad_cam_timeseries")
    status, out, _ = call("run", *ORACLE, *two, "--out", "here")
    assert status == 0
    assert "1 of 1 cases passed, 1 do not apply" in out
    page = (tmp_path / "here" / "summary.md").read_text()
    assert "grad_cam_timeseries is for inputs with 1 spatial axis" in page


MISTAKES = {
    "unknown suite": (("run", "--suite", "quik"), "did you mean 'quick'?"),
    "unknown model": (("run", "--model", "digits-cn"), "did you mean 'digits-cnn'?"),
    "unknown method": (("run", "--method", "lrp.epsilom"), "did you mean 'lrp.epsilon'?"),
    "glob without match": (("run", "--method", "lrq*"), "no method matches 'lrq*'"),
    "bad parameter": (("run", "--method", "lrp.epsilon:epsilon=0"), "epsilon must be above 0"),
    "number missing in a name": (("run", "--method", "lrp_epsilon_"), "epsilon must be a number above 0"),
    "alpha minus beta": (("run", "--method", "lrp_alpha_2_beta_2"), "alpha - beta 1"),
    "low above high": (("run", "--method", "lrp.z:low=2,high=1"), "low must be below high"),
    "index past the end": (
        ("run", *ORACLE, "--method", "lrp.z:until_layer_idx=99"),
        "until_layer_idx is 99; digits-cnn has the layers 0 to",
    ),
    "no such layer": (
        ("run", *ORACLE, "--method", "grad_cam:layer=conv9"),
        "unknown Grad-CAM layer 'conv9'; did you mean 'conv",
    ),
    "only methods that do not apply": (
        ("run", *ORACLE, "--method", "grad_cam_timeseries"),
        "grad_cam_timeseries is for inputs with 1 spatial axis",
    ),
    "unknown dialect": (("methods", "--dialect", "captun"), "did you mean 'captum'?"),
    "unknown candidate": (("run", "--candidate", "zenit"), "did you mean 'zennit'?"),
    "unknown reference": (("run", "--reference", "tensorflo"), "did you mean 'tensorflow'?"),
    "unknown dtype": (("run", "--dtype", "float16"), "dtype must be one of float32, float64"),
    "missing model file": (("run", "--model", "no.onnx", *ORACLE[:4]), "no.onnx"),
    "missing input file": (("run", *ORACLE, "--input", "no.npy"), "no.npy does not exist"),
    "no golden there": (("golden", "verify", "--root", "empty"), "no golden under empty"),
}


@pytest.mark.parametrize(("words", "text"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_status_two(call, tmp_path, words: tuple[str, ...], text: str) -> None:
    status, out, err = call(*words)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert text in err
    assert err.count("\n") == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (np.ones((1, 1, 8, 8)), "channels-first"),
        (np.ones((8, 8, 1)), "no batch axis"),
        (np.full((1, 8, 8, 1), np.nan), "NaN or infinite"),
        (np.ones((1, 9, 8, 1)), "does not fit"),
    ],
    ids=["channels first", "no batch", "NaN", "shape"],
)
def test_a_bad_input_file_is_explained(call, tmp_path, content: np.ndarray, text: str) -> None:
    np.save(tmp_path / "x.npy", content)
    status, _, err = call("run", *ORACLE, "--method", "gradient", "--input", "x.npy", "--out", "o")
    assert status == 2
    assert text in err
    assert not (tmp_path / "o").exists()


def test_a_pickled_input_is_refused_unopened(call, tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    status, _, err = call("run", *ORACLE, "--input", "x.npy")
    assert status == 2
    assert "no readable .npy file" in err


@pytest.mark.parametrize(
    ("name", "content"), [("cut.onnx", b"\x08\x07"), ("a.onnx", b"hello"), ("b.h5", b"hello")]
)
def test_a_truncated_or_foreign_model_file_is_named(call, tmp_path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    status, _, err = call("run", *ORACLE[:6], "--model", name, "--method", "gradient", "--out", "o")
    assert status == 2
    assert err.count("\n") == 1
    assert name in err


def test_a_framework_that_is_not_installed_is_named_with_the_way_to_get_it(call) -> None:
    register_backend("absent", DigitsBackend())
    status, out, err = call(
        "run", *ORACLE[:2], "--candidate", "absent", *ORACLE[4:], "--method", "lrp.z*", "--out", "o"
    )
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "pip install 'xai-harness[torch]'" in err


def test_a_full_disk_is_one_line_and_leaves_no_half_file(call, tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    status, _, err = call("run", *ORACLE, "--method", "gradient", "--out", "o")
    assert status == 2
    assert "the disk is full" in err
    assert [path for path in (tmp_path / "o").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "a.npy"),
            "a.npy cannot be written or read: permission denied; change its permissions, or name another place",
        ),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a directory", "a/b"),
            "a/b is in the way (Not a directory); name another place",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.npy"), "a.npy does not exist; check the path"),
        (
            OSError(errno.EIO, "Input/output error", "a.npy"),
            "Input/output error (a.npy); mend that and run the same command again",
        ),
    ],
)
def test_an_error_of_the_system_is_one_line_that_any_command_can_follow(
    call, monkeypatch, error: OSError, said: str
) -> None:
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr("harness.checks.read_array", failing)
    status, out, err = call("compare", "a.npy", "a.npy")
    assert (status, out, err) == (2, "", f"error: {said}\n")


def test_a_target_outside_the_classes_is_refused() -> None:
    import harness
    from harness.errors import InvalidInputError

    with pytest.raises(InvalidInputError, match=r"target 10 is outside the model's classes 0\.\.9"):
        harness.explain(
            "digits-cnn", np.zeros((1, 8, 8, 1)), "gradient", "oracle", target=10, dtype="float64"
        )


def test_an_interrupt_says_how_to_go_on(call, monkeypatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    # The tests may themselves run where SIGINT is ignored.
    monkeypatch.setattr("harness.errors.signal.getsignal", lambda _: signal.default_int_handler)
    monkeypatch.setattr("harness.engine.cases.Engine.run", interrupted)
    status, _, err = call("run", *ORACLE, "--method", "gradient", "--out", "o")
    assert status == 130
    assert "run the same command again" in err
