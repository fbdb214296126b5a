"""A Kubernetes without nodes: etcd and an API server on free ports, with the kinds of objects of others.

No controller runs, so objects stay as they were written; all that an API server checks is checked, pod security
included."""

import contextlib
import json
import os
import pathlib
import secrets
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import yaml

from ports import free_port

PATIENCE = 120


class ApiServer:
    """Runs until it is closed. The binaries are named by the environment: FANFARE_ETCD, FANFARE_APISERVER."""

    def __init__(self):
        self.closing = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            self.home = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fanfare-kubernetes-")))
            self.token = secrets.token_hex(16)
            self.url = f"https://127.0.0.1:{(port := free_port())}"
            etcd, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
            self._run(
                stack, os.environ["FANFARE_ETCD"], "--data-dir", self.home / "etcd", "--unsafe-no-fsync",
                "--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
            )  # fmt: skip
            key, tokens = self.home / "accounts.key", self.home / "tokens.csv"
            subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
            tokens.write_text(f'{self.token},admin,1,"system:masters"\n')
            self._run(
                stack, os.environ["FANFARE_APISERVER"], "--etcd-servers", etcd, "--secure-port", str(port),
                "--bind-address", "127.0.0.1", "--cert-dir", self.home / "pki", "--authorization-mode", "RBAC",
                "--token-auth-file", tokens, "--service-cluster-ip-range", "10.96.0.0/16",
                "--service-account-issuer", "https://fanfare.test",
                "--service-account-key-file", key, "--service-account-signing-key-file", key,
            )  # fmt: skip
            self._wait("the API server", self._is_ready)
            self.closing = stack.pop_all()

    def close(self):
        self.closing.close()

    def _run(self, stack, *command):
        log = stack.enter_context(open(self.home / f"{pathlib.Path(command[0]).name}.log", "w"))
        process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.terminate)

    def _wait(self, what, is_so):
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            if time.monotonic() > deadline:
                logs = [path.read_text()[-2000:] for path in self.home.glob("*.log")]
                raise AssertionError(f"{what} is not there in {PATIENCE} s: {logs}")
            time.sleep(0.2)

    def _is_ready(self):
        certificate = self.home / "pki/apiserver.crt"
        if not certificate.exists():
            return False
        # It has signed its certificate itself.
        self.context = ssl.create_default_context(cafile=str(certificate))
        try:
            return self.call("GET", "/readyz", read=lambda body: body == b"ok")[0] == 200
        except OSError:
            return False

    def call(self, method, path, body=None, read=json.loads):
        """Status, answer, warnings."""
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/json")
        data = json.dumps(body).encode() if body is not None else None
        try:
            answer = urllib.request.urlopen(request, data=data, context=self.context)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, read(answer.read()), answer.headers.get_all("Warning") or []

    def path(self, value, namespace):
        """Where objects like this one are made."""
        version = value["apiVersion"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        status, kinds, _ = self.call("GET", root)
        assert status == 200, f"there is no {version}"
        (kind,) = [one for one in kinds["resources"] if one["kind"] == value["kind"] and "/" not in one["name"]]
        return f"{root}/namespaces/{namespace}/{kind['name']}" if kind["namespaced"] else f"{root}/{kind['name']}"

    def create(self, value, namespace="default", dry=False):
        """As `kubectl create --validate=strict`. Status, answer, warnings."""
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry else "")
        return self.call("POST", self.path(value, namespace) + query, value)

    def define(self, directory):
        """Makes the kinds of objects that are defined in these files known."""
        for path in sorted(pathlib.Path(directory).glob("*.yaml")):
            for value in yaml.safe_load_all(path.read_text()):
                if not value:
                    continue
                # What the operator's files say of the server that made them.
                value.pop("status", None)
                status, answer, _ = self.create(value)
                assert status == 201, f"{path.name}: {answer}"
                name = value["metadata"]["name"]
                self._wait(name, lambda: self._is_established(name))

    def _is_established(self, name):
        _, found, _ = self.call("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
        conditions = found.get("status", {}).get("conditions") or []
        return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)

    def kubeconfig(self):
        """A file for Helm."""
        path = self.home / "kubeconfig"
        cluster = {"server": self.url, "certificate-authority": str(self.home / "pki/apiserver.crt")}
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": cluster}], "users": [{"name": "it", "user": {"token": self.token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }  # fmt: skip
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return str(path)
