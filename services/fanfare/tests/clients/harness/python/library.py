"""The `pusher` library for Python, driven from outside: one call a line on stdin, one answer a line on stdout, as JSON.

The first line is the keyword arguments of the client. A call is {"method", "args"}; its answer {"result"}, or
{"error": the exception's class, "message"}."""

import json
import sys

from pusher import Pusher


def answer(pusher, call):
    try:
        return {"result": getattr(pusher, call["method"])(*call["args"])}
    except Exception as error:  # whatever the library raises is an answer
        return {"error": type(error).__name__, "message": str(error)}


def main():
    pusher = Pusher(**json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        # The shared secret of an encrypted channel is bytes.
        print(json.dumps(answer(pusher, json.loads(line)), default=bytes.decode), flush=True)


main()
