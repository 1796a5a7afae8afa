"""What the results of this package that are kept (`harness.engine.Store`) depend on."""

from __future__ import annotations

import subprocess
from typing import Any

from harness.files import code_digest, json_digest

#: What shows and installs, and computes no figure of a result; planted bugs have digests of their own.
WITHOUT = (
    "harness/*cli.py",
    "harness/doctor.py",
    "harness/conformance/*",
    "harness/golden/*",
    "harness/golden_options.py",
    "harness/history.py",
    "harness/notebook.py",
    "harness/peers.py",
    "harness/pytest_plugin.py",
    "harness/report/*",
    "harness/stability/*",
    "harness/terminal.py",
    "harness/watching.py",
    "evidence/*/*page.py",
    "evidence/*/__main__.py",
    "evidence/certification/lists.py",
    "evidence/certification/sample/*",
    "evidence/planted_bugs/bugs/*",
    "evidence/planted_bugs/command.py",
    "evidence/planted_bugs/effect.py",
    "evidence/planted_bugs/score.py",
    "evidence/planted_bugs/table.py",
    "ported_impls/libraries/*",
)


def key_of(*facts: Any, code: tuple[str, ...] = ()) -> str:
    """What a result is kept under: a digest of ``facts``, and of the code of the harness, the models and ``code``."""
    return json_digest([facts, code_digest("harness", "ported_models", *code, without=WITHOUT)])


def commit() -> str:
    """The commit of the working tree, 12 digits; "not known" outside of one."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=60)
    except OSError:
        return "not known"
    return done.stdout.strip()[:12] or "not known"
