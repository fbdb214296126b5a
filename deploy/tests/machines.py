"""A site as the pages for operators describe it, on loopback: three NATS servers with deploy/nats/server.conf, and the
roles with the settings of deploy/systemd, TLS at every border. Knows nothing of what a test wants to see.

Every process has an address of its own, so that ports are those of the files; the network is chosen by process, so that
two runs on one machine do not meet."""

import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import time

from clients import Entrance
from support import CLUSTER_KEY, DEPLOY, PATIENCE_SECONDS, answer, fanfare, nats_server, run

# 127.64.0.0 and up: of loopback, what nobody else uses.
NETWORK = f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}"
SERVERS = {f"nats-{n}": f"{NETWORK}.{n}" for n in (1, 2, 3)}
# By name, with the role that gives the settings: those of the compose file, and one edge more.
NODES = {f"edge-{n}": ("edge", f"{NETWORK}.1{n}") for n in (1, 2, 3)}
NODES |= {"control": ("control", f"{NETWORK}.20"), "worker": ("worker", f"{NETWORK}.30")}
PLACES = NODES | {"edge-4": ("edge", f"{NETWORK}.14")}
# One for everything that is secret.
PASSWORD = CLUSTER_KEY


def address(name):
    return PLACES[name][1]


def nats_environment(name):
    """What server.conf takes from the environment."""
    routes = {f"NATS_ROUTES_{n}": f"tls://route:{PASSWORD}@{address}:6222" for n, address in enumerate(SERVERS.values(), 1)}
    passwords = {f"NATS_{who}_PASSWORD": PASSWORD for who in ("FANFARE", "SYSTEM", "ROUTE")}
    return {"PATH": os.environ["PATH"], "NATS_NAME": name} | routes | passwords


def make_certificates(folder, addresses):
    """An authority, ca.pem, and a certificate of it for all addresses and localhost, server.pem and server.key."""
    names = ",".join(["DNS:localhost", *(f"IP:{address}" for address in addresses)])
    (folder / "ext").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
    for command in (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem",
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=site -keyout server.key -out server.csr",
        "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.pem",
    ):
        code, output = run(*command.split(), cwd=folder)
        assert code == 0, output


def nats_config(folder, name):
    """The configuration of a server, with its addresses and the two folders replaced and nothing else."""
    text = (DEPLOY / "nats" / "server.conf").read_text()
    assert text.count("/etc/nats/tls") >= 5 and "/var/lib/nats" in text and text.count('"0.0.0.0:') == 3
    text = text.replace("/etc/nats/tls", str(folder)).replace("/var/lib/nats", str(folder / name))
    path = folder / f"{name}.conf"
    path.write_text(text.replace('"0.0.0.0:', f'"{SERVERS[name]}:'))
    return path


class Site(contextlib.ExitStack):
    """The folder with everything that stands in /etc/fanfare, and processes that end with it."""

    def __enter__(self):
        super().__enter__()
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        make_certificates(self.folder, [*SERVERS.values(), *map(address, PLACES)])
        for link, file in {"nats-ca.pem": "ca.pem", "control-ca.pem": "ca.pem", "control.pem": "server.pem",
                           "control.key": "server.key", "edge.pem": "server.pem", "edge.key": "server.key"}.items():
            (self.folder / link).symlink_to(self.folder / file)
        for secret in ("cluster.key", "nats.password", "admin.token"):
            (self.folder / secret).write_text(PASSWORD)
        self.processes = {}
        return self

    def start(self, name, *command, env):
        """Starts a process under a name; again if it has ended."""
        with open(self.folder / f"{name}.log", "a") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env, cwd=self.folder,
                                       start_new_session=True)
        if name not in self.processes:
            self.callback(self.kill, name)
        self.processes[name] = process
        return process

    def kill(self, name):
        """With whatever it has started itself."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes[name].wait()

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def eventually(self, look, why=lambda: ""):
        """The first that `look` gives which is not false."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := look()):
            if time.monotonic() > deadline:
                logs = (f"--- {name}\n{self.log(name)[-1500:]}" for name in self.processes)
                raise AssertionError("\n".join([f"waited in vain: {why()}", *logs]))
            time.sleep(0.05)
        return found

    def start_nats(self, name, **variables):
        self.start(name, nats_server(), "-c", str(nats_config(self.folder, name)), env=nats_environment(name) | variables)

    def start_node(self, name, change=lambda text: text, **variables):
        """One process, by its role's file, which `change` may change, where a site would have a machine."""
        role, address = PLACES[name]
        text = change((DEPLOY / "systemd" / f"{role}.toml").read_text()).replace("/etc/fanfare", str(self.folder))
        for server, its in SERVERS.items():
            text = text.replace(f"tls://{server}:", f"tls://{its}:")
        text = text.replace("0.0.0.0:", f"{address}:").replace("127.0.0.1:", f"{address}:")
        text = text.replace("control-1.example.com:", f"{address}:")
        path = self.folder / f"{name}.toml"
        path.write_text(text)
        # Elections take long on a slow machine.
        defaults = {"FANFARE_NODE_NAME": name, "FANFARE_BACKBONE_SHARDS": "2", "FANFARE_METRICS_APPS": "5",
                    "FANFARE_BACKBONE_PUBLISH_DEADLINE": "60s",
                    "FANFARE_DRAIN_GRACE": "0s", "FANFARE_DRAIN_DURATION": "1s"}
        self.start(name, fanfare(), "run", "--config", str(path), "--role", role,
                   env={"PATH": os.environ["PATH"]} | defaults | variables)

    def entrance(self, name):
        """Where clients of an edge come in."""
        return Entrance(address(name), authority=self.folder / "ca.pem")

    def admin(self, name):
        """The admin listener of a process."""
        role, address = PLACES[name]
        return f"{address}:{dict(edge=6003, control=6013, worker=6023)[role]}"

    def metrics(self, name):
        return answer(f"http://{self.admin(name)}/metrics")[1]

    def await_ready(self, *names):
        def ready():
            for name in names:
                assert self.processes[name].poll() is None, self.log(name)[-3000:]
            return all(answer(f"http://{self.admin(name)}/readyz")[0] == 200 for name in names)

        self.eventually(ready, lambda: f"{names} are ready")

    def admin_command(self, *words):
        """Runs `fanfare admin` as an operator would. Gives exit code and output."""
        return run(fanfare(), "admin", *words, "--ca-file", str(self.folder / "ca.pem"), env={
            "PATH": os.environ["PATH"], "FANFARE_CONTROL_ADDRESS": f"https://{address('control')}:6002",
            "FANFARE_ADMIN_TOKEN": PASSWORD})
