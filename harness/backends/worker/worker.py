"""The worker: an adapter in another interpreter, asked through `serve.py`; every way it can fail is one line."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import sysconfig
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from harness.backends.worker.child import Child, Ended
from harness.backends.worker.folder import read_regular, write_new
from harness.errors import InvalidInputError, PeerError
from harness.naming import printable

#: Seconds to wait for a worker's start and for each answer, in place of the limits set in code.
LIMIT_VARIABLE = "XAI_HARNESS_LIMIT_S"
_SERVE = Path(__file__).with_name("serve.py")
#: Of this interpreter's surroundings, what would lead another one to packages that are not its own.
_NOT_INHERITED = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
_LONGEST_QUOTE = 300


class Worker:
    """An adapter script in an interpreter of its own, started with the first request and again after it has died.

    ``name`` stands at the head of every error; ``python`` is the interpreter; ``adapter`` a file that defines
    ``handle(op, payload, arrays)``, see `serve.py`; ``limit_s`` the seconds an answer may take and
    ``start_limit_s`` the seconds from the start to the end of the adapter's import (the environment variable
    XAI_HARNESS_LIMIT_S, where set, replaces both, unless ``option`` names what sets the limits instead);
    ``environment`` is added to this process's.

    Requests of several threads are answered one after the other. The process lives in a group of its own and goes
    with all it has started when the worker is closed or collected, and when this process ends, however it ends.
    """

    def __init__(
        self,
        name: str,
        python: Path,
        adapter: Path,
        limit_s: float = 600.0,
        start_limit_s: float = 180.0,
        environment: Mapping[str, str] | None = None,
        option: str | None = None,
    ) -> None:
        self.name = name
        self._python = Path(python)
        self._adapter = Path(adapter).absolute()
        self._limit_s = limit_s
        self._start_limit_s = start_limit_s
        self._environment = dict(environment or {})
        self._option = option
        self._child: Child | None = None
        self._asked = 0
        self._lock = threading.Lock()

    def request(
        self,
        op: str,
        payload: dict[str, Any],
        arrays: dict[str, np.ndarray] | None = None,
        limit_s: float | None = None,
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What the adapter's ``handle(op, payload, arrays)`` returns.

        ``limit_s``: seconds for this answer, in place of the worker's. Raises PeerError where the interpreter is
        missing, the adapter cannot be imported, the process dies, takes longer than its limit or answers with
        rubbish (the next request then starts it again), and where ``handle`` raises (it lives on).
        """
        with self._lock:
            child, sent = self._handed(arrays or {})
            line = {
                "id": self._asked,
                "op": op,
                "payload": payload,
                "arrays": None if sent is None else str(sent),
            }
            limit = self._limit(self._limit_s if limit_s is None else limit_s)
            deadline = time.monotonic() + limit
            text = json.dumps(line).encode() + b"\n"
            reply, answered = self._reply(child, self._asked, text, deadline, limit, repr(op))
            if sent is not None:
                with contextlib.suppress(OSError):
                    sent.unlink()
            if not reply["ok"]:
                raise PeerError(f"{self.name}: {_in_words(reply['error'])}")
            return reply["payload"], answered

    def printed(self) -> str:
        """What the process has printed since the last request, its end where that is long; "" where it has ended."""
        return "" if self._child is None else self._child.printed()

    def close(self) -> None:
        """End the process, if there is one, and remove its files."""
        with self._lock:
            self._end()

    def kill(self) -> None:
        """End the process from another thread, while it works: the request that waits for it raises PeerError."""
        child = self._child
        if child is not None:
            child.kill()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _started(self) -> Child:
        # A message that no request asked for is in the channel: the next one read would not answer the next request.
        if self._child is not None and self._child.alive() and not self._child.unread():
            return self._child
        self._end()
        surroundings = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
        own = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "PYTHONNOUSERSITE": "1"}
        try:
            self._child = Child(
                lambda channel, folder: (
                    str(self._python),
                    str(_SERVE),
                    str(self._adapter),
                    *("--channel", str(channel), "--folder", str(folder)),
                ),
                {**surroundings, **own, **self._environment},
            )
        except OSError as error:
            raise PeerError(
                f"{self.name}: the interpreter {self._python} cannot be started ({error.strerror or error}); "
                "is the peer installed? See: xai-harness peers list"
            ) from None
        limit = self._limit(self._start_limit_s)
        deadline = time.monotonic() + limit
        asked = f"the import of {self._adapter.name}"
        greeting, _ = self._reply(self._child, 0, b"", deadline, limit, asked)
        if not greeting["ok"]:
            self._end()
            raise PeerError(
                f"{self.name}: {self._adapter} cannot be imported by {self._python}: {_in_words(greeting['error'])}"
            )
        return self._child

    def _handed(self, arrays: Mapping[str, np.ndarray]) -> tuple[Child, Path | None]:
        """The process, and the file with ``arrays`` in its folder; one that spoilt its folder is begun anew, once."""
        content = save({key: _plain(array) for key, array in arrays.items()}) if arrays else b""
        for attempt in (1, 2):
            child = self._started()
            self._asked += _step() if self._asked else 1
            if not content:
                return child, None
            sent = child.folder / f"request-{self._asked}.safetensors"
            try:
                write_new(sent, content)
            except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
                self._end()
                if attempt == 2:
                    raise PeerError(
                        f"{self.name}: its folder cannot be written to ({error.strerror})"
                    ) from None
                continue
            return child, sent
        raise AssertionError("the second attempt returns or raises")

    def _reply(
        self, child: Child, number: int, line: bytes, deadline: float, limit: float, asked: str
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Send ``line`` (if any) and wait for the reply numbered ``number`` and its arrays.

        Without one within the limit the process is ended, and PeerError raised. A second reply to an earlier request is
        passed over.
        """
        try:
            if line:
                child.send(line, deadline)
            while (reply := _checked(child.receive(deadline), number)) is None:
                if time.monotonic() > deadline:
                    raise TimeoutError
            path = reply.get("arrays")
            return reply, {} if path is None else self._arrays(child, path, deadline)
        except TimeoutError:
            raised = f"{self._option} {2 * limit:g}" if self._option else f"{LIMIT_VARIABLE}={2 * limit:g}"
            message = (
                f"no answer to {asked} within {limit:g} s; if it only needs longer, raise the limit: "
                f"{raised}{_quoted(child)}"
            )
        except Ended:
            message = f"its process {child.status()} during {asked}{_quoted(child)}"
        except ValueError as error:
            message = f"rubbish in place of an answer to {asked}: {error}{_quoted(child)}"
        except PeerError:
            raise
        except BaseException:  # an interrupt: a later request must not find this one's reply
            self._end()
            raise
        self._end()
        raise PeerError(f"{self.name}: {message}")

    def _arrays(self, child: Child, path: str, deadline: float) -> dict[str, np.ndarray]:
        """The arrays of an answer; the file is removed. A file that cannot be read ends the process.

        Raises TimeoutError, and PeerError for what is no file of arrays.
        """
        file = Path(path)
        try:
            if file.parent != child.folder or file.name == "..":
                raise ValueError("it lies outside the worker's folder")
            # Not mapped: a file that is cut short while it is mapped ends the process that maps it.
            read = load(read_regular(file, deadline))
            file.unlink()
            return {key: np.array(array) for key, array in read.items()}
        except TimeoutError:
            raise
        except (OSError, ValueError, KeyError, MemoryError, OverflowError, SafetensorError) as error:
            quoted = _quoted(child)
            self._end()
            raise PeerError(
                f"{self.name}: rubbish in place of an answer's arrays: {printable(file.name)} cannot be read "
                f"({_shortened(str(error))}){quoted}"
            ) from None

    def _limit(self, seconds: float) -> float:
        return seconds if self._option else _limit(seconds)

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None


def own_surroundings() -> dict[str, str]:
    """What makes another process of this interpreter find the modules that this one finds."""
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    here = {key: os.environ[key] for key in ("PYTHONHOME", "VIRTUAL_ENV") if key in os.environ}
    # A mark of this kind is set by its presence.
    return {**here, "PYTHONPATH": paths, "PYTHONNOUSERSITE": os.environ.get("PYTHONNOUSERSITE", "")}


def surroundings_of_another() -> dict[str, str]:
    """What makes another interpreter find the harness where it is no installed package but a folder of sources."""
    root = str(Path(__file__).parents[3])
    installed = {os.path.realpath(path) for path in sysconfig.get_paths().values()}
    return {} if os.path.realpath(root) in installed else {"PYTHONPATH": root}


def _step() -> int:
    """How far the number of a request is beyond the last one's: at random, so that an answer cannot be prepared."""
    return 1 + secrets.randbelow(2**32)


def _checked(text: bytes, number: int) -> dict[str, Any] | None:
    """The reply in ``text``; None for one to an earlier request. Raises ValueError where it is neither."""
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{_shortened(text.decode(errors='replace'))!r} is not JSON") from None
    if not isinstance(reply, dict):
        raise ValueError(f"a JSON {type(reply).__name__}, expected an object")
    answered = reply.get("id")
    if type(answered) is int and 0 <= answered < number:
        return None
    if type(answered) is not int or answered != number:
        raise ValueError(f"a reply to request {reply.get('id')!r}, expected {number}")
    if reply.get("ok") is True:
        expected: dict[str, tuple[type, ...]] = {"payload": (dict,), "arrays": (str, type(None))}
    elif reply.get("ok") is False:
        expected = {"error": (dict,)}
    else:
        raise ValueError(f"'ok' is {reply.get('ok')!r}, expected true or false")
    for key, types in expected.items():
        if key not in reply:
            raise ValueError(f"a reply without {key!r}")
        if not isinstance(reply[key], types):
            raise ValueError(f"{key!r} is {_shortened(repr(reply[key]))}, expected {types[0].__name__}")
    return reply


def _limit(seconds: float) -> float:
    """``seconds``, unless the environment sets another limit. Raises InvalidInputError for one that is none."""
    text = os.environ.get(LIMIT_VARIABLE)
    if text is None:
        return seconds
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not limit > 0:
        raise InvalidInputError(f"{LIMIT_VARIABLE} is {text!r}; expected a number of seconds above 0")
    return limit


def _plain(array: np.ndarray) -> np.ndarray:
    """``array`` as safetensors stores it: memory in C order, little endian."""
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _in_words(error: dict[str, Any]) -> str:
    return f"{_shortened(str(error.get('type', 'Error')))}: {_shortened(str(error.get('message', '')))}"


def _quoted(child: Child) -> str:
    words = child.last_words()
    return f" (last line of its log: {_shortened(words)})" if words else ""


def _shortened(text: str) -> str:
    """``text`` on one line, cut where it runs too long to be read."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "..."
