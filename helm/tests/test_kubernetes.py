"""Every object is one that Kubernetes knows, in the oldest and the newest version that the chart is for."""

import functools
import importlib.resources
import json
import unittest

import jsonschema
import kubernetes_validate
import yaml
from referencing import Registry, Resource

from chart import CHART
from scenes import all_scenes

OLDEST = "1.31.0"
NEWEST = "1.37.0"

# Kinds of others, whose schemas are not in Kubernetes: test_objects looks at what we write there.
FOREIGN = {"HTTPRoute", "PrometheusRule", "ScaledObject", "ServiceMonitor"}


def read(version, name):
    files = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema"
    return json.loads((files / f"v{version}-local-strict" / name).read_text())


@functools.cache
def registry(version):
    return Resource.from_contents(read(version, "_definitions.json")) @ Registry()


@functools.cache
def validator(version, kind, api):
    """For objects of one kind. The API's name is `apps-v1` of apps/v1 and `networking-v1` of networking.k8s.io/v1."""
    group, _, api_version = api.rpartition("/")
    name = "-".join(part for part in [kind.lower(), group.split(".")[0], api_version] if part)
    schema = read(version, f"{name}.json")
    return jsonschema.validators.Draft202012Validator(schema, registry=registry(version))


class Kubernetes(unittest.TestCase):
    def validate(self, version):
        seen = set()
        for name, objects in all_scenes():
            for key, value in objects.items():
                if value["kind"] in FOREIGN:
                    continue
                seen.add(value["kind"])
                with self.subTest(f"{name}: {key}"):
                    validator(version, value["kind"], value["apiVersion"]).validate(value)
        kinds = {
            "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "Pod", "PodDisruptionBudget",
            "Service", "ServiceAccount",
        }  # fmt: skip
        self.assertEqual(seen, kinds)

    def test_oldest(self):
        self.validate(OLDEST)

    def test_newest(self):
        self.validate(NEWEST)

    def test_versions_are_what_they_say(self):
        oldest = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
        self.assertEqual(oldest, f">={OLDEST}-0")
        self.assertEqual(kubernetes_validate.latest_version(), NEWEST, "test the newest there is")

    def test_api_servers_are_of_the_same_versions(self):
        script = (CHART.parents[1] / "deploy/dev/kubernetes.sh").read_text()
        self.assertIn(f"set -- {OLDEST} {NEWEST.rpartition('.')[0]}.", script)

    def test_a_wrong_field_is_seen(self):
        broken = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, "spec": {"replica": 3}}
        with self.assertRaises(jsonschema.ValidationError):
            validator(OLDEST, "Deployment", "apps/v1").validate(broken)


if __name__ == "__main__":
    unittest.main()
