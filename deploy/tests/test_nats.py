"""The NATS configuration for production: accepted by nats-server, and three servers with it serve Fanfare over TLS, while
one of them is rolled and passwords are replaced as deploy/nats/README.md says."""

import json
import re
import socket
import threading
import time
import unittest

from machines import SERVERS, Site, nats_config, nats_environment
from support import DEPLOY, PATIENCE_SECONDS, answer, nats_server, run

README = (DEPLOY / "nats" / "README.md").read_text()
NEW_PASSWORD = "0" * 64


class File(unittest.TestCase):
    def check(self, variables):
        with Site() as site:
            return run(nats_server(), "-t", "-c", str(nats_config(site.folder, "nats-1")), env=variables)

    def test_nats_accepts_the_file(self):
        code, output = self.check(nats_environment("nats-1"))
        self.assertEqual(code, 0, output)

    def test_nats_refuses_it_without_a_password(self):
        variables = nats_environment("nats-1")
        del variables["NATS_FANFARE_PASSWORD"]
        code, output = self.check(variables)
        self.assertNotEqual(code, 0)
        self.assertIn("NATS_FANFARE_PASSWORD", output)


class Cluster(unittest.TestCase):
    """On one cluster, in the order of their names."""

    @classmethod
    def setUpClass(cls):
        cls.site = cls.enterClassContext(Site())
        for name in SERVERS:
            cls.site.start_nats(name)
        # As somebody begins who has one server, and has three later.
        cls.site.start_node("control", FANFARE_SEED=str(DEPLOY / "dev" / "apps.toml"), FANFARE_BACKBONE_REPLICAS="1")
        cls.site.await_ready("control")
        cls.site.kill("control")
        cls.site.start_node("control")
        cls.site.start_node("edge-1")
        cls.site.await_ready("control", "edge-1")
        cls.edge = cls.site.entrance("edge-1")

    def await_well(self, name):
        self.site.eventually(lambda: answer(f"http://{SERVERS[name]}:8222/healthz")[0] == 200)

    def signal(self, signal, name):
        """As the page says it."""
        self.assertIn(f"nats-server --signal {signal}=PID", README)
        code, output = run(nats_server(), "--signal", f"{signal}={self.site.processes[name].pid}")
        self.assertEqual(code, 0, output)

    def test_0_copies_are_never_taken_away(self):
        self.site.start_node("edge-2", FANFARE_BACKBONE_REPLICAS="1")
        process = self.site.processes["edge-2"]
        self.site.eventually(lambda: process.poll() is not None, lambda: self.site.log("edge-2"))
        self.assertNotEqual(process.returncode, 0)
        self.assertIn("keeps 3 copies of everything, but 1 are configured", self.site.log("edge-2"))

    def test_1_streams_are_in_the_account_and_have_three_copies(self):
        def accounts():
            _, text = answer(f"http://{SERVERS['nats-1']}:8222/jsz?accounts=true&streams=true&config=true")
            return {account["name"]: account.get("stream_detail", []) for account in json.loads(text)["account_details"]}

        def copies():
            return {stream["config"]["num_replicas"] for stream in accounts()["FANFARE"]}

        self.assertEqual(set(accounts()), {"FANFARE"})
        # Each server tells what it has heard itself.
        self.site.eventually(lambda: copies() == {3}, lambda: str(copies()))

    def test_2_another_password_does_not_get_in(self):
        (self.site.folder / "wrong").write_text("wrong-password")
        self.site.start_node("edge-2", FANFARE_NATS_PASSWORD_FILE=str(self.site.folder / "wrong"))
        self.site.eventually(lambda: "authorization violation" in self.site.log("edge-2").lower())
        self.site.kill("edge-2")

    def test_3_a_server_without_the_password_is_not_let_in(self):
        self.site.kill("nats-3")
        variables = {key: re.sub(r"route:\w+@", "", value) for key, value in nats_environment("nats-3").items()
                     if key.startswith("NATS_ROUTES")}
        self.site.start_nats("nats-3", **variables)
        self.site.eventually(lambda: "Authorization Violation" in self.site.log("nats-3"))
        self.site.kill("nats-3")
        self.site.start_nats("nats-3")
        self.await_well("nats-3")

    def test_4_a_server_is_rolled_and_nothing_is_refused(self):
        done, answers = threading.Event(), []

        def publish():
            while not done.is_set():
                answers.append(self.edge.publish("room"))
                time.sleep(0.05)

        publisher = threading.Thread(target=publish)
        publisher.start()
        try:
            self.signal("ldm", "nats-2")
            self.site.processes["nats-2"].wait(PATIENCE_SECONDS)
            self.site.start_nats("nats-2")
            self.await_well("nats-2")
            # One that meets an election waits for seconds.
            self.site.eventually(lambda: len(answers) > 20)
        finally:
            done.set()
            publisher.join()
        self.assertEqual(set(answers), {201})

    def shown_certificate(self, name):
        """NATS says something before it speaks TLS."""
        with socket.create_connection((SERVERS[name], 4222), PATIENCE_SECONDS) as tcp:
            tcp.recv(4096)
            with self.edge.tls.wrap_socket(tcp, server_hostname=SERVERS[name]) as tls:
                return tls.getpeercert()["serialNumber"]

    def test_6_a_renewed_certificate_is_shown(self):
        before = self.shown_certificate("nats-1")
        code, output = run(*"openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.pem".split(),
                           cwd=self.site.folder)
        self.assertEqual(code, 0, output)
        self.signal("reload", "nats-1")
        self.site.eventually(lambda: self.shown_certificate("nats-1") != before)

    def test_5_a_password_is_replaced_and_nothing_is_refused(self):
        first = "{ user: fanfare, password: $NATS_FANFARE_PASSWORD }"
        second = f'{{ user: fanfare-2, password: "{NEW_PASSWORD}" }}'
        (self.site.folder / "new").write_text(NEW_PASSWORD)

        def reload(users):
            for name in SERVERS:
                path = nats_config(self.site.folder, name)
                text = path.read_text()
                self.assertEqual(text.count(f"users: [{first}]"), 1)
                path.write_text(text.replace(f"users: [{first}]", f"users: [{users}]"))
                self.signal("reload", name)
                self.site.eventually(lambda name=name: "Reloaded server configuration" in self.site.log(name))

        before = self.site.metrics("edge-1")
        reload(f"{first}, {second}")
        self.assertEqual(self.edge.publish("room"), 201)
        reconnects = re.compile(r"^fanfare_backbone_reconnects_total.*$", re.M)
        after = self.site.metrics("edge-1")
        self.assertEqual(reconnects.findall(after), reconnects.findall(before), "who has the old one is left alone")
        self.site.start_node("edge-3", FANFARE_NATS_USER="fanfare-2", FANFARE_NATS_PASSWORD_FILE=str(self.site.folder / "new"))
        self.site.await_ready("edge-3")
        for name in SERVERS:
            (self.site.folder / f"{name}.log").write_text("")
        reload(second)
        self.assertEqual(self.site.entrance("edge-3").publish("room"), 201)
        self.site.eventually(lambda: "authorization violation" in self.site.log("edge-1").lower())


if __name__ == "__main__":
    unittest.main()
