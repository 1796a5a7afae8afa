"""Results on disk: whole or not there, never more than their limit, shared by processes, shown and removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import cli, files
from harness.engine import Store, memo
from harness.engine.store import LIMIT_VARIABLE
from harness.errors import InvalidInputError
from harness.files import byte_count, code_digest, json_digest, source_digest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("own_cache")
ONE, TWO, THREE = (json_digest(name) for name in ("one", "two", "three"))


def test_what_was_put_is_there_for_the_next_process_with_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "picture").write_bytes(b"\0\xff")
    Store(tmp_path / "kept").put(ONE, "one", {"value": [1.5, None]}, ("a/picture",), tmp_path)
    assert Store(tmp_path / "kept").get(ONE, tmp_path / "b") == {"value": [1.5, None]}
    assert (tmp_path / "b" / "a" / "picture").read_bytes() == b"\0\xff"
    assert Store(tmp_path / "kept").get(TWO) is None


def test_an_entry_with_any_byte_changed_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    store.put(ONE, "a label", {"verdict": "identical", "passed": True})
    (entry,) = store.entries()
    written = entry.path.read_bytes()
    for place in range(len(written)):
        content = bytearray(written)
        content[place] ^= 1
        entry.path.write_bytes(content)
        caplog.clear()
        assert store.get(ONE) is None
        (message,) = caplog.messages
        assert "\n" not in message and "is not what was written there; it is computed again" in message
        assert not store.entries()


def test_an_entry_under_another_key_is_not_believed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(ONE, "one", 1)
    (tmp_path / TWO[:2]).mkdir(exist_ok=True)
    (tmp_path / ONE[:2] / f"{ONE}.json").rename(tmp_path / TWO[:2] / f"{TWO}.json")
    assert store.get(TWO) is None


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    # An entry is 64 digits, a line end, and some 1,000 + 130 bytes.
    store = Store(tmp_path, limit=2500)
    for hours, key in ((3, ONE), (2, TWO)):
        store.put(key, "", "x" * 1000)
        os.utime(tmp_path / key[:2] / f"{key}.json", (time.time() - hours * 3600,) * 2)
    assert store.get(ONE) is not None  # used now
    store.put(THREE, "", "x" * 1000)
    assert store.size() <= 2500
    assert [store.get(key) is not None for key in (ONE, TWO, THREE)].count(True) == len(store.entries())
    assert store.get(TWO) is None and store.get(THREE) is not None


def test_a_limit_of_nothing_keeps_and_reads_nothing(tmp_path: Path) -> None:
    Store(tmp_path).put(ONE, "", 1)
    nothing = Store(tmp_path, limit=0)
    nothing.put(TWO, "", 2)
    assert nothing.get(ONE) is None
    assert len(nothing.entries()) == 1


def test_a_forced_store_reads_nothing_and_replaces(tmp_path: Path) -> None:
    Store(tmp_path).put(ONE, "", 1)
    forced = Store(tmp_path, force=True)
    assert forced.get(ONE) is None
    forced.put(ONE, "", 2)
    assert Store(tmp_path).get(ONE) == 2


def test_a_folder_that_cannot_be_written_costs_a_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "results")
    store.put(ONE, "", 1)
    store.put(TWO, "", 1)
    (message,) = caplog.messages
    assert "results cannot be kept in" in message


WRITER = """
import sys
from pathlib import Path
from harness.engine import Store, memo
from harness.files import json_digest
store = Store(Path(sys.argv[1]))
for number in range(150):
    store.put(json_digest(["both", number]), "both", {"number": number, "by": "x" * 3000})
    store.put(json_digest([sys.argv[2], number]), sys.argv[2], number)
print("done")
"""


def start(folder: Path, name: str, program: str = WRITER) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), LIMIT_VARIABLE: "2G"}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(folder), name],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    processes = [start(tmp_path, name) for name in ("first", "second")]
    assert [process.communicate()[0] for process in processes] == ["done\n"] * 2
    store = Store(tmp_path, limit=2**30)
    assert len(store.entries()) == 3 * 150
    for number in range(150):
        assert store.get(json_digest(["both", number]))["number"] == number
        assert [store.get(json_digest([name, number])) for name in ("first", "second")] == [number] * 2


def test_a_killed_process_leaves_no_half_entry(tmp_path: Path) -> None:
    for _ in range(4):
        process = start(tmp_path, "first")
        while not list(tmp_path.glob("??/*")):
            time.sleep(0.01)
        time.sleep(0.02)
        process.kill()
        process.communicate()
    store = Store(tmp_path, limit=2**30)
    names = {json_digest([name, number]) for name in ("both", "first") for number in range(150)}
    assert store.entries()
    for entry in store.entries():
        assert entry.path.stem in names and store.get(entry.path.stem) is not None


def test_what_a_killed_process_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(ONE, "", 1)
    left, new = (tmp_path / ONE[:2] / name for name in (f".{ONE}.json.abc.json", f".{TWO}.json.abc.json"))
    left.write_text("half")
    new.write_text("half")
    os.utime(left, (time.time() - 4000,) * 2)
    store.prune()
    assert (left.exists(), new.exists(), store.get(ONE)) == (False, True, 1)


# --- the command ----------------------------------------------------------------------------------------


def call(*words: str) -> tuple[int, str, str]:
    """Exit status, standard output and error of `xai-harness cache`, as from a shell."""
    finished = subprocess.run(
        [sys.executable, "-m", "harness.cli", "cache", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return finished.returncode, finished.stdout, finished.stderr


def test_the_command_shows_each_kind_and_prunes(own_cache: Path) -> None:
    store = Store()
    for days, key in ((10, ONE), (1, TWO), (0, THREE)):
        store.put(key, "", "x" * 1000)
        os.utime(store.folder / key[:2] / f"{key}.json", (time.time() - days * 86400,) * 2)
    (own_cache / "weights-1.0").mkdir()
    (own_cache / "weights-1.0" / "brain.onnx").write_bytes(b"12345")
    (own_cache / "recordings" / "signxai").mkdir(parents=True)
    (own_cache / "recordings" / "signxai" / "a.safetensors").write_bytes(b"123")
    (own_cache / "peers" / "signxai-0123456789ab").mkdir(parents=True)

    def shown() -> dict[str, tuple[int, int, str]]:
        document = json.loads(CliRunner().invoke(cli.app, ["cache", "info", "--json"]).stdout)
        return {each["kind"]: (each["entries"], each["bytes"], each["place"]) for each in document["kinds"]}

    assert shown() == {
        "results": (3, store.size(), str(own_cache / "results")),
        "recordings": (1, 3, str(own_cache / "recordings")),
        "models": (1, 5, str(own_cache)),
        "peers": (1, 0, str(own_cache / "peers")),
    }

    def prune(*words: str) -> list[bool]:
        assert CliRunner().invoke(cli.app, ["cache", "prune", *words]).exit_code == 0
        return [any(entry.path.stem == key for entry in store.entries()) for key in (ONE, TWO, THREE)]

    assert prune() == [True, True, True]
    assert prune("--older-than", "5") == [False, True, True]
    assert prune("--limit", "1.5K") == [False, False, True]
    assert prune("--all") == [False, False, False]
    assert shown()["peers"][0] == 1
    # Its pins are none of those of today.
    assert prune("--peers") == [False, False, False]
    assert shown()["peers"][0] == 0
    assert shown()["models"][0] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("prune", "--limit", "much"), "--limit is 'much'; expected a number of bytes, such as 500M or 2G"),
        (("prune", "--limit", "-1"), "--limit is '-1'; expected"),
        (("prune", "--all", "--limit", "1G"), "--all leaves nothing for --limit"),
        (("prune", "--older-than", "nan"), "--older-than is nan; expected a number of days, 0 or more"),
    ],
)
def test_wrong_use_is_one_line_and_exit_status_two(call_here, own_cache: Path, words, message) -> None:
    status, out, err = call_here("cache", *words)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(f"error: {message}")


def test_a_limit_that_is_none_is_one_line(
    call_here, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "lots")
    status, _, err = call_here("cache", "info")
    assert (status, err.count("\n")) == (2, 1)
    assert f"{LIMIT_VARIABLE} is 'lots'" in err
    monkeypatch.setenv(memo.LIMIT_VARIABLE, "lots")
    with pytest.raises(
        InvalidInputError, match=f"{memo.LIMIT_VARIABLE} is 'lots'; expected a number of bytes"
    ):
        memo.Memo()


# --- sizes and digests ----------------------------------------------------------------------------------


def test_sizes() -> None:
    assert [byte_count(text, "it") for text in ("0", "12", "2K", "1.5 MiB", "1gb", "3T")] == [
        0,
        12,
        2048,
        1572864,
        1073741824,
        3298534883328,
    ]
    for text in ("", "-1", "1e9", "2X", "9" * 400):
        with pytest.raises(InvalidInputError, match="expected a number of bytes"):
            byte_count(text, "it")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "made_for_digests"
    (folder / "report").mkdir(parents=True)
    for name in ("__init__.py", "one.py", "data.json", "report/page.py"):
        (folder / name).write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "made_for_digests", raising=False)
    monkeypatch.setattr(files, "_read", {})
    return folder


def digest(*without: str) -> str:
    source_digest.cache_clear()
    return code_digest("made_for_digests", without=without)


@pytest.mark.parametrize("name", ["one.py", "data.json", "report/page.py", "new.py"])
def test_every_file_of_a_package_counts(package: Path, name: str) -> None:
    before = digest()
    (package / name).write_text("x = 1")
    assert digest() != before


def test_bytecode_and_what_is_left_out_do_not_count(package: Path) -> None:
    before = digest("made_for_digests/report/*")
    (package / "report" / "page.py").write_text("x = 1")
    (package / "__pycache__").mkdir(exist_ok=True)
    for name in ("one.cpython-311.pyc", "one.cpython-311.pyc.140"):  # one that is being written
        (package / "__pycache__" / name).write_bytes(b"x")
    assert digest("made_for_digests/report/*") == before
    (package / "one.py").write_text("x = 1")
    assert digest("made_for_digests/report/*") != before


def test_results_of_code_that_changes_meanwhile_are_not_kept(
    package: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is imported from here on is newer than the digest that its results would lie under."""
    digest()
    store = Store(tmp_path / "kept")
    store.put(ONE, "one", 1)
    (package / "one.py").write_text("x = 1")
    store.put(TWO, "two", 2)
    assert (store.get(ONE), len(caplog.messages)) == (None, 1)
    assert "the code has changed since this command began" in caplog.text
    assert [entry.path.stem for entry in Store(tmp_path / "kept").entries()] == [ONE]


@pytest.mark.parametrize("name", ["../outside", "{tmp}/outside"])
def test_files_of_an_entry_stay_in_the_folder_asked_for(tmp_path: Path, name: str) -> None:
    name = name.format(tmp=tmp_path)
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "a").mkdir()
    store = Store(tmp_path / "kept")
    store.put(ONE, "one", 1, (name,), tmp_path / "a")
    (tmp_path / "outside").write_text("still mine")
    assert store.get(ONE, tmp_path / "b") is None
    assert (tmp_path / "outside").read_text() == "still mine"
