"""Every command of the runbooks is run, as it stands there, against a real process on a real NATS server.

What stands for the reader's own is replaced: addresses, the identifier of a node, the folder of settings. Commands that
only look run first, and the ones that stop something last. Commands that go on until they are stopped have to go on."""

import os
import pathlib
import re
import subprocess
import tempfile
import time
import unittest

from ports import free_port
from support import CLUSTER_KEY, DEPLOY, PATIENCE_SECONDS, SECRET, answer, fanfare, nats_server, run
from test_runbooks import code, pages

NODE = "9a8c314e1f6e177f"
# They go on until somebody has seen enough.
ENDLESS = re.compile(r"^fanfare admin (tail|usage watch)\b")
ENOUGH_SECONDS = "2"
LOOKS = re.compile(
    r"^(curl -s|openssl x509|fanfare (config (check|show)|admin ("
    r"doctor|health|cluster|canary|audit|tail|node list|app (list|get)|channel (info|history|list)|namespace list"
    r"|usage (show|watch)|webhook (list|dead-letters))))\b")
STOPS = re.compile(r"^fanfare admin (app disable|node drain)\b")


def commands():
    """Each distinct command with the page that it is first on, and the page's exports before it."""
    found = {}
    for name, text in pages().items():
        lines = code(text, "sh")
        exports = [line for line in lines if line.startswith("export ")]
        for line in lines:
            if line not in exports:
                found.setdefault(line.strip(), (name, exports))

    def order(item):
        line = item[0]
        return (0 if LOOKS.match(line) else 2 if STOPS.match(line) else 1, "node drain" in line)

    return sorted(found.items(), key=order)


class RunbookCommands(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.folder / "bin").mkdir()
        (self.folder / "bin" / "fanfare").symlink_to(pathlib.Path(fanfare()).resolve())
        (self.folder / "admin.token").write_text(CLUSTER_KEY)
        (self.folder / "canary.secret").write_text(SECRET)
        make = ("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=edge "
                "-keyout edge.key -out edge.pem")
        self.assertEqual(run(*make.split(), cwd=self.folder)[0], 0)
        self.ports = {name: free_port() for name in ("nats", "monitor", "clients", "control", "admin")}
        at = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        self.log = self.folder / "log"
        self.start(nats_server(), "--jetstream", "--store_dir",
                   str(self.folder / "nats"), "--addr", "127.0.0.1", "--port", str(self.ports["nats"]),
                   "--http_port", str(self.ports["monitor"]))
        self.eventually(lambda: answer(f"http://{at['monitor']}/healthz")[0] == 200)
        (self.folder / "fanfare.toml").write_text(
            f'listen = "{at["clients"]}"\nseed = "{DEPLOY}/dev/apps.toml"\n'
            f'nats = {{ urls = ["nats://{at["nats"]}"] }}\nbackbone = {{ replicas = 1, shards = 2 }}\n'
            f'control = {{ listen = "{at["control"]}" }}\n'
            f'admin = {{ listen = "{at["admin"]}", token_file = "{self.folder}/admin.token" }}\n'
            f'cluster = {{ key = "{CLUSTER_KEY}" }}\ndrain = {{ grace = "0s", duration = "0s" }}\n')
        self.start(fanfare(), "run", "--config", str(self.folder / "fanfare.toml"))
        self.eventually(lambda: answer(f"http://{at['admin']}/readyz")[0] == 200)
        self.environment = {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "HOME": str(self.folder),
            "FANFARE_CONTROL_ADDRESS": f"http://{at['control']}", "FANFARE_ADMIN_TOKEN": CLUSTER_KEY,
            "ADMIN": f"http://{at['admin']}", "NATS": f"http://{at['monitor']}"}
        # It is ready before it has heard of itself, and commands that ask all nodes say so.
        self.eventually(lambda: self.shell("fanfare admin doctor")[0] == 0)
        self.replaced = {"https://rt.example.com": f"http://{at['clients']}",
                         "http://edge-1.example.com:6001": f"http://{at['clients']}", "/etc/fanfare": str(self.folder)}

    def start(self, *command):
        with open(self.log, "a") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT,
                                       env={"PATH": os.environ["PATH"]}, cwd=self.folder)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

    def eventually(self, holds, why=""):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            self.assertLess(time.monotonic(), deadline, why + self.log.read_text()[-3000:])
            time.sleep(0.1)

    def shell(self, line):
        return run("bash", "-euo", "pipefail", "-c", line, env=self.environment, cwd=self.folder)

    def replace(self, line):
        if NODE in line:
            _, nodes = self.shell("fanfare admin node list --output json")
            line = line.replace(NODE, re.search(r'"id": ?"([0-9a-f]{16})"', nodes)[1])
        for theirs, ours in self.replaced.items():
            line = line.replace(theirs, ours)
        return line

    def test_every_command_does_what_it_is_there_for(self):
        ran = 0
        for line, (page, exports) in commands():
            with self.subTest(page=page, command=line):
                limit = f"timeout {ENOUGH_SECONDS} " if ENDLESS.match(line) else ""
                script = "\n".join([*exports, limit + self.replace(line)])
                exit_code, output = self.shell(script)
                if exit_code == 1 and LOOKS.match(line):
                    # A node that stood still with this machine is missed until it is heard of again.
                    self.eventually(lambda script=script: self.shell(script)[0] == 0, output)
                else:
                    self.assertEqual(exit_code, 124 if limit else 0, output)
                ran += 1
        self.assertGreater(ran, 40)


if __name__ == "__main__":
    unittest.main()
