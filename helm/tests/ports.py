"""Free ports."""

import contextlib
import itertools
import random
import socket

# Below the range from which operating systems give ports to outgoing connections: one of those would otherwise take a port
# between its choice and its use now and then. From anywhere in it, so that two runs seldom try the same.
PORTS = range(12_000, 32_000)
next_ports = itertools.islice(itertools.cycle(PORTS), random.randrange(len(PORTS)), None)


def free_port():
    """A port of loopback that nobody has, and that is not given out again soon."""
    for port in next_ports:
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
