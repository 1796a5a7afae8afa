"""The pytest plugin, loaded by installation: `pytest --conformance`, the fixture ``conformance``, its marks.

Nothing of the harness but its name is imported until a test asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.conformance.collected import Selection
    from harness.conformance.fixture import Conformance, Session

_SESSION = pytest.StashKey["Session"]()
_CLOSING = pytest.StashKey[ExitStack]()
#: By nodes of xdist, or this one: entry and status of each golden that was used.
_USED = pytest.StashKey[list[tuple[str, str]]]()
_PREFIX = "conformance::"
_KNOWN_INI = "conformance_known_differences"
_TOLERANCES_INI = "conformance_tolerances"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "conformance of explanation methods (xai-harness)")
    group.addoption(
        "--conformance",
        action="store_true",
        help="run a suite of xai-harness, a test for each model, method and dtype, beside the files that are named; "
        "more options: pytest --conformance --help",
    )
    group.addoption(
        "--regen-golden", action="store_true", help="store what conformance.golden is given, compare nothing"
    )
    group.addoption(
        "--golden-dir",
        metavar="DIR",
        help="folder of the goldens of conformance.golden (golden, at the root)",
    )
    parser.addini(
        _KNOWN_INI,
        "lines GLOB: CAUSE: REASON of cases that differ, by id (MODEL-METHOD-DTYPE); docs/pytest.md",
        "linelist",
        default=[],
    )
    parser.addini(
        _TOLERANCES_INI,
        "lines GLOB: close|NUMBER: REASON of what passes beside what rounding explains, by id of the case",
        "linelist",
        default=[],
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(parser: pytest.Parser, args: Sequence[str]) -> None:
    # Names that somebody else's conftest.py may have, too: they are ours where they are asked for.
    if "--conformance" not in args:
        return
    group = parser.getgroup("conformance")
    group.addoption(
        "--candidate",
        dest="conformance_candidate",
        metavar="NAME|FILE.py:NAME",
        help="backend under test (torch)",
    )
    group.addoption(
        "--reference",
        dest="conformance_reference",
        metavar="NAME",
        help="backend that is trusted (tensorflow)",
    )
    group.addoption(
        "--suite", dest="conformance_suite", metavar="NAME", help="quick, default or catalogue (quick)"
    )
    group.addoption(
        "--candidate-timeout",
        dest="conformance_timeout",
        type=float,
        metavar="SECONDS",
        help="how long a candidate of FILE.py:NAME may take for each case (600)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "conformance: a case of --conformance, put on by itself")
    config.addinivalue_line(
        "markers",
        "known_difference(*causes, methods='*', layer=None, reason=''): conformance.check is expected to fail, for "
        "these causes and no others; docs/pytest.md",
    )
    if config.option.conformance:
        # Paths that were named are collected, too; where none was, only the cases.
        config.args = [each for each in _named(config) if not each.startswith(_PREFIX)]


def pytest_unconfigure(config: pytest.Config) -> None:
    if _CLOSING in config.stash:
        config.stash[_CLOSING].close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[Any]) -> None:
    if not config.option.conformance:
        return
    from harness.conformance.collected import Cases
    from harness.errors import HarnessError

    try:
        cases = Cases.from_parent(session, selection=_selection(config))
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from None
    items += session.genitems(cases)


@pytest.fixture
def conformance(request: pytest.FixtureRequest) -> Conformance:
    """`check` runs a case through reference and candidate, `golden` holds a run against a stored one."""
    from harness.conformance.fixture import Conformance, one_line_errors

    with one_line_errors():
        return Conformance(request.node, _session(request.config), getattr(request, "param", None))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    used = _used(config)
    if not used or hasattr(config, "workerinput"):
        return
    written = sorted({(status, entry) for entry, status in used if status in ("recorded", "replaced")})
    if written:
        terminalreporter.section("goldens", "-")
        for status, entry in written:
            terminalreporter.line(f"{status} {entry}")
    option = config.option
    narrowed = option.keyword or option.markexpr or _named(config) or getattr(option, "lf", False)
    if narrowed or option.maxfail or terminalreporter.stats.get("deselected"):
        return
    from harness.conformance.golden import unused_goldens
    from harness.errors import HarnessError

    root = _golden_root(config)
    try:
        unused = unused_goldens(root, {entry for entry, _ in used})
    except HarnessError as error:
        terminalreporter.line(f"goldens that no test used are not known: {error}")
        return
    if unused:
        terminalreporter.section(f"goldens under {root} that no test used", "-")
        for entry in unused:
            terminalreporter.line(entry)


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if hasattr(config, "workerinput"):
        config.workeroutput["conformance_goldens"] = _used(config)  # type: ignore[attr-defined]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of xdist has ended: what it used counts."""
    more = getattr(node, "workeroutput", {}).get("conformance_goldens", [])
    node.config.stash.setdefault(_USED, []).extend(map(tuple, more))


def _named(config: pytest.Config) -> list[str]:
    """Files, folders and ids of the command line; none where ``--help`` ended its reading."""
    return getattr(config.option, "file_or_dir", None) or []


def _used(config: pytest.Config) -> list[tuple[str, str]]:
    here = (
        [(each.entry, each.status) for each in config.stash[_SESSION].used]
        if _SESSION in config.stash
        else []
    )
    return [*here, *config.stash.get(_USED, [])]


def _session(config: pytest.Config) -> Session:
    """What the tests share. Raises HarnessError for a line of the configuration that is none."""
    from harness.conformance.configured import configured
    from harness.conformance.examine import quiet_frameworks
    from harness.conformance.fixture import Session

    if _SESSION not in config.stash:
        quiet_frameworks()
        config.stash[_SESSION] = Session(
            _golden_root(config),
            config.option.regen_golden,
            configured=configured(config.getini(_KNOWN_INI), config.getini(_TOLERANCES_INI)),
        )
    return config.stash[_SESSION]


def _golden_root(config: pytest.Config) -> Path:
    given = config.option.golden_dir
    return Path(config.invocation_params.dir, given) if given else config.rootpath / "golden"


def _selection(config: pytest.Config) -> Selection:
    """What ``--conformance`` asks for. Raises HarnessError for a suite, backend or known difference that is none."""
    from harness.backends import CANDIDATE, REFERENCE, backend_named, is_user_file
    from harness.conformance.collected import Selection
    from harness.runner import suite_named
    from harness.sides import Sides

    option = config.option
    candidate = option.conformance_candidate or CANDIDATE
    reference = option.conformance_reference or REFERENCE
    session = _session(config)
    for name in (candidate, reference):
        if is_user_file(name):
            closing = config.stash.setdefault(_CLOSING, ExitStack())
            (backend,) = closing.enter_context(Sides(False, option.conformance_timeout, True).named(name))
            session.backends[name] = backend
        else:
            backend_named(name)
    ids = [each.removeprefix(_PREFIX) for each in _named(config) if each.startswith(_PREFIX)]
    return Selection(
        suite_named(option.conformance_suite or "quick"),
        session,
        candidate,
        reference,
        wanted=frozenset(ids),
    )
