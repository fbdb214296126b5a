"""The load balancers of docs/operations/balancers.md, run as they stand there: HAProxy, nginx and Caddy before real edges."""

import contextlib
import functools
import re
import signal
import socket
import tempfile
import unittest

from balancers import BY_HEADERS, BY_PROXY, SHOWN, Caddy, HAProxy, Nginx, examples
from clients import REFUSED, Listener, Publisher, event_stream, open_socket, publisher, websocket_events
from edges import Pair, Site
from support import fanfare, run

# What clients say that they are; nobody has this address here.
ELSEWHERE = "203.0.113.9"


class OnSite(unittest.TestCase):
    """Tests with every balancer before the pair of edges that is told of clients in its way."""

    # Tables in the edges' own file behind those of the page.
    edge_settings = other_settings = ""

    @classmethod
    def setUpClass(cls):
        cls.site = Site(cls, cls.enterClassContext(tempfile.TemporaryDirectory()))
        # Balancers that pass bytes on leave TLS to edges.
        tls = f'[tls]\ncert_file = "{cls.site.certificate}"\nkey_file = "{cls.site.key}"\n'
        cls.pairs = {}
        for way, more in ((BY_PROXY, tls), (BY_HEADERS, "")):
            told = examples(way)["toml"].replace("10.0.0.0/8", "127.0.0.1")
            name = "proxy" if way == BY_PROXY else "headers"
            cls.pairs[way] = Pair(cls.site, name, told + cls.edge_settings + cls.other_settings + more)
        for pair in cls.pairs.values():
            pair.await_ready()
        cls.balancers = [kind(cls.site, way, cls.pairs[way]) for way, kind in SHOWN]
        cls.checking = [balancer for balancer in cls.balancers if balancer.has_checks]


class Traffic(OnSite):
    edge_settings = "address_connections = 1\n"

    def test_every_configuration_is_valid_without_a_warning(self):
        for balancer in self.balancers:
            with self.subTest(balancer=balancer.name):
                code, text = run(*balancer.check, env=balancer.environment)
                self.assertEqual(code, 0, text)
                self.assertNotRegex(text, r'(?i)\[warn|"level":"warn"(?!.*automatic HTTP)')

    def test_websockets_event_streams_and_publishes_pass(self):
        for balancer in self.balancers:
            with self.subTest(balancer=balancer.name):
                channel = balancer.folder.name
                listeners = [Listener(self, kind, balancer.port, channel) for kind in (websocket_events, event_stream)]
                self.site.eventually(lambda: all(listener.is_here for listener in listeners), "subscribed")
                publisher(balancer.port).trigger(channel, "greeting", {})
                self.site.eventually(lambda: all("greeting" in listener.received for listener in listeners), "delivered")

    def test_edges_see_clients_and_not_what_they_say_of_themselves(self):
        told = {"X-Forwarded-For": ELSEWHERE, "Forwarded": f"for={ELSEWHERE}", "X-Real-IP": ELSEWHERE}
        for index, balancer in enumerate(self.balancers):
            with self.subTest(balancer=balancer.name):
                source = f"127.1.{index}.1"
                with contextlib.closing(open_socket(balancer.port, source, told)) as opened:
                    seen = {row["id"]: row["address"].rsplit(":", 1)[0] for row in self.site.connections()}
                    self.assertEqual(seen.get(opened.socket_id), source)

    def test_limits_are_those_of_clients_addresses(self):
        for index, balancer in enumerate(self.balancers):
            with self.subTest(balancer=balancer.name), contextlib.ExitStack() as stack:

                def is_served(last_byte, told):
                    try:
                        opened = open_socket(balancer.port, f"127.2.{index}.{last_byte}", {"X-Forwarded-For": told})
                    except REFUSED:
                        return False
                    stack.enter_context(contextlib.closing(opened))
                    return True

                # One for each edge, whoever else it says that it is.
                crowd = [is_served(1, f"203.0.113.{other}") for other in range(5)]
                self.assertIn(sum(crowd), (1, 2), crowd)
                self.assertTrue(is_served(2, ELSEWHERE))
                self.assertTrue(is_served(3, ELSEWHERE))

    def test_checks_are_answered_and_bother_no_edge(self):
        self.assertEqual(len(self.checking), 3)
        pair = self.pairs[BY_PROXY]
        for balancer in self.checking:
            self.site.eventually(lambda: balancer.health() == [True, True], f"{balancer.name}, finds both edges well")
        self.assertEqual(pair.refused_headers(), 0)
        # What a check without a header of that port would do.
        with socket.create_connection((Pair.HOSTS[0], pair.clients), timeout=10) as bare:
            bare.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            self.site.eventually(lambda: pair.refused_headers() == 1, "the edge counts who comes without a header")


class Leaving(OnSite):
    # The page's checks need three seconds.
    other_settings = '[drain]\ngrace = "6s"\nduration = "2s"\n'

    def test_an_edge_leaves_and_nobody_meets_it_any_more(self):
        kinds = [websocket_events] * 4 + [event_stream] * 2
        listeners = {balancer: [Listener(self, kind, balancer.port, "room") for kind in kinds] for balancer in self.balancers}
        publishers = {balancer: [Publisher(self, balancer.port, "room", pace_seconds) for pace_seconds in (0.05, 0.7)]
                      for balancer in self.balancers}
        everybody = [listener for some in listeners.values() for listener in some]
        self.site.eventually(lambda: all(listener.is_here for listener in everybody), "all are subscribed")
        for balancer in self.checking:
            self.site.eventually(lambda: balancer.health() == [True, True], f"{balancer.name}, finds both edges well")

        leaving = [pair.processes[0] for pair in self.pairs.values()]
        for process in leaving:
            process.send_signal(signal.SIGTERM)
        newcomers = []
        for balancer in self.checking:
            self.site.eventually(lambda: balancer.health() == [False, True], f"{balancer.name}, takes the edge out")
            newcomers.append(Listener(self, websocket_events, balancer.port, "room"))
        self.assertEqual([listener.moves for listener in everybody], [0] * len(everybody), "taken out after the grace")
        self.site.eventually(lambda: all(process.poll() is not None for process in leaving), "both have drained")
        self.assertEqual([process.returncode for process in leaving], [0, 0])

        everybody += newcomers
        publisher(self.balancers[0].port).trigger("room", "last", {})
        self.site.eventually(lambda: all("last" in listener.received for listener in everybody), "all get the last message")
        self.assertEqual([newcomer.moves for newcomer in newcomers], [0] * len(newcomers))
        for balancer in self.balancers:
            with self.subTest(balancer=balancer.name):
                self.assertGreater(sum(listener.moves for listener in listeners[balancer]), 0)
                for listener in listeners[balancer]:
                    self.assertLessEqual(listener.moves, 1)
                for client in listeners[balancer] + publishers[balancer]:
                    # Without checks, whoever gets to the edge as its grace ends may be told to try again, but never cut.
                    cut = [failure for failure in client.failures if balancer.has_checks or "4100" not in failure]
                    self.assertEqual(cut, [])
                self.assertTrue(all(publisher.published > 5 for publisher in publishers[balancer]))


class Durations(unittest.TestCase):
    """The times that the page sets, beside those of the edge."""

    @functools.cached_property
    def ours(self):
        _code, text = run(fanfare(), "config", "show", "--role", "edge")
        return {key: in_seconds(value) for key, value in re.findall(r'^([\w.]+) = "(\d+(?:ms|s|m|h))"$', text, re.M)}

    def shown(self, pattern):
        """The durations that match, by the example that they are in."""
        found = {(way, kind): re.findall(pattern, examples(way)[kind.language], re.M) for way, kind in SHOWN}
        return {example: [in_seconds(value) for value in values] for example, values in found.items() if values}

    def test_nothing_cuts_who_is_silent_for_as_long_as_an_edge_lets_it(self):
        silence = self.ours["edge.activity_timeout"] + self.ours["edge.pong_timeout"]
        tunnels = self.shown(r"(?:timeout tunnel|proxy_timeout|proxy_read_timeout|proxy_send_timeout) (\w+)")
        # Caddy has no such time unless told one.
        self.assertEqual(set(tunnels), {example for example in SHOWN if example[1] is not Caddy})
        for example, values in tunnels.items():
            self.assertGreater(min(values), silence, example)
        # What is open longest without a WebSocket, by HTTP, writes something every 25 s at least.
        others = self.shown(r"timeout (?:client|server) +(\w+)")
        self.assertGreater(min(others[BY_HEADERS, HAProxy]), 25)

    def test_proxies_give_idle_connections_up_before_edges_do(self):
        kept = self.shown(r"keepalive(?:_timeout)? (\d+s)")
        self.assertEqual(set(kept), {(BY_HEADERS, Nginx), (BY_HEADERS, Caddy)})
        for example, values in kept.items():
            self.assertLess(max(values), self.ours["edge.keep_alive_timeout"], example)

    def test_checks_notice_an_edge_that_leaves_within_its_grace(self):
        checks = self.shown(r"(?:inter|health_interval) (\w+)")
        self.assertEqual({kind for _, kind in checks}, {HAProxy, Caddy})
        # HAProxy wants three failures.
        for example, values in checks.items():
            self.assertLess(3 * max(values), self.ours["drain.grace"], example)


def in_seconds(text):
    """A duration as in 10m."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


if __name__ == "__main__":
    unittest.main()
