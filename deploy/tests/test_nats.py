"""The NATS configuration for production: accepted by nats-server, and three servers with it serve Fanfare over TLS."""

import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from support import DEPLOY, fanfare, program, run

CONFIG = DEPLOY / "nats" / "server.conf"
# Every server has a loopback address of its own, so that the ports of the file can stay; those of the monitoring and of
# Fanfare are chosen.
SERVERS = {"nats-1": "127.0.77.1", "nats-2": "127.0.77.2", "nats-3": "127.0.77.3"}
PASSWORD = "8d1f5f6a0b6cf0f6e1b3a8c7d9e2f4051627384950a1b2c3d4e5f60718293a4b"
PATIENCE_SECONDS = 30


def nats_server():
    return program("NATS_SERVER", "nats-server", ".tools/venv/bin/nats-server")


def environment(name):
    routes = {f"NATS_ROUTES_{n}": f"tls://{address}:6222" for n, address in enumerate(SERVERS.values(), 1)}
    passwords = {f"NATS_{who}_PASSWORD": PASSWORD for who in ("FANFARE", "SYSTEM", "ROUTE")}
    return {"PATH": os.environ["PATH"], "NATS_NAME": name} | routes | passwords


def make_certificates(folder):
    """An authority, and a certificate of it for all servers."""
    names = ",".join(f"IP:{address}" for address in SERVERS.values())
    (folder / "ext").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
    for command in (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem",
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=nats -keyout server.key -out server.csr",
        "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.pem",
    ):
        code, output = run(*command.split(), cwd=folder)
        assert code == 0, output


def in_folder(folder, name="nats-1"):
    """A server's configuration, with the two folders replaced and nothing else."""
    text = CONFIG.read_text()
    assert text.count("/etc/nats/tls") >= 5 and "/var/lib/nats" in text
    path = folder / f"{name}.conf"
    path.write_text(text.replace("/etc/nats/tls", str(folder)).replace("/var/lib/nats", str(folder / name)))
    return path


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answer(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


class Nats(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        make_certificates(self.folder)

    def start(self, name, *command, **options):
        """Starts a process that ends with the test, and says where its log is."""
        log = self.folder / f"{name}.log"
        with open(log, "w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
        self.addCleanup(self.stop, process)
        return process, log

    def stop(self, process):
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def test_nats_accepts_the_file(self):
        code, output = run(nats_server(), "-t", "-c", str(in_folder(self.folder)), env=environment("nats-1"))
        self.assertEqual(code, 0, output)

    def test_nats_refuses_it_without_a_password(self):
        variables = environment("nats-1")
        del variables["NATS_FANFARE_PASSWORD"]
        code, output = run(nats_server(), "-t", "-c", str(in_folder(self.folder)), env=variables)
        self.assertNotEqual(code, 0)
        self.assertIn("NATS_FANFARE_PASSWORD", output)

    def test_three_servers_serve_fanfare_and_nobody_else(self):
        monitors = {name: free_port() for name in SERVERS}
        logs = {}
        for name, address in SERVERS.items():
            _, logs[name] = self.start(
                name, nats_server(), "-c", str(in_folder(self.folder, name)), "--addr", address,
                "--cluster", f"nats://{address}:6222", "--http_port", str(monitors[name]), env=environment(name))
        ready = free_port()
        variables = {
            "PATH": os.environ["PATH"],
            "FANFARE_NATS_URLS": ",".join(f"tls://{address}:4222" for address in SERVERS.values()),
            "FANFARE_NATS_USER": "fanfare",
            "FANFARE_NATS_PASSWORD": PASSWORD,
            "FANFARE_NATS_TLS_REQUIRED": "true",
            "FANFARE_NATS_TLS_CA_FILE": str(self.folder / "ca.pem"),
            "FANFARE_CLUSTER_KEY": PASSWORD,
            "FANFARE_BACKBONE_SHARDS": "2",
            "FANFARE_DRAIN_GRACE": "0s",
            "FANFARE_DRAIN_DURATION": "0s",
        }
        edge, edge_log = self.start(
            "edge", fanfare(), "run", "--role", "edge", "--listen", "127.0.0.1:0", "--admin-listen", f"127.0.0.1:{ready}", env=variables)
        self.await_ready(ready, edge, [*logs.values(), edge_log])
        # The account is Fanfare's, and its streams have three copies.
        _, text = answer(f"http://{SERVERS['nats-1']}:{monitors['nats-1']}/jsz?accounts=true&streams=true&config=true")
        accounts = {account["name"]: account.get("stream_detail", []) for account in json.loads(text)["account_details"]}
        self.assertEqual(set(accounts), {"FANFARE"})
        self.assertTrue(accounts["FANFARE"])
        self.assertEqual({stream["config"]["num_replicas"] for stream in accounts["FANFARE"]}, {3})
        # Another password does not get in.
        _, log = self.start("stranger", fanfare(), "run", "--role", "edge", "--listen", "127.0.0.1:0",
                            "--admin-listen", "127.0.0.1:0", env=variables | {"FANFARE_NATS_PASSWORD": "wrong-password"})
        self.eventually(lambda: "authorization violation" in log.read_text().lower(), lambda: log.read_text())

    def await_ready(self, port, process, logs):
        def ready():
            self.assertIsNone(process.poll(), "".join(log.read_text()[-2000:] for log in logs))
            return answer(f"http://127.0.0.1:{port}/readyz")[0] == 200
        self.eventually(ready, lambda: "".join(log.read_text()[-2000:] for log in logs))

    def eventually(self, condition, why):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if condition():
                return
            time.sleep(0.1)
        self.fail(why())


if __name__ == "__main__":
    unittest.main()
