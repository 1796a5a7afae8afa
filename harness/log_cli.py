"""`--log-level`: how much the command says on standard error about what it does."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

OPTION = "--log-level"
DEFAULT = "info"
#: From little to much. Each shows what those before it show.
LEVELS = {
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}
HELP = (
    "What is said on standard error beside the result: error (what ends the command), warning (also what is computed "
    "again or cannot be kept), info (also what is fetched), debug (also what computes and what is looked up, with "
    "seconds). It may stand behind the command too."
)
#: What is ours. Frameworks and libraries say no more than they say by themselves.
_OURS = ("harness", "reference_impls", "ported_impls", "ported_models")


def show_from(level: str) -> None:
    """Show on standard error what our packages log at ``level`` and above; of others, warnings and above."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr, force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(LEVELS[level])


def at_the_front(words: Sequence[str]) -> list[str]:
    """``words`` of a command line with ``--log-level`` first, wherever it stood: it belongs to every command."""
    rest, level = list(words), []
    for place, word in enumerate(words):
        if word == "--":
            break
        if word.startswith(f"{OPTION}="):
            level = [rest.pop(place)]
            break
        if word == OPTION:
            level = rest[place : place + 2]
            del rest[place : place + 2]
            break
    return [*level, *rest]
