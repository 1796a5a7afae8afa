"""An adapter that misbehaves in one way for each op; what is done under ``op`` stands in the payload. In the worker."""

import json
import os
import sys

CHANNEL = int(sys.argv[sys.argv.index("--channel") + 1])
FOLDER = sys.argv[sys.argv.index("--folder") + 1]


def handle(op, payload, arrays):
    if op == "echo":
        return payload, arrays
    scope = {"channel": CHANNEL, "folder": FOLDER, "payload": payload, "arrays": arrays, "reply": reply}
    exec(payload["code"], scope)
    return scope.get("answer", {}), scope.get("found", {})


def reply(number, arrays=None, **more):
    line = {"id": number, "ok": True, "payload": {}, "arrays": arrays, **more}
    os.write(CHANNEL, json.dumps(line).encode() + b"\n")
