"""What holds of the objects together, whatever the values."""

import hashlib
import json
import re
import unittest

from chart import CLUSTER, INSTALLED, SINGLE, render, render_file, EXAMPLES
from scenes import FULL, all_scenes

ADMIN = 6003


def pods(objects):
    """(name, pod spec) of each Deployment, and of the pod of `helm test`."""
    for deployment in objects.kind("Deployment"):
        yield deployment["metadata"]["name"], deployment["spec"]["template"]["spec"]
    for pod in objects.kind("Pod"):
        yield pod["metadata"]["name"], pod["spec"]


class Pods(unittest.TestCase):
    def test_restricted_security(self):
        """What the restricted profile of Kubernetes asks for, and two things more."""
        for name, objects in all_scenes():
            for pod_name, pod in pods(objects):
                with self.subTest(f"{name}: {pod_name}"):
                    self.assertTrue(pod["securityContext"]["runAsNonRoot"])
                    self.assertGreater(pod["securityContext"]["runAsUser"], 0)
                    self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                    self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & pod.keys())
                    self.assertFalse(pod["automountServiceAccountToken"])
                    self.assertFalse(pod["enableServiceLinks"])
                    kinds = {"configMap", "projected", "persistentVolumeClaim"}
                    for volume in pod["volumes"]:
                        self.assertEqual(len(volume.keys() & kinds), 1, volume)
                    (container,) = pod["containers"]
                    self.assertEqual(
                        container["securityContext"],
                        {
                            "allowPrivilegeEscalation": False,
                            "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    )
                    self.assertFalse([port for port in container.get("ports", []) if "hostPort" in port])

    def test_nothing_secret_is_written_down(self):
        """Secrets come from Secrets, as files: none in a variable, an argument or a ConfigMap. We make none."""
        for name, objects in all_scenes():
            with self.subTest(name):
                self.assertEqual(objects.kind("Secret"), [])
                for _, pod in pods(objects):
                    text = json.dumps(pod["containers"])
                    self.assertNotIn("secretKeyRef", text)
                    self.assertNotIn("secretRef", text)
                for key, config in objects.items():
                    if "fanfare.toml" in config.get("data", {}):
                        settings = objects.settings(key)
                        self.assertNotIn("key", settings.get("cluster", {}))
                        self.assertNotIn("token", settings["admin"])
                        self.assertNotIn("password", settings.get("nats", {}))

    def test_probes_ask_different_questions(self):
        for _, pod in pods(render(CLUSTER)):
            (container,) = pod["containers"]
            asked = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ["startup", "liveness", "readiness"]}
            self.assertEqual(
                asked,
                {
                    "startup": {"path": "/livez", "port": "admin"},
                    "liveness": {"path": "/livez", "port": "admin"},
                    "readiness": {"path": "/readyz", "port": "admin"},
                },
            )
            self.assertNotIn("lifecycle", container, "SIGTERM starts the drain; the image has no shell for a hook")

    def test_changed_settings_replace_the_pods_that_read_them(self):
        def checksums(values):
            objects = render(values)
            sums = {}
            for role in ["edge", "control", "worker"]:
                sums[role] = objects.at(f"Deployment/fanfare-{role}:spec.template.metadata.annotations.checksum/config")
                text = objects.at(f"ConfigMap/fanfare-{role}:data")["fanfare.toml"]
                self.assertIn(sums[role], {hashlib.sha256(end.encode()).hexdigest() for end in [text, text + "\n"]})
            return sums

        before = checksums(CLUSTER)
        after = checksums({**CLUSTER, "worker.config": {"worker": {"webhook_timeout": "5s"}}})
        self.assertEqual({role for role in before if before[role] != after[role]}, {"worker"})

    def test_null_takes_a_field_away(self):
        """As clusters want it that give every namespace users of its own."""
        own = {"securityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}
        objects = render({**FULL, **{f"merge.{pod}": own for pod in ["edgePod", "controlPod", "workerPod", "canaryPod", "testPod"]}})
        for name, pod in pods(objects):
            left = {key for key, value in pod["securityContext"].items() if value is not None}
            self.assertEqual(left, {"runAsNonRoot", "fsGroupChangePolicy", "seccompProfile"}, name)

    def test_a_new_chart_alone_replaces_no_pod(self):
        for deployment in render(CLUSTER).kind("Deployment"):
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            self.assertEqual(set(labels), {f"app.kubernetes.io/{name}" for name in ["name", "instance", "component"]})

    def test_topology_is_counted_by_version(self):
        for deployment in render(CLUSTER).kind("Deployment"):
            for spread in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]:
                self.assertEqual(spread["labelSelector"], deployment["spec"]["selector"])
                self.assertEqual(spread["matchLabelKeys"], ["pod-template-hash"])


class Rollout(unittest.TestCase):
    def test_there_are_never_fewer_pods(self):
        for deployment in render(CLUSTER).kind("Deployment"):
            rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
            self.assertEqual(deployment["spec"]["strategy"], rolling)

    def test_memory_is_never_doubled(self):
        objects = render({**SINGLE, "backbone.dataClaim": "data"})
        self.assertEqual([one["spec"]["strategy"] for one in objects.kind("Deployment")], [{"type": "Recreate"}])
        self.assertEqual(objects.kind("PodDisruptionBudget"), [])

    def test_time_for_the_drain(self):
        for grace, duration in [(0, 0), (10, 60), (30, 600)]:
            objects = render({**CLUSTER, "drain.graceSeconds": grace, "drain.durationSeconds": duration})
            edge = objects["Deployment/fanfare-edge"]["spec"]
            allowed = edge["template"]["spec"]["terminationGracePeriodSeconds"]
            self.assertGreaterEqual(allowed, grace + duration + 15)
            self.assertGreater(edge["progressDeadlineSeconds"], edge["minReadySeconds"] + allowed)

    def test_selectors_stay(self):
        """They cannot be changed in place: whoever changes them here writes the way around into UPGRADING.md."""
        for values in [CLUSTER, FULL]:
            for role in ["edge", "control", "worker"]:
                selector = render(values).at(f"Deployment/fanfare-{role}:spec.selector.matchLabels")
                expected = {"name": "fanfare", "instance": "fanfare", "component": role}
                self.assertEqual(selector, {f"app.kubernetes.io/{key}": value for key, value in expected.items()})

    def test_budgets_need_a_second_pod(self):
        objects = render({**CLUSTER, "worker.replicas": 1, "control.replicas": 2})
        roles = {
            budget["metadata"]["labels"]["app.kubernetes.io/component"]
            for budget in objects.kind("PodDisruptionBudget")
        }
        self.assertEqual(roles, {"edge", "control"})
        scaled = {**CLUSTER, "edge.autoscaling.enabled": True, "edge.autoscaling.minReplicas": 1}
        self.assertNotIn("PodDisruptionBudget/fanfare-edge", render(scaled))


class Ports(unittest.TestCase):
    def test_services_lead_somewhere(self):
        for name, objects in all_scenes():
            for service in objects.kind("Service"):
                selector = service["spec"].get("selector")
                if selector is None:
                    continue
                with self.subTest(f"{name}: {service['metadata']['name']}"):
                    chosen = [
                        one["spec"]["template"]
                        for one in objects.kind("Deployment")
                        if selector.items() <= one["spec"]["template"]["metadata"]["labels"].items()
                    ]
                    self.assertTrue(chosen)
                    for template in chosen:
                        there = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
                        self.assertLessEqual({port["targetPort"] for port in service["spec"]["ports"]}, there)
                    for port in service["spec"]["ports"]:
                        self.assertTrue(port["appProtocol"])

    def test_containers_listen_where_ports_say(self):
        for name, objects in all_scenes():
            for pod_name, pod in pods(objects):
                settings = objects.settings(f"ConfigMap/{pod_name}")
                if settings is None:
                    # The canary is told on its command line; test_canary looks at that.
                    continue
                with self.subTest(f"{name}: {pod_name}"):
                    listens = {
                        "client": settings["listen"],
                        "control": settings["control"]["listen"],
                        "admin": settings["admin"]["listen"],
                    }
                    for port in pod["containers"][0]["ports"]:
                        self.assertEqual(listens[port["name"]].rpartition(":")[2], str(port["containerPort"]))
                    # A worker that listens on loopback alone lets webhooks go there.
                    for address in listens.values():
                        self.assertIn(address.rpartition(":")[0], ["0.0.0.0", "[::]"])

    def test_no_way_in_leads_to_metrics(self):
        """Ingress, route and every Service that may be public know the client port alone."""
        objects = render(FULL)
        (backend,) = [path["backend"] for path in objects.at("Ingress/fanfare:spec.rules.0.http.paths")]
        self.assertEqual(backend, {"service": {"name": "fanfare-edge", "port": {"name": "client"}}})
        self.assertEqual(
            objects.at("HTTPRoute/fanfare:spec.rules.0.backendRefs"), [{"name": "fanfare-edge", "port": 443}]
        )
        self.assertEqual(objects.at("HTTPRoute/fanfare:spec.rules.0.timeouts"), {"request": "0s"})
        self.assertEqual([port["name"] for port in objects.at("Service/fanfare-edge:spec.ports")], ["client"])
        for service in objects.kind("Service"):
            if ADMIN in [port["port"] for port in service["spec"]["ports"]]:
                self.assertEqual(service["spec"]["clusterIP"], "None")

    def test_monitors_find_their_service(self):
        objects = render(FULL)
        monitor = objects["ServiceMonitor/fanfare"]["spec"]
        found = [
            service
            for service in objects.kind("Service")
            if monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        ]
        self.assertEqual([service["metadata"]["name"] for service in found], ["fanfare-metrics"])
        self.assertEqual(monitor["endpoints"][0]["port"], found[0]["spec"]["ports"][0]["name"])
        self.assertTrue(found[0]["spec"]["publishNotReadyAddresses"], "pods that drain are to be seen")


class Monitoring(unittest.TestCase):
    def test_off_by_default(self):
        kinds = {value["kind"] for value in render(CLUSTER).values()}
        on_request = {"ServiceMonitor", "PrometheusRule", "Ingress", "HTTPRoute", "NetworkPolicy", "ScaledObject"}
        self.assertFalse(kinds & (on_request | {"HorizontalPodAutoscaler"}))
        self.assertNotIn("ConfigMap/fanfare-dashboards", render(CLUSTER))

    def test_dashboards_are_whole(self):
        data = render({**FULL, "runbooks": "https://w.example/"})["ConfigMap/fanfare-dashboards"]["data"]
        self.assertTrue(data)
        for name, text in data.items():
            self.assertIn("title", json.loads(text), name)
            self.assertNotIn("fanfare.example", text)

    def test_rules_keep_their_templates(self):
        groups = render(FULL).at("PrometheusRule/fanfare:spec.groups")
        alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
        self.assertTrue(alerts)
        self.assertIn("{{ $labels", json.dumps(alerts), "Prometheus fills these in, not Helm")

    def test_keda_asks_for_this_release(self):
        (production,) = [path for path in EXAMPLES if path.name == "production.yaml"]
        metadata = render_file(production).at("ScaledObject/fanfare-edge:spec.triggers.0.metadata")
        self.assertEqual(metadata["query"], 'sum(fanfare_connections{namespace="realtime", pod=~"fanfare-edge-.+"})')
        # Prometheus without an answer is no cluster without clients.
        self.assertEqual(metadata["ignoreNullValues"], "false")

    def test_each_scrape_is_a_job_of_its_own(self):
        """Otherwise two scrapes of a pod would write one `up`."""
        def labels(endpoint):
            return {rule["targetLabel"]: rule.get("replacement") or rule["sourceLabels"]
                    for rule in endpoint["relabelings"] if "targetLabel" in rule}

        processes, apps = render(FULL).at("ServiceMonitor/fanfare:spec.endpoints")
        self.assertEqual((processes["path"], apps["path"]), ("/metrics", "/metrics/apps"))
        self.assertEqual((labels(processes)["job"], labels(apps)["job"]), ("fanfare", "fanfare-apps"))
        for endpoint in (processes, apps):
            self.assertEqual(labels(endpoint)["instance"], ["__meta_kubernetes_pod_name"])
            self.assertEqual(labels(endpoint)["role"], ["__meta_kubernetes_pod_label_app_kubernetes_io_component"])


class Notes(unittest.TestCase):
    def test_they_name_what_is_there(self):
        for name, objects in all_scenes():
            with self.subTest(name):
                for kind, found in [("Service", "service/"), ("Deployment", "deployment/")]:
                    named = re.findall(f"{found}([a-z-]+)", objects.notes)
                    self.assertTrue(named)
                    self.assertLessEqual({f"{kind}/{one}" for one in named}, objects.keys())

    def test_they_say_how_clients_come_in(self):
        tls = {"control.tls": {"existingSecret": "c", "serverName": "control.rt"}}
        for values, sentence in [
            (CLUSTER, "inside this cluster only, at fanfare-edge.realtime"),
            ({**CLUSTER, "edge.service.type": "LoadBalancer"}, "at the address of the Service fanfare-edge"),
            (
                {**CLUSTER, "ingress": {"enabled": True, "hosts": ["a.example"]}},
                "at a.example, through the default ingress",
            ),
            (FULL, "at rt.example.com, through nginx ingress"),
            ({**CLUSTER, "httpRoute": {"enabled": True, "parentRefs": [{"name": "a"}]}}, "every host of the gateway"),
            ({**CLUSTER, **tls}, "--address https://127.0.0.1:6002 --ca-file ca.crt --server-name control.rt"),
            (SINGLE, "its restarts lose messages, apps and keys."),
            ({**SINGLE, "backbone.dataClaim": "data"}, "its restarts lose messages."),
            (INSTALLED, "In production operate NATS apart"),
        ]:
            self.assertIn(sentence, render(values).notes)


class Policies(unittest.TestCase):
    def policy(self, values, role):
        return render({**values, "networkPolicy.enabled": True}).at(f"NetworkPolicy/fanfare-{role}:spec")

    def reached(self, policy):
        """The ports that pods may reach, with whom, as texts."""
        return {
            str(port.get("port")): json.dumps(rule.get("to", "anybody"))
            for rule in policy["egress"]
            for port in rule["ports"]
        }

    def test_each_selects_its_pods(self):
        for values in [FULL, {**SINGLE, "networkPolicy.enabled": True}]:
            objects = render(values)
            self.assertEqual(len(objects.kind("NetworkPolicy")), len(objects.kind("Deployment")))
            for deployment in objects.kind("Deployment"):
                policy = objects[f"NetworkPolicy/{deployment['metadata']['name']}"]["spec"]
                self.assertEqual(policy["podSelector"], deployment["spec"]["selector"])
                self.assertEqual(policy["policyTypes"], ["Ingress", "Egress"])

    def test_everybody_reaches_names_nats_and_control(self):
        values = {**CLUSTER, "backbone.nats.urls": ["nats://a:4333", "tls://b"]}
        for role in ["edge", "control", "worker"]:
            ports = self.reached(self.policy(values, role))
            self.assertEqual(set(ports) - {"1"}, {"53", "6002", "4333", "4222"})
            self.assertIn('"app.kubernetes.io/component": "control"', ports["6002"])

    def test_nats_of_the_chart_is_found(self):
        objects = render({**INSTALLED, "networkPolicy.enabled": True})
        labels = objects.at("Service/fanfare-nats:metadata.labels")
        rule = objects.at("NetworkPolicy/fanfare-edge:spec.egress.2")
        self.assertEqual(rule["ports"], [{"port": 4222}])
        self.assertEqual(rule["to"], [{"podSelector": {"matchLabels": labels}}])

    def test_nodes_reach_control_planes(self):
        policy = self.policy(CLUSTER, "control")
        (peer,) = [rule["from"] for rule in policy["ingress"] if rule["ports"] == [{"port": "control"}]][0]
        for deployment in render(CLUSTER).kind("Deployment"):
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            self.assertLessEqual(peer["podSelector"]["matchLabels"].items(), labels.items())

    def test_clients_reach_edges_and_nothing_else(self):
        ingress = {role: self.policy(CLUSTER, role)["ingress"] for role in ["edge", "control", "worker"]}
        self.assertIn({"ports": [{"port": "client"}]}, ingress["edge"])
        for rules in ingress.values():
            for rule in rules:
                self.assertTrue(rule["ports"] == [{"port": "client"}] or rule["from"])

    def test_webhooks_leave_from_workers_alone(self):
        for role in ["edge", "control"]:
            self.assertNotIn("1", self.reached(self.policy(CLUSTER, role)))
        blocks = [peer["ipBlock"] for peer in self.policy(FULL, "worker")["egress"][3]["to"]]
        everywhere, elsewhere = blocks[:2], [block["cidr"] for block in blocks[2:]]
        self.assertIn("10.0.0.0/8", everywhere[0]["except"])
        self.assertIn("fc00::/7", everywhere[1]["except"])
        # What worker.webhook_allow lets Fanfare do, the policy lets it, too.
        self.assertEqual(elsewhere, ["10.20.0.0/16", "fd00::1/128", "10.1.2.3/32"])
        single = self.reached(self.policy(SINGLE, "edge"))
        self.assertEqual(set(single), {"53", "1"}, "one process does everything, without NATS")


if __name__ == "__main__":
    unittest.main()
