"""The words of `--help`: what a value is called, and whole sentences in lists of commands."""

from __future__ import annotations

from typing import Any

import typer

#: What the value of an option is, by the option's name; others by their type.
_VALUES = {
    "axes": "NAME,NAME,...",
    "backend": "BACKEND",
    "candidate": "BACKEND",
    "dialect": "DIALECT",
    "dtype": "DTYPE",
    "device": "DEVICE",
    "form": "FORM",
    "input": "FILE",
    "model": "MODEL",
    "method": "METHOD",
    "out": "PATH",
    "reference": "BACKEND",
    "reproduce": "FOLDER",
    "root": "FOLDER",
    "suite": "SUITE",
    "target": "CLASS",
}
_TYPES = {"int": "N", "float": "NUMBER", "path": "PATH", "directory": "FOLDER", "file": "FILE"}


def name_values(command: Any) -> Any:
    """``command`` with a word for the value of each option, and its arguments as a user writes them."""
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            _name_argument(parameter)
        elif parameter.metavar is None and not parameter.is_flag:
            parameter.metavar = _VALUES.get(max(parameter.opts, key=len).lstrip("-")) or _of_type(parameter)
    return command


def _name_argument(argument: Any) -> None:
    name = argument.metavar or argument.name.upper()
    bracketed = name if argument.required or "[" in name else f"[{name}]"
    argument.metavar = name
    argument.get_usage_pieces = lambda ctx: [bracketed]
    # Versions of typer that have no click below them show the type of an argument behind its name.
    argument.display_type_rich = lambda ctx: ""


def _of_type(option: Any) -> str:
    annotation = getattr(getattr(option, "type_descriptor", None), "annotation", None)
    named = getattr(annotation, "__name__", None) or getattr(getattr(option, "type", None), "name", "")
    return _TYPES.get(str(named).lower().removesuffix(" range"), "TEXT")


def show_whole_sentences(group: typer.Typer) -> None:
    """In a list of commands, the first paragraph of each stands whole; a terminal that is narrow wraps it."""
    for command in group.registered_commands:
        command.short_help = " ".join((command.callback.__doc__ or "").strip().partition("\n\n")[0].split())
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            inner.short_help = inner.typer_instance.info.help
            show_whole_sentences(inner.typer_instance)
