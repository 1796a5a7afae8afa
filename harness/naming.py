"""Names that others chose (of models, layers, methods, candidates), made safe for the place where they are put.

A name is text. Here alone it becomes a file name, a word on a terminal, Markdown, a docstring or a word of a shell;
whoever writes a name anywhere calls the function for that place.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import unicodedata
from collections.abc import Iterable

#: Names that are file names as they stand, on every system; all others get letters and digits that tell them apart.
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,119}\Z")
#: Taken by devices on Windows, whatever follows behind a dot.
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|\Z)", re.IGNORECASE)
_LONGEST_STEM = 60
#: How a name that was made into a file name ends; one that ends so by itself is made into another.
_MADE = re.compile(r"-[0-9a-f]{12}\Z")
#: Control characters, invisible ones (among them those that turn the direction of writing), halves of pairs, unassigned
#: and private ones, and separators of lines and paragraphs.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})
#: What begins markup in Markdown or HTML, in a table or outside of one. An underscore within a word begins nothing.
_MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\A[-+=#]")
#: What begins a numbered list.
_NUMBERED = re.compile(r"\A(\d{1,9})([.)])(?=\s|\Z)")
#: What some readers of Markdown turn into a link without being asked.
_LINK = re.compile(r"(?i)\b(www)\.|(:)(?=//)|(@)")


def file_name(name: str) -> str:
    """``name`` as the name of one file or folder: never a path, never reserved, never too long.

    Two names never become one: what is not a file name as it stands ends in the first 12 digits of its sha256.
    """
    plain = _FILE_NAME.match(name) and not name.endswith(".")
    if plain and not _RESERVED.match(name) and not _MADE.search(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    stem = re.sub(r"[^A-Za-z0-9_+-]+", "_", name)[:_LONGEST_STEM].strip("_+-")
    return f"{stem}-{digest}" if stem and not _RESERVED.match(stem) else f"name-{digest}"


def printable(text: str, lines: bool = False) -> str:
    """``text`` with everything that is not seen, or that a terminal obeys, as Python writes it in a string.

    On one line, unless ``lines`` keeps ends of lines and tabs as they are.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        each
        if each in kept or unicodedata.category(each) not in _INVISIBLE
        else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def markdown(text: str) -> str:
    """``text`` on one line, as text in Markdown: no markup, no HTML, no link, no end of a table's cell."""
    line = printable(" ".join(text.split()))
    line = _NUMBERED.sub(r"\1\\\2", _MARKUP.sub(lambda match: f"\\{match[0]}", line))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LINK.sub(lambda match: match[0][:-1] + f"&#{ord(match[0][-1])};", line)


def code_span(text: str) -> str:
    """``text`` on one line, as code in Markdown, whatever backticks are in it."""
    line = printable(" ".join(text.split())).replace("|", "\\x7c")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    around = " " if len(fence) > 1 else ""
    return f"{fence}{around}{line}{around}{fence}"


def docstring(text: str) -> str:
    """``text`` for the inside of a string in three double quotes: it neither ends the string nor escapes anything."""
    return printable(text, lines=True).replace("\\", "\\\\").replace('"', '\\"')


def shell(words: Iterable[str]) -> str:
    """A command line for a POSIX shell, on one line, that has exactly these words."""
    return " ".join(
        shlex.quote(word) if printable(word) == word else "$'" + _ansi_c(word) + "'" for word in words
    )


def _ansi_c(word: str) -> str:
    """``word`` inside of ``$'...'``, in ASCII."""
    plain = {"\\": "\\\\", "'": "\\'"}
    return "".join(
        plain.get(each, each)
        if " " <= each <= "~"
        else "".join(f"\\x{byte:02x}" for byte in each.encode("utf-8", "surrogatepass"))
        for each in word
    )
