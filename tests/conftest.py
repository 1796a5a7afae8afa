"""Which frameworks a test needs, found from where it stands and what it imports.

A test that needs TensorFlow or torch gets the mark of that name, so that an environment with one framework
can run everything else: ``pytest --without torch`` proves that torch is absent, leaves out the modules
that need it, and runs the rest. A test that reaches a framework some other way (by a backend's name, say)
carries the mark itself: ``@pytest.mark.torch``.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from harness.backends import registry
from harness.backends.worker.worker import LIMIT_VARIABLE
from harness.engine import engine
from harness.engine.store import LIMIT_VARIABLE as STORE_VARIABLE
from harness.files import CACHE_VARIABLE, in_sample
from harness.peers import peers, variable_of
from tests.frameworks import FRAMEWORKS, needs_of_folder, needs_of_functions, needs_of_module

# Quiet start-up of TensorFlow; Keras must not pick another backend than the one under test.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# As the reference sets it; a test may import TensorFlow before the reference does.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# Nothing is kept for the next test, and nothing of this machine is read: see the fixture `own_cache`.
os.environ[STORE_VARIABLE] = "0"
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


@pytest.fixture(autouse=True)
def same_weights_every_time() -> None:
    """Networks that a test makes without a seed have the same weights in every run."""
    random.seed(0)  # Keras draws the seeds of its initializers from here
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def nothing_from_other_tests(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What this process remembers of one test does not reach the next: names, results of cases, log levels."""
    monkeypatch.setattr(registry, "_registered", {})
    engine().clear()
    loggers = [logging.getLogger(), logging.getLogger("ported_models")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def nothing_from_this_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that is not marked ``peer`` finds no peer, in this process or one that it starts, installed or not."""
    if request.node.get_closest_marker("peer"):
        return
    for name in peers():
        monkeypatch.setenv(variable_of(name), "/a test that is not marked peer finds none")
    monkeypatch.delenv(LIMIT_VARIABLE, raising=False)


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, in which results are kept."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    monkeypatch.delenv(STORE_VARIABLE)
    return folder


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


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """What is imported and collected lives as long as this process: the garbage collector looks at it once.

    Both frameworks and ten thousand tests are over a million objects, a second in every full round.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    absent = config.getoption("--without")
    for item in items:
        if not item.path.is_file():  # a case of --conformance is no test file's
            continue
        needs = set(needs_of_module(item.path))
        if isinstance(item, pytest.Function):
            needs |= needs_of_functions(item.path).get(item.originalname, set())
        for framework in sorted(needs):
            item.add_marker(framework)
        thinned = item.get_closest_marker("thinned")
        if thinned is not None and not in_sample(item.nodeid, thinned.args[0]):
            item.add_marker("nightly")
    left_out = [item for item in items if absent and item.get_closest_marker(absent)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker(absent)]
