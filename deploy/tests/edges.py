"""Edges on loopback in pairs, with a NATS server and a control plane of their own, for a test of how they are reached."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.request

from support import APP, CLUSTER_KEY, DEPLOY, answer, fanfare, free_port, nats_server, run

PATIENCE_SECONDS = 60


class Pair:
    """Two edges at 127.0.0.11 and 127.0.0.12, with the same ports."""

    HOSTS = ("127.0.0.11", "127.0.0.12")

    def __init__(self, site, name, settings):
        self.clients, self.admin = free_port(*self.HOSTS), free_port(*self.HOSTS)
        self.site, self.processes = site, []
        for host in self.HOSTS:
            file = site.folder / f"{name}-{host}.toml"
            file.write_text(f'roles = "edge"\nlisten = "{host}:{self.clients}"\n{site.common}'
                            f'admin = {{ listen = "{host}:{self.admin}" }}\n{settings}')
            self.processes.append(site.start(file.stem, fanfare(), "run", "--config", str(file)))

    def await_ready(self):
        for host in self.HOSTS:
            self.site.eventually(lambda: answer(f"http://{host}:{self.admin}/readyz")[0] == 200, f"{host} is ready")

    def refused_headers(self):
        """How many sockets of both began without a good PROXY header."""
        pattern = re.compile(r'^fanfare_connections_refused_total\{[^}]*reason="proxy_header"[^}]*\} (\d+)', re.M)
        urls = [f"http://{host}:{self.admin}/metrics" for host in self.HOSTS]
        pages = [urllib.request.urlopen(url, timeout=5).read().decode() for url in urls]
        return sum(int(count) for page in pages for count in pattern.findall(page))


class Site:
    """A NATS server, a control plane with the app of `make cluster`, and pairs of edges by name, with settings of each."""

    def __init__(self, test, folder):
        self.test, self.folder = test, pathlib.Path(folder)
        self.certificate, self.key = make_certificate(self.folder)
        (self.folder / "admin.token").write_text(CLUSTER_KEY)
        nats, monitor, self.control, admin = (free_port() for _ in range(4))
        self.start("nats", nats_server(), "--jetstream", "--addr",
                   "127.0.0.1", "--store_dir", "nats", "--port", str(nats), "--http_port", str(monitor))
        self.eventually(lambda: answer(f"http://127.0.0.1:{monitor}/healthz")[0] == 200, "NATS is healthy")
        self.common = (f'nats = {{ urls = ["nats://127.0.0.1:{nats}"] }}\ncluster = {{ key = "{CLUSTER_KEY}" }}\n'
                       'backbone = { replicas = 1, shards = 2 }\n')
        (self.folder / "control.toml").write_text(
            f'roles = "control,worker"\nseed = "{DEPLOY}/dev/apps.toml"\n{self.common}'
            f'control = {{ listen = "127.0.0.1:{self.control}" }}\n'
            f'admin = {{ listen = "127.0.0.1:{admin}", token_file = "admin.token" }}\n')
        self.start("control", fanfare(), "run", "--config", "control.toml")

    def start(self, name, *command, environment=None):
        """A process that ends with the test, with whatever it starts itself."""
        with open(self.log(name), "a") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=self.folder,
                                       start_new_session=True, env=environment or {"PATH": os.environ["PATH"]})

        def end():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

        self.test.addClassCleanup(end)
        return process

    def log(self, name):
        return self.folder / f"{name}.log"

    def eventually(self, holds, what):
        """Waits until `holds()` is something."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            if time.monotonic() > deadline:
                ends = (f"--- {log.name}\n{log.read_text()[-1500:]}" for log in sorted(self.folder.glob("*.log")))
                raise AssertionError("\n".join([f"never: {what}", *ends]))
            time.sleep(0.05)

    def connections(self):
        """Every connection as the command line lists it."""
        code, text = run(fanfare(), "admin", "connection", "list", APP, "--address", f"http://127.0.0.1:{self.control}",
                         "--token-file", str(self.folder / "admin.token"), "--output", "json",
                         env={"PATH": os.environ["PATH"]})
        assert code == 0, text
        return json.loads(text).get("connections", [])


def make_certificate(folder):
    """A certificate and its key, and both in one file as HAProxy wants it."""
    made = ("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost "
            "-keyout rt.key -out rt.crt")
    code, text = run(*made.split(), cwd=folder)
    assert code == 0, text
    key, certificate = folder / "rt.key", folder / "rt.crt"
    (folder / "rt.pem").write_text(certificate.read_text() + key.read_text())
    return certificate, key
