"""An adapter for the tests of the worker: each op behaves well or badly in one way. Runs in the worker's process."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np

CHANNEL = int(sys.argv[sys.argv.index("--channel") + 1])
FOLDER = sys.argv[sys.argv.index("--folder") + 1]


class LibraryError(Exception):
    """Stands in for an exception class that only the library has."""


def handle(op, payload, arrays):
    return OPS[op](payload, arrays)


def echo(payload, arrays):
    return payload, arrays


def pid(payload, arrays):
    return {"pid": os.getpid(), "group": os.getpgrp(), "folder": FOLDER}, {}


def variables(payload, arrays):
    return {"environ": dict(os.environ), "path": sys.path}, {}


def describe(payload, arrays):
    return {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}, {}


def ones(payload, arrays):
    return {}, {"ones": np.ones(payload["shape"], dtype=np.float64)}


def raises(payload, arrays):
    raise LibraryError("the layer\n  has no name")


def leaves(payload, arrays):
    sys.exit("enough")


def chatter(payload, arrays):
    print(
        json.dumps({"id": payload["id"], "ok": True, "payload": {"true": False}, "arrays": None}), flush=True
    )
    subprocess.run(["echo", "and a process it starts says something too"], check=True)
    return {"true": True}, {}


def read_input(payload, arrays):
    return {"read": sys.stdin.read()}, {}


def sleep(payload, arrays):
    time.sleep(payload["s"])
    return payload, {}


def say_and_sleep(payload, arrays):
    print("step 1 of 2")
    time.sleep(600)


def start_another_and_sleep(payload, arrays):
    other = subprocess.Popen(["sleep", "600"])
    with open(payload["report"], "w") as report:
        json.dump({"pids": [os.getpid(), other.pid], "folder": FOLDER}, report)
    time.sleep(600)


def exit_now(payload, arrays):
    print("the device is on fire\n", file=sys.stderr, flush=True)
    os._exit(3)


def segmentation_fault(payload, arrays):
    os.kill(os.getpid(), signal.SIGSEGV)


def killed(payload, arrays):
    os.kill(os.getpid(), signal.SIGKILL)


def close_channel(payload, arrays):
    os.close(CHANNEL)
    time.sleep(600)


def write_to_channel(payload, arrays):
    os.write(CHANNEL, payload["text"].encode())
    time.sleep(600)


def flood_channel(payload, arrays):
    while True:
        os.write(CHANNEL, b"x" * 65536)


def answer_with_file(payload, arrays):
    path = os.path.join(FOLDER, payload["name"])
    if payload["content"] is not None:
        with open(path, "w") as file:
            file.write(payload["content"])
    reply = {"id": payload["id"], "ok": True, "payload": {}, "arrays": path}
    os.write(CHANNEL, json.dumps(reply).encode() + b"\n")
    time.sleep(600)


def no_dict(payload, arrays):
    return [1, 2], {}


def no_json(payload, arrays):
    return {"value": LibraryError}, {}


def no_array(payload, arrays):
    return {}, {"value": np.array([LibraryError])}


OPS = {name: value for name, value in list(globals().items()) if callable(value)}
