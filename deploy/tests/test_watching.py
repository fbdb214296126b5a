"""What operators see of a site: a real Prometheus with the scrape configuration and the rules of deploy/prometheus, on
three NATS servers, three edges, control plane, worker and canary. Every query of rules and dashboards is answered with
figures once something has happened, and alerts fire when something is wrong."""

import contextlib
import json
import socket
import time
import unittest
import urllib.parse

import yaml
from clients import REFUSED, Pusher, Receiver
from machines import NETWORK, NODES, SERVERS, Site, address
from ports import free_port
from support import APP, DEPLOY, KEY, PATIENCE_SECONDS, RULES, SECRET, answer, fanfare, load, program, rules
from test_dashboards import queries

CANARY = f"{NETWORK}.40:6003"
# Queries with one of these may be answered with nothing: it is not provoked here, or takes minutes.
QUIET = ("fanfare_slow_consumers_total", "fanfare_connections_held_total", "fanfare_connections_rotated_total",
         "fanfare_discarded_total", "fanfare_edge_lives_total", "fanfare_usage_minutes_lost_total",
         'reason="draining"', 'result!="recovered"', "> 100)")
# Certificates of tests last for two days, and this says so from the first to the last.
ALWAYS = {"FanfareCertificateExpires"}
# What a slow machine misses, and any of these says so for minutes.
SPEED = {"canary", "delivery", "publish_latency"}


class Prometheus:
    """Scrapes every second, and evaluates rules as often; alerts fire at once."""

    def __init__(self, site):
        folder, port = site.folder, free_port()
        self.url = f"http://127.0.0.1:{port}/api/v1/"
        config = load(DEPLOY / "prometheus" / "prometheus.yml")
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(folder / "rules.yml")]
        at = {f"{name}:6003": site.admin(name) for name in NODES} | {"canary:6003": CANARY}
        for job in config["scrape_configs"]:
            for part in job["static_configs"]:
                part["targets"] = [at[target] for target in part["targets"]]
        written = load(RULES)
        for group in written["groups"]:
            group.pop("interval", None)
            for rule in group["rules"]:
                rule.pop("for", None)
        (folder / "rules.yml").write_text(yaml.safe_dump(written))
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        binary = program("PROMETHEUS", "prometheus", ".tools/prometheus/usr/bin/prometheus")
        site.start("prometheus", binary, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/prometheus",
                   f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn", env={})
        site.eventually(lambda: answer(f"http://127.0.0.1:{port}/-/ready")[0] == 200)

    def query(self, expression):
        """The samples of an instant."""
        status, text = answer(f"{self.url}query?{urllib.parse.urlencode({'query': expression})}")
        assert status == 200, f"{expression}: {text}"
        return json.loads(text)["data"]["result"]

    def firing(self):
        """(alert, labels) of each."""
        _, text = answer(f"{self.url}alerts")
        return [(alert["labels"]["alertname"], alert["labels"]) for alert in json.loads(text)["data"]["alerts"] if alert["state"] == "firing"]


def board_queries():
    for place, query in queries():
        for variable, value in {"$__rate_interval": "1m", "$__range": "1h", "$namespace": ".*"}.items():
            query = query.replace(variable, value)
        yield place, query


class Watching(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = cls.enterClassContext(Site())
        cls.receiver = cls.enterClassContext(Receiver())
        site = cls.site
        apps = (DEPLOY / "dev" / "apps.toml").read_text()
        hook = f'[[app.webhook]]\nurl = "http://127.0.0.1:{cls.receiver.server_port}/"\n'
        other = ('[[app]]\nid = "1002"\nname = "other"\nquota = { messages_in_per_second = 1 }\n'
                 'key = [{ name = "other-key", secret = "other-secret" }]\n')
        (site.folder / "apps.toml").write_text(f"{apps}\n{hook}\n{other}")
        for name in SERVERS:
            site.start_nats(name)
        for name in NODES:
            site.start_node(name, FANFARE_WORKER_WEBHOOK_ALLOW="127.0.0.0/8", FANFARE_EDGE_MEMORY_LIMIT="1GiB",
                            FANFARE_DRAIN_GRACE="60s",
                            **({"FANFARE_SEED": str(site.folder / "apps.toml")} if name == "control" else {}))
        site.await_ready(*NODES)
        cls.prometheus = Prometheus(site)
        cls.start_canary()
        cls.edges = {number: site.entrance(f"edge-{number}") for number in (1, 2, 3)}

    @classmethod
    def start_canary(cls):
        cls.site.start("canary", fanfare(), "admin", "canary", f"https://{address('edge-1')}:6001", "--app", APP, "--key", KEY,
                       "--ca-file", str(cls.site.folder / "ca.pem"), "--interval", "1s", "--timeout", "60s", "--listen", CANARY,
                       env={"FANFARE_KEY_SECRET": SECRET})

    def some_of_everything(self, here, there):
        """What leaves figures behind, at two edges or at one."""
        here, there = self.edges[here], self.edges[there]
        clients = [Pusher(here), Pusher(there)]
        for number, client in enumerate(clients):
            client.subscribe("room")
            client.subscribe("presence-room", user=f"user-{number}")
            client.subscribe("private-room")
        with clients[0].sending("client-hello", "private-room"):
            clients[1].await_event("client-hello")
        # An event stream that comes back.
        with contextlib.closing(here.events("room")) as stream:
            next(stream)
            self.assertEqual(here.publish("room"), 201)
            last, _ = next(stream)
        self.assertEqual(there.publish("room"), 201)
        with contextlib.closing(there.events("room", last)) as stream:
            self.assertEqual([next(stream)[1], next(stream)[1]], [None, "n"])
        # One a second is let in.
        self.site.eventually(lambda: here.publish("room", "other-key:other-secret") == 429)
        self.assertEqual(here.publish("room", "app-key:wrong"), 401)
        # Plain text, where TLS is spoken.
        with socket.create_connection((here.host, here.port), PATIENCE_SECONDS) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            plain.recv(100)
        for client in clients:
            client.close()

    def alerts(self):
        return {name for name, labels in self.prometheus.firing() if labels.get("objective") not in SPEED} - ALWAYS

    def await_alert(self, name, **labels):
        def fires():
            return any(alert == name and labels.items() <= found.items() for alert, found in self.prometheus.firing())

        self.site.eventually(fires, lambda: f"{name}: {self.prometheus.firing()}")

    def test_1_every_query_is_answered(self):
        member = Pusher(self.edges[3])
        member.subscribe("presence-room", user="user-3")
        self.some_of_everything(1, 2)
        open_queries = dict.fromkeys([*board_queries(), *((rule["record"], rule["record"]) for rule in rules() if "record" in rule)])

        def look():
            """Asks again what was not answered with figures."""
            for place, query in list(open_queries):
                if self.prometheus.query(query):
                    del open_queries[place, query]
            return not any(self.is_loud(query) for _, query in open_queries)

        self.site.eventually(lambda: self.prometheus.query("fanfare:objective_attempts:rate5m"))
        # Alerts fire at once here, and so one may while processes start: a worker is ready before it acts.
        self.site.eventually(lambda: not self.alerts(), lambda: f"still firing: {self.alerts()}")
        # Of edges, and of nobody else. One that does not answer within a second is missing for that long.
        limits = "count(fanfare_connections_limit) == 3"
        self.site.eventually(lambda: self.prometheus.query(limits), lambda: str(self.prometheus.query("fanfare_connections_limit")))
        look()
        # What is left wants something to happen: a node that drains, one that dies, a server of NATS that restarts.
        self.site.processes["edge-2"].terminate()
        drains = [key for key in open_queries if "fanfare_draining" in key[1]]
        self.assertTrue(drains)
        self.site.eventually(lambda: look() or not open_queries.keys() & set(drains))
        self.site.kill("edge-2")
        self.site.kill("edge-3")
        member.close()
        self.site.kill("nats-3")
        self.site.start_nats("nats-3")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not look() and time.monotonic() < deadline:
            # Who meets an election may be told to come back.
            with contextlib.suppress(*REFUSED):
                self.some_of_everything(1, 1)
        self.assertEqual([place for place, query in open_queries if self.is_loud(query)], [])
        self.assertGreater(self.receiver.taken, 3, "webhooks came")

    def is_loud(self, query):
        return not any(words in query for words in QUIET)

    def test_2_what_dies_is_missed(self):
        self.await_alert("FanfareProcessDown", instance=self.site.admin("edge-3"))
        self.site.kill("canary")
        self.await_alert("FanfareCanaryAbsent")
        self.site.kill("worker")
        self.await_alert("FanfareWorkerAbsent")
        self.site.kill("control")
        self.await_alert("FanfareControlUnreachable", instance=self.site.admin("edge-1"))
        # One is left.
        self.site.eventually(lambda: "FanfareEdgesAbsent" not in self.alerts(), lambda: str(self.prometheus.firing()))
        for name in SERVERS:
            self.site.kill(name)
        self.await_alert("FanfareBackboneLost", instance=self.site.admin("edge-1"))
        self.assertEqual(answer(f"http://{self.site.admin('edge-1')}/livez")[0], 200, "NATS is no reason to restart an edge")
        self.site.kill("edge-1")
        self.await_alert("FanfareEdgesAbsent", severity="critical")


if __name__ == "__main__":
    unittest.main()
