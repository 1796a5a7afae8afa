"""The project's own files agree with each other and with what is installed."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness.backends.worker import Peer
from tests.frameworks import needs_of_import

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENTRY_POINTS = [
    (group, name, target)
    for group, points in PROJECT["entry-points"].items()
    for name, target in points.items()
]


def requirement_name(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower().replace("_", "-")


def constraint_lines() -> list[str]:
    return (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def entry_point(group: str, name: str, target: str) -> object:
    needs = needs_of_import(target.partition(":")[0])
    marks = [getattr(pytest.mark, framework) for framework in sorted(needs)]
    return pytest.param(group, name, target, marks=marks, id=f"{group}-{name}")


@pytest.mark.parametrize("group, name, target", [entry_point(*point) for point in ENTRY_POINTS])
def test_an_entry_point_resolves_to_a_plugin_a_peer_or_something_callable(group, name, target):
    found = importlib.metadata.EntryPoint(name, target, group).load()
    if group == "pytest11":
        assert callable(found.pytest_addoption)
    else:
        assert isinstance(found, Peer) if group == "xai_harness.peers" else callable(found)


def test_the_command_is_installed_and_lists_its_subcommands():
    points = importlib.metadata.entry_points(group="console_scripts", name="xai-harness")
    assert [point.value for point in points] == [PROJECT["scripts"]["xai-harness"]]


def test_the_installed_entry_points_are_those_of_the_project():
    for group, points in PROJECT["entry-points"].items():
        installed = {point.name: point.value for point in importlib.metadata.entry_points(group=group)}
        assert installed.items() >= points.items()


def test_every_constraint_pins_one_version_exactly():
    for line in constraint_lines():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", line), line


def test_every_requirement_of_the_project_is_pinned():
    pinned = {requirement_name(line) for line in constraint_lines()}
    required = {
        requirement_name(requirement)
        for requirements in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
        for requirement in requirements
    }
    assert required - {"xai-harness"} <= pinned


#: Shipped code that other interpreters run, or that pytest loads itself.
ELSEWHERE = (
    "reference_impls/peers/",
    "ported_impls/libraries/",
    "harness/conformance/",
    "harness/pytest_plugin.py",
)
#: By distribution, what it is imported as.
IMPORTED_AS = {"pillow": "PIL", "scikit-learn": "sklearn", "scikit-image": "skimage"}
OWN = {"harness", "reference_impls", "ported_impls", "ported_models"}


def imported(path):
    """The packages that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_the_dependencies_are_what_is_imported():
    extras = [each for extra in PROJECT["optional-dependencies"].values() for each in extra]
    required, optional = (
        {
            IMPORTED_AS.get(requirement_name(each), requirement_name(each).replace("-", "_"))
            for each in requirements
        }
        for requirements in (PROJECT["dependencies"], extras)
    )
    files = [path for package in OWN for path in (ROOT / package).rglob("*.py")]
    found = {
        name
        for path in files
        if not path.relative_to(ROOT).as_posix().startswith(ELSEWHERE)
        for name in imported(path)
    }
    assert found - set(sys.stdlib_module_names) - OWN <= required | optional
    # pandas reads and writes Parquet with it.
    assert required - found == {"pyarrow"}


def test_all_takes_in_every_other_extra():
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    assert set(re.search(r"\[(.*)\]", everything)[1].split(",")) == set(extras) - {"all"}


def test_the_classifiers_claim_the_pythons_that_ci_runs():
    claimed = [
        each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r"Python :: \d+\.\d+$", each)
    ]
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    (run,) = re.findall(r"python-version: \[(.*)\]", workflow)
    assert re.findall(r"[\d.]+", run) == claimed
    assert PROJECT["requires-python"] == f">={claimed[0]}"


def slugs(page):
    """The anchors of a page, as GitHub makes them of its headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.*?)\s*$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", each).lower() for each in headings]
    return {re.sub(r"[^\w\- ]", "", each).replace(" ", "-") for each in plain}


def test_every_make_command_in_the_readme_is_a_target():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", readme, re.MULTILINE))
    assert {"run", "test"} <= named <= targets


@pytest.mark.parametrize(
    "page",
    [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md")), ROOT / "reports" / "README.md"],
    ids=lambda p: p.relative_to(ROOT).as_posix(),
)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", text):
        leads_to = page.parent / target if target else page
        assert leads_to.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in slugs(leads_to), f"{page.name}: {target}#{anchor}"


def test_every_page_is_on_the_page_of_pages():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([^)#:\s]+)", index))
    linked |= {target.removeprefix("docs/") for target in re.findall(r"\]\((docs/[^)#:\s]+)", readme)}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"} <= linked


def test_setup_is_not_repeated_and_an_interrupted_one_is(tmp_path):
    # make -n prints what it would do. The setup's last act is the stamp, so only a finished one has it.
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())

    def setup_planned() -> bool:
        planned = subprocess.run(
            ["make", "-n", "test"], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        assert "pytest" in planned
        return "pip install" in planned

    assert setup_planned()
    (tmp_path / ".venv").mkdir()
    assert setup_planned()
    (tmp_path / ".venv" / ".installed").touch()
    assert not setup_planned()
    (tmp_path / "constraints.txt").write_text("numpy==2.0.0\n")
    assert setup_planned()
