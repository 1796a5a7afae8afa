"""The commands in README and docs are commands: each exists, and takes the options and arguments that it is given.

Those of `xai-harness` and `pytest` are also run: test_commands_as_pasted.py.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from harness import cli
from harness.log_cli import at_the_front

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = typer.main.get_command(cli.app)
#: In a page: a word that stands for others, as in `xai-harness models | backends`.
_OTHERS = re.compile(r"^xai-harness (\w+) \| (\w+)")


def written(page: Path) -> Iterator[str]:
    """Every line of a block, and every code span; a prompt and variables in front are left out."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", outside)]
    for line in [*lines, *spans]:
        yield re.sub(r"^(\$ )?(\w+=\S+ )*", "", line.strip())


def commands(page: Path) -> Iterator[str]:
    """Those of :func:`written` that call `xai-harness`."""
    for line in written(page):
        if line.startswith("xai-harness "):
            several = _OTHERS.match(line)
            yield from (f"xai-harness {each}" for each in several.groups()) if several else [line]


def parsed(line: str) -> None:
    """Raises what the command line would raise for ``line``; nothing is run."""
    words = at_the_front(shlex.split(line.partition(" > ")[0], comments=True)[1:])
    context = COMMAND.make_context("xai-harness", words, resilient_parsing=False)
    rest = [*context._protected_args, *context.args]
    while rest:
        name, *rest = rest
        inner = context.command.get_command(context, name)
        assert inner is not None, f"there is no command {name!r}"
        if not hasattr(inner, "commands"):
            # A command by its name alone is spoken of, not called; three dots: a page leaves something out.
            if rest and "..." not in rest:
                inner.make_context(name, rest, parent=context)
            return
        context = inner.make_context(name, rest, parent=context)
        rest = [*context._protected_args, *context.args]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_one(page: Path) -> None:
    wrong = []
    for line in commands(page):
        try:
            parsed(line)
        except Exception as error:
            wrong.append(f"{line}: {getattr(error, 'message', error)}")
    assert not wrong, "\n".join(wrong)


def environments(name: str) -> list[tuple[str, str]]:
    """The environments that a section of tox.ini is about, each in two parts: one, or each of those in braces."""
    before, brace, listed = name.partition("{")
    return [(before, each) for each in listed.rstrip("}").split(",")] if brace else [(name, "")]


def is_there(line: str) -> bool:
    """Whether what another command names is in this repository: a target, a module, a file, an environment."""
    program, *words = shlex.split(line, comments=True)
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    if program == "make":
        return set(words) <= set(targets)
    if program == "tox":
        named = re.findall(r"^\[testenv:(.*)\]", (ROOT / "tox.ini").read_text(encoding="utf-8"), re.MULTILINE)
        every = {f"{before}{each}" for name in named for before, each in environments(name)}
        # An interpreter's name is an environment of [testenv] itself.
        return words[0] == "-e" and (words[1] in every or re.fullmatch(r"py3\d+", words[1]) is not None)
    if words[0] == "-m":
        module = ROOT.joinpath(*words[1].split("."))
        return module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()
    return (ROOT / words[0]).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_other_commands_of_a_page_name_is_there(page: Path) -> None:
    others = [line for line in written(page) if re.match(r"(make|tox|python) \S", line)]
    assert [line for line in others if not is_there(line)] == []


def test_a_target_a_module_and_an_environment_that_are_none_are_noticed() -> None:
    for line in (
        "make tets",
        "python -m evidence.nothing",
        "python benchmarks/none.py",
        "tox -e nothing",
        "tox -e torch-last",
    ):
        assert not is_there(line)


def test_a_command_that_is_none_is_noticed() -> None:
    for line in ("xai-harness rum", "xai-harness run --modle digits-cnn", "xai-harness golden very"):
        with pytest.raises(Exception, match=r"No such|no command"):
            parsed(line)
    assert sum(len([*commands(page)]) for page in PAGES) > 60
