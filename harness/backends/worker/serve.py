"""The side of a worker that runs in the peer's interpreter: ``python serve.py ADAPTER --channel FD --folder FOLDER``.

A script of its own: Python 3.8 or later, NumPy 1 or 2, safetensors, and nothing of `harness`. The adapter is a file
that defines ``handle(op: str, payload: dict, arrays: dict[str, ndarray]) -> (dict, dict[str, ndarray])``.

A request is one line of JSON on standard input::

    {"id": 1, "op": "explain", "payload": {...}, "arrays": "/path/of/file.safetensors" or null}

and its answer one line of JSON on the channel, one of::

    {"id": 1, "ok": true, "payload": {...}, "arrays": "/path/of/file.safetensors" or null}
    {"id": 1, "ok": false, "error": {"type": "ValueError", "message": "..."}}

The first line of the channel has id 0: it says that the adapter was imported, or why it could not be.
Nothing that arrives is executed: JSON and tensors are all there is. The end of standard input, which is also what
the death of the other side looks like, ends this process, whatever it is doing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import queue
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Import the adapter, say so, then answer requests one at a time until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("adapter")
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--folder", required=True)
    options = parser.parse_args()

    # Neither the library nor a process that it starts may read the requests or write to the channel by mistake.
    requests = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.set_inheritable(options.channel, False)

    lines: queue.Queue = queue.Queue()
    threading.Thread(target=_read, args=(requests, lines, options.folder), daemon=True).start()
    with os.fdopen(options.channel, "wb", buffering=0) as channel:
        try:
            handle = _import_handle(options.adapter)
        except (
            BaseException
        ) as error:  # an adapter is other people's code: sys.exit() at import is a failure too
            _write(channel, _failure(0, error))
            return
        _write(channel, {"id": 0, "ok": True, "payload": {}, "arrays": None})
        while True:
            _write(channel, _answer(json.loads(lines.get()), handle, options.folder))


def _read(requests: int, lines: queue.Queue, folder: str) -> None:
    """Pass on the lines of standard input; at its end, end this process and those it started."""
    with os.fdopen(requests, "rb") as stream:
        for line in stream:
            lines.put(line)
    shutil.rmtree(folder, ignore_errors=True)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)


def _import_handle(path: str) -> Callable:
    """The function ``handle`` of the adapter at ``path``, imported with its own folder first on the path."""
    # Python has put the folder of this script there: its modules must not stand in for the library's.
    sys.path[0] = os.path.dirname(os.path.abspath(path))
    # Checked here, where it can be said, rather than at the first array.
    import safetensors.numpy  # noqa: F401

    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.handle


def _answer(request: dict, handle: Callable, folder: str) -> dict:
    """The reply to ``request``; whatever goes wrong in the adapter becomes an error reply."""
    try:
        payload, arrays = handle(request["op"], request["payload"], _load(request["arrays"]))
        json.dumps(payload)  # what JSON cannot say is the adapter's error, not the end of this process
        if not isinstance(payload, dict):
            raise TypeError(f"handle answered with a payload of type {type(payload).__name__}, not a dict")
        path = os.path.join(folder, f"answer-{request['id']}.safetensors")
        return {"id": request["id"], "ok": True, "payload": payload, "arrays": _save(path, arrays)}
    except BaseException as error:
        traceback.print_exc()
        return _failure(request["id"], error)


def _load(path: str | None) -> dict:
    """The arrays of a safetensors file; none without a file."""
    import safetensors.numpy

    return {} if path is None else safetensors.numpy.load_file(path)


def _save(path: str, arrays: dict) -> str | None:
    """Write ``arrays`` to ``path`` and return it; None, and no file, where there are no arrays."""
    import numpy as np
    import safetensors.numpy

    if not arrays:
        return None
    # safetensors stores memory as it lies: C order, little endian.
    plain = {}
    for name, array in arrays.items():
        array = np.asarray(array)
        plain[name] = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    safetensors.numpy.save_file(plain, path)
    return path


def _failure(number: int, error: BaseException) -> dict:
    return {"id": number, "ok": False, "error": {"type": type(error).__name__, "message": str(error)}}


def _write(channel: Any, reply: dict) -> None:
    line = memoryview(json.dumps(reply).encode() + b"\n")
    while line:
        line = line[channel.write(line) :]


if __name__ == "__main__":
    main()
