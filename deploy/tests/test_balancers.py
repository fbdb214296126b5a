"""The load balancers of docs/operations/balancers.md, run as they stand there: HAProxy, nginx and Caddy before real edges."""

import contextlib
import functools
import json
import re
import socket
import unittest

from balancers import BY_HEADERS, BY_PROXY, PAIRS, SHOWN, Caddy, HAProxy, Nginx, examples, settings
from clients import REFUSED, Listener, Publisher, Pusher, event_stream, websocket_events
from machines import SERVERS, Site, address
from support import APP, DEPLOY, PATIENCE_SECONDS, fanfare, run

# What clients say that they are; nobody has this address here.
ELSEWHERE = "203.0.113.9"


class OnSite(unittest.TestCase):
    """Tests with every balancer before the pair of edges that is told of clients in its way."""

    # Of edges, beside those of the page.
    variables = {}

    @classmethod
    def setUpClass(cls):
        site = cls.site = cls.enterClassContext(Site())
        # Where the page has them.
        (site.folder / "rt.key").symlink_to("server.key")
        (site.folder / "rt.pem").write_text((site.folder / "server.pem").read_text() + (site.folder / "server.key").read_text())
        for name in SERVERS:
            site.start_nats(name)
        site.start_node("control", FANFARE_SEED=str(DEPLOY / "dev" / "apps.toml"))
        for way, pair in PAIRS.items():
            for name in pair:
                site.start_node(name, settings(way), **cls.variables)
        site.await_ready("control", *(name for pair in PAIRS.values() for name in pair))
        cls.balancers = [kind(site, way) for way, kind in SHOWN]
        cls.checking = [balancer for balancer in cls.balancers if balancer.has_checks]

    def await_health(self, balancer, *health):
        self.site.eventually(lambda: balancer.health() == [*health], lambda: f"{balancer.name}: {balancer.health()}")


class Traffic(OnSite):
    variables = {"FANFARE_EDGE_ADDRESS_CONNECTIONS": "1"}

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
                listeners = [Listener(self, kind, balancer.entrance, channel) for kind in (websocket_events, event_stream)]
                self.site.eventually(lambda: all(listener.is_here for listener in listeners), lambda: "subscribed")
                balancer.entrance.library().trigger(channel, "greeting", {})
                self.site.eventually(lambda: all("greeting" in listener.received for listener in listeners), lambda: "delivered")

    def test_edges_see_clients_and_not_what_they_say_of_themselves(self):
        told = {"X-Forwarded-For": ELSEWHERE, "Forwarded": f"for={ELSEWHERE}", "X-Real-IP": ELSEWHERE}
        for index, balancer in enumerate(self.balancers):
            with self.subTest(balancer=balancer.name):
                source = f"127.1.{index}.1"
                with contextlib.closing(Pusher(balancer.entrance, source, told)) as client:

                    def seen():
                        code, text = self.site.admin_command("connection", "list", APP, "--output", "json")
                        self.assertEqual(code, 0, text)
                        return [row["address"] for row in json.loads(text)["connections"] if row["id"] == client.id]

                    # What an edge has that was slow to answer is not in the list.
                    (shown,) = self.site.eventually(seen, lambda: "the connection is listed")
                    self.assertEqual(shown.rsplit(":", 1)[0], source)

    def test_limits_are_those_of_clients_addresses(self):
        for index, balancer in enumerate(self.balancers):
            with self.subTest(balancer=balancer.name), contextlib.ExitStack() as stack:

                def is_served(last_byte, told):
                    try:
                        client = Pusher(balancer.entrance, f"127.2.{index}.{last_byte}", {"X-Forwarded-For": told})
                    except REFUSED:
                        return False
                    stack.enter_context(contextlib.closing(client))
                    return True

                # One for each edge, whoever else it says that it is.
                crowd = [is_served(1, f"203.0.113.{other}") for other in range(5)]
                self.assertIn(sum(crowd), (1, 2), crowd)
                self.assertTrue(is_served(2, ELSEWHERE))
                self.assertTrue(is_served(3, ELSEWHERE))

    def refused_headers(self):
        """How many sockets of the edges began without a good PROXY header."""
        pattern = re.compile(r'^fanfare_connections_refused_total\{[^}]*reason="proxy_header"[^}]*\} (\d+)', re.M)
        return sum(int(count) for name in PAIRS[BY_PROXY] for count in pattern.findall(self.site.metrics(name)))

    def test_checks_are_answered_and_bother_no_edge(self):
        self.assertEqual(len(self.checking), 3)
        for balancer in self.checking:
            self.await_health(balancer, True, True)
        self.assertEqual(self.refused_headers(), 0)
        # What a check without a header of that port would do.
        with socket.create_connection((address(PAIRS[BY_PROXY][0]), 6001), timeout=PATIENCE_SECONDS) as bare:
            bare.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            self.site.eventually(lambda: self.refused_headers() == 1, lambda: "the edge counts who comes without a header")


class Leaving(OnSite):
    # The page's checks need three seconds, and more where the machine stands still meanwhile.
    variables = {"FANFARE_DRAIN_GRACE": "20s", "FANFARE_DRAIN_DURATION": "2s"}

    def test_an_edge_leaves_and_nobody_meets_it_any_more(self):
        kinds = [websocket_events] * 4 + [event_stream] * 2
        listeners = {balancer: [Listener(self, kind, balancer.entrance, "room") for kind in kinds] for balancer in self.balancers}
        publishers = {balancer: [Publisher(self, balancer.entrance, "room", pace_seconds) for pace_seconds in (0.05, 0.7)]
                      for balancer in self.balancers}
        everybody = [listener for some in listeners.values() for listener in some]
        self.site.eventually(lambda: all(listener.is_here for listener in everybody), lambda: "all are subscribed")
        for balancer in self.checking:
            self.await_health(balancer, True, True)

        leaving = [self.site.processes[pair[0]] for pair in PAIRS.values()]
        for process in leaving:
            process.terminate()
        newcomers = []
        for balancer in self.checking:
            self.await_health(balancer, False, True)
            newcomers.append(Listener(self, websocket_events, balancer.entrance, "room"))
        self.assertEqual([listener.moves for listener in everybody], [0] * len(everybody), "taken out after the grace")
        self.site.eventually(lambda: all(process.poll() is not None for process in leaving), lambda: "both have drained")
        self.assertEqual([process.returncode for process in leaving], [0, 0])

        everybody += newcomers
        self.balancers[0].entrance.library().trigger("room", "last", {})
        self.site.eventually(lambda: all("last" in listener.received for listener in everybody), lambda: "all get the last message")
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
