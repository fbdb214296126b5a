"""A real API server takes what the chart makes: every object, strictly, without a warning; installed, upgraded from the
last release, and taken back. Run by deploy/dev/kubernetes.sh."""

import os
import pathlib
import shutil
import tempfile
import unittest

import yaml

from apiserver import ApiServer
from chart import CHART, CLUSTER, EXAMPLES, SINGLE, Refused, helm, nested
from scenes import all_scenes

NAMESPACE = "realtime"
PROFILE = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ["enforce", "warn", "audit"]}

PRIORITY = {
    "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "clients"}, "value": 1000,
}  # fmt: skip
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
CARELESS = {"containers": [{"name": "x", "image": "x"}]}


def namespace(name):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": PROFILE}}


def deployment(pod):
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec}


def known(values, defaults):
    """Those of some values that a chart with these defaults has."""
    if not (isinstance(values, dict) and isinstance(defaults, dict) and defaults):
        return values
    return {key: known(value, defaults[key]) for key, value in values.items() if key in defaults}


def pods(objects):
    """The pods that the objects ask for."""
    for value in objects.kind("Deployment"):
        template = value["spec"]["template"]
        metadata = {**template["metadata"], "name": value["metadata"]["name"]}
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


class Server(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = ApiServer()
        cls.addClassCleanup(cls.server.close)
        cls.server.define(os.environ["FANFARE_CRDS"])
        cls.make_namespace(NAMESPACE)
        # That an example names, and that is the cluster's to make.
        status, answer, _ = cls.server.create(PRIORITY)
        assert status == 201, answer
        cls.kubeconfig = cls.server.kubeconfig()
        cls.chart = cls.with_stand_in(CHART)
        cls.last_chart = cls.with_stand_in(pathlib.Path(os.environ["FANFARE_LAST_CHART"]))

    @classmethod
    def with_stand_in(cls, chart):
        """A copy with its dependency, which is not to be had here."""
        directory = tempfile.TemporaryDirectory(prefix="fanfare-chart-")
        cls.addClassCleanup(directory.cleanup)
        copy = pathlib.Path(directory.name) / "fanfare"
        shutil.copytree(chart, copy, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
        shutil.copytree(pathlib.Path(__file__).parent / "stand-in/nats", copy / "charts/nats")
        return copy

    @classmethod
    def make_namespace(cls, name):
        status, answer, _ = cls.server.create(namespace(name))
        assert status == 201, answer

    def helm(self, *arguments, values=None):
        return helm("--kubeconfig", self.kubeconfig, *arguments, values=values)

    def test_every_object_of_every_scene(self):
        count = 0
        for name, objects in all_scenes():
            # A pod has to have its account.
            for account in objects.kind("ServiceAccount"):
                self.assertIn(self.server.create(account, NAMESPACE)[0], (201, 409))
            for value in [*objects.values(), *pods(objects)]:
                key = f"{value['kind']}/{value['metadata']['name']}"
                if value["kind"] == "ServiceAccount":
                    value = {**value, "metadata": {**value["metadata"], "name": "another"}}
                with self.subTest(f"{name}: {key}"):
                    status, answer, warnings = self.server.create(value, NAMESPACE, dry=True)
                    self.assertEqual((status, warnings), (201, []), answer.get("message"))
                    count += 1
        self.assertGreater(count, 100)

    def test_mistakes_are_seen(self):
        """What the test above would say of other objects."""
        status, answer, _ = self.server.create({**CONFIG_MAP, "date": {}}, NAMESPACE, dry=True)
        self.assertEqual((status, 'unknown field "date"' in answer["message"]), (400, True), answer)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {**CARELESS, "serviceAccountName": "x"}}
        status, answer, _ = self.server.create(pod, NAMESPACE, dry=True)
        self.assertEqual(status, 403, answer)
        status, answer, warnings = self.server.create(deployment(CARELESS), NAMESPACE, dry=True)
        self.assertEqual(status, 201, answer)
        self.assertTrue(any("would violate PodSecurity" in warning for warning in warnings), warnings)
        labels = {"fullnameOverride": "fanfare", "nameOverride": "other"}
        self.make_namespace("labels")
        self.helm("install", "fanfare", str(self.chart), "--namespace", "labels", values=nested(CLUSTER))
        with self.assertRaisesRegex(Refused, "field is immutable"):
            self.helm("upgrade", "fanfare", str(self.chart), "--namespace", "labels", values=nested(CLUSTER) | labels)
        route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "x"}}
        status, answer, _ = self.server.create({**route, "spec": {"parentRef": []}}, NAMESPACE, dry=True)
        self.assertEqual(status, 400, answer)

    def test_helm_asks_the_server(self):
        """`helm install --dry-run=server`, whose templates may look into the cluster."""
        for path in EXAMPLES:
            with self.subTest(path.name):
                said = self.helm(
                    "install", "asked", str(self.chart), "--namespace", NAMESPACE, "--dry-run=server",
                    values=yaml.safe_load(path.read_text()),
                )  # fmt: skip
                self.assertIn("kind: Deployment", said)

    def test_install_upgrade_and_back(self):
        """From the chart of the last release, with what its users may have set, and back again: no field that may not
        change has changed, and every object of the old one is what it was."""
        sets = {"cluster": nested(CLUSTER), "single": nested(SINGLE)}
        sets |= {path.stem: yaml.safe_load(path.read_text()) for path in EXAMPLES}
        last = yaml.safe_load((self.last_chart / "values.yaml").read_text())
        for name, values in sets.items():
            with self.subTest(name):
                where = ["fanfare", "--namespace", f"upgrade-{name.replace('_', '-')}"]
                self.make_namespace(where[2])
                self.helm("install", where[0], str(self.last_chart), *where[1:], values=known(values, last))
                before = self.specs(where[2])
                self.helm("upgrade", where[0], str(self.chart), *where[1:], values=values)
                after = self.specs(where[2])
                self.assertLessEqual(before.keys(), after.keys(), "what there was is there")
                self.helm("rollback", *where[:1], "1", *where[1:])
                self.assertEqual(self.specs(where[2]), before)
                self.helm("uninstall", *where)
                self.assertEqual(self.specs(where[2]), {})

    def test_a_scaled_edge_keeps_its_pods(self):
        """Switching autoscaling on leaves the number of pods to the autoscaler, beginning with what there is."""
        where = ["fanfare", "--namespace", "scaled"]
        self.make_namespace("scaled")
        values = nested({**CLUSTER, "edge.replicas": 5})
        self.helm("install", where[0], str(self.chart), *where[1:], values=values)
        values["edge"]["autoscaling"] = {"enabled": True}
        self.helm("upgrade", where[0], str(self.chart), *where[1:], values=values)
        self.assertEqual(self.specs("scaled")["Deployment/fanfare-edge"]["replicas"], 5)

    def specs(self, where):
        """What is wanted of every Deployment, Service and so on there, by `Kind/name`."""
        found = {}
        for group, kind, plural in [
            ("/apis/apps/v1", "Deployment", "deployments"),
            ("/api/v1", "Service", "services"),
            ("/apis/policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
            ("/apis/networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
            ("/apis/networking.k8s.io/v1", "Ingress", "ingresses"),
            ("/apis/autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        ]:
            status, answer, _ = self.server.call("GET", f"{group}/namespaces/{where}/{plural}")
            self.assertEqual(status, 200, answer)
            found |= {f"{kind}/{item['metadata']['name']}": item["spec"] for item in answer["items"]}
        return found


if __name__ == "__main__":
    unittest.main()
