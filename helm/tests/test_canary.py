"""`helm test` and the canary: the command lines of the rendered pods, run against a real server."""

import os
import pathlib
import re
import subprocess
import tempfile
import time
import unittest
import urllib.request

from chart import CLUSTER, ROOT, render
from ports import free_port
from scenes import FULL

FANFARE = os.environ.get("FANFARE_BIN", str(ROOT / "target/debug/fanfare"))
SECRETS = "/etc/fanfare/secrets"
# Generous, since a loaded machine is slow: it is only used up by failures.
PATIENCE_SECONDS = 120
# The app and the key of `fanfare dev`.
DEMO = {**CLUSTER, "canary": {"app": "1001", "keyName": "app-key", "keySecret": {"existingSecret": "c"}, "timeout": "60s"}}
SERVICE = "http://fanfare-edge.realtime"
POD = "spec.template.spec"


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
            return answer.read().decode()
    except OSError:
        return ""


class Server:
    """`fanfare dev`, ready, and the directory with the secret that the pod gets."""

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory()
        self.port, admin = free_port(), free_port()
        listen = [f"--listen=127.0.0.1:{self.port}", "--control-listen=127.0.0.1:0", f"--admin-listen=127.0.0.1:{admin}"]
        self.process = subprocess.Popen(
            [FANFARE, "dev", *listen], env={}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        (pathlib.Path(self.directory.name) / "key.secret").write_text("app-secret\n")
        eventually(lambda: get(f"http://127.0.0.1:{admin}/readyz"), "the server")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()

    def command(self, words):
        """A rendered command line, with what the cluster would make of its names."""
        address = f"http://127.0.0.1:{self.port}"
        words = [address if word == SERVICE else word.replace(SECRETS, self.directory.name) for word in words]
        assert address in words, words
        return [FANFARE, *words]


def eventually(look, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
    return found


class Canary(unittest.TestCase):
    def test_helm_test_publishes_and_receives(self):
        pod = render(DEMO)["Pod/fanfare-test"]
        self.assertEqual(pod["metadata"]["annotations"]["helm.sh/hook"], "test")
        self.assertIn("helm test fanfare --namespace realtime --logs", render(DEMO).notes)
        self.assertNotIn("helm test", render(CLUSTER).notes)
        self.assertEqual(pod["spec"]["restartPolicy"], "Never")
        (container,) = pod["spec"]["containers"]
        with Server() as server:
            command = server.command(container["args"])
            done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual(re.findall(r"^(\w+) +delivered", done.stdout, re.M), ["pusher", "ably", "sse"])
            (pathlib.Path(server.directory.name) / "key.secret").write_text("another-secret")
            refused = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
            self.assertEqual(refused.returncode, 5, refused.stdout + refused.stderr)

    def test_deployment_goes_on(self):
        objects = render({**DEMO, "canary": {**DEMO["canary"], "enabled": True}})
        (container,) = objects.at(f"Deployment/fanfare-canary:{POD}.containers")
        (port,) = container["ports"]
        with Server() as server:
            listen, own = f"0.0.0.0:{port['containerPort']}", f"127.0.0.1:{free_port()}"
            self.assertIn(listen, container["args"])
            words = [own if word == listen else word for word in server.command(container["args"])]
            process = subprocess.Popen(words, env={}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                path = container["livenessProbe"]["httpGet"]["path"]
                eventually(lambda: get(f"http://{own}{path}"), "the probe's answer")
                for protocol in ["pusher", "ably", "sse"]:
                    sample = f'fanfare_canary_attempts_total{{protocol="{protocol}",result="delivered"}}'
                    found = rf"^{re.escape(sample)} [1-9]"
                    eventually(lambda found=found: re.search(found, get(f"http://{own}/metrics"), re.M), sample)
                process.terminate()
                self.assertEqual(process.wait(PATIENCE_SECONDS), 0)
            finally:
                process.kill()
                process.wait()

    def test_there_is_none_without_a_key(self):
        objects = render(CLUSTER)
        self.assertNotIn("Pod/fanfare-test", objects)
        self.assertNotIn("Deployment/fanfare-canary", objects)

    def test_secrets_are_files_that_arguments_name(self):
        objects = render(FULL)
        for place in ["Pod/fanfare-test:spec", f"Deployment/fanfare-canary:{POD}"]:
            pod = objects.at(place)
            (container,) = pod["containers"]
            named = [word for word in container["args"] if word.startswith(SECRETS)]
            items = [item["path"] for source in pod["volumes"][0]["projected"]["sources"] for item in source["secret"]["items"]]
            self.assertEqual(sorted(named), sorted(f"{SECRETS}/{path}" for path in items))
            self.assertEqual([mount["mountPath"] for mount in container["volumeMounts"]], [SECRETS])

    def test_the_service_shows_the_public_certificate(self):
        words = render(FULL).at("Pod/fanfare-test:spec.containers.0.args")
        self.assertEqual(words[2], "https://fanfare-edge.realtime")
        self.assertEqual(words[words.index("--server-name") + 1], "rt.example.com")
        plain = render({**FULL, "edge.tls.existingSecret": ""}).at("Pod/fanfare-test:spec.containers.0.args")
        self.assertFalse({"--server-name", "--ca-file"} & set(plain))

    def test_nobody_comes_through_the_service_without_a_proxy_header(self):
        words = render({**FULL, "edge.proxyProtocol": True}).at("Pod/fanfare-test:spec.containers.0.args")
        self.assertEqual(words[2], "https://rt.example.com")

    def test_metrics_are_scraped_with_all_others(self):
        objects = render(FULL)
        service = objects["Service/fanfare-metrics"]["spec"]
        template = objects.at("Deployment/fanfare-canary:spec.template")
        self.assertLessEqual(service["selector"].items(), template["metadata"]["labels"].items())
        self.assertEqual(service["ports"][0]["targetPort"], template["spec"]["containers"][0]["ports"][0]["name"])

    def test_policies_let_it_through(self):
        objects = render(FULL)
        allowed = [peer.get("podSelector") for peer in objects.at("NetworkPolicy/fanfare-edge:spec.ingress.0.from")]
        for pod in [objects.at("Deployment/fanfare-canary:spec.template"), objects["Pod/fanfare-test"]]:
            labels = pod["metadata"]["labels"].items()
            self.assertTrue(any(peer and peer["matchLabels"].items() <= labels for peer in allowed))
        for url, ports in [
            ("https://rt.example.com", [{"port": 443}]),
            ("http://rt.example.com", [{"port": 80}]),
            ("https://rt.example.com:8443/x", [{"port": 8443}]),
            ("https://[2001:db8::1]:9443", [{"port": 9443}]),
            ("https://[2001:db8::1]", [{"port": 443}]),
            ("", [{"port": "client"}]),
        ]:
            values = {**FULL, "canary": {**FULL["canary"], "url": url, "tls": {}}}
            self.assertEqual(render(values).at("NetworkPolicy/fanfare-canary:spec.egress.1.ports"), ports, url)


if __name__ == "__main__":
    unittest.main()
