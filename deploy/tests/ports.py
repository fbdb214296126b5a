"""Free ports, for the tests of deploy/ and of helm/."""

import contextlib
import itertools
import random
import socket

# Below the range from which operating systems give ports to outgoing connections: one of those would otherwise take a port
# between its choice and its use now and then. From anywhere in it, so that two runs seldom try the same.
PORTS = range(12_000, 32_000)
next_ports = itertools.islice(itertools.cycle(PORTS), random.randrange(len(PORTS)), None)


def free_port(*addresses):
    """A port that is free at each of the addresses, or else at that of loopback, and not given out again soon."""
    for port in next_ports:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for address in addresses or ["127.0.0.1"]:
                stack.enter_context(socket.socket()).bind((address, port))
            return port
