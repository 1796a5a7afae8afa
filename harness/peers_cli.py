"""The sub-commands of `xai-harness peers`."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    help="Install and remove the libraries that run in interpreters of their own.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="Name of the peer; see: xai-harness peers list")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


@app.command("install")
def install_command(name: Name, as_json: AsJson = False) -> None:
    """Make the environment of a peer: venv, pinned versions, kept per user. A second run takes it as it is."""
    from rich.console import Console

    from harness.peers import install
    from harness.terminal import print_json

    console = Console(stderr=True, highlight=False, markup=False)
    try:
        if console.is_terminal:
            with console.status(f"installing {name}") as shown:
                python = install(name, lambda line: shown.update(line[: console.width - 4]))
        else:
            python = install(name, lambda line: console.print(line, soft_wrap=True))
    except KeyboardInterrupt:
        console.print(f"interrupted; {name} is not installed, run the same command again")
        raise typer.Exit(130) from None
    if as_json:
        print_json({"peer": name, "python": str(python)})
    else:
        print(f"{name} is installed: {python}")


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """List the peers: name, pinned version, whether each can be used, and its interpreter or what to do."""
    from harness.peers import status
    from harness.terminal import print_json, print_table

    rows = status()
    if as_json:
        print_json(rows, indent=1)
    else:
        shown = [
            {
                **row,
                "pinned": row["requirement"],
                "interpreter": f"{row['python']} ({row['source']})" if row["available"] else row["note"],
            }
            for row in rows
        ]
        print_table(shown, ("name", "pinned", "available", "interpreter"))


@app.command("remove")
def remove_command(name: Name, as_json: AsJson = False) -> None:
    """Remove the environments of a peer; an interpreter that a variable names is left alone."""
    from harness.peers import remove
    from harness.terminal import print_json

    removed = remove(name)
    if as_json:
        print_json({"peer": name, "removed": removed})
        return
    for folder in removed:
        print(f"removed {folder}")
    if not removed:
        print(f"{name} is not installed; nothing to remove")
