"""What makes no sense is refused with a sentence that says what to do."""

import unittest

from chart import CLUSTER, INSTALLED, SINGLE, Refused, helm, chart_path, nested, render

SCALED = {**CLUSTER, "edge.autoscaling.enabled": True}

GUARDS = {
    "two edges in memory": ({**SINGLE, "edge.replicas": 2}, "edge.replicas must be 1, not 2"),
    "autoscaling in memory": ({**SINGLE, "edge.autoscaling.enabled": True}, "edge.autoscaling.enabled must be false"),
    "memory and NATS": ({**SINGLE, "nats.enabled": True}, "backbone.kind is memory, but there is NATS"),
    "no NATS": ({**CLUSTER, "backbone.nats.urls": []}, "there is no NATS: name its servers in backbone.nats.urls"),
    "two NATS": (
        {**CLUSTER, "nats.enabled": True},
        "nats.enabled installs a NATS cluster, and backbone.nats.urls names",
    ),
    "too few NATS servers": (
        {**INSTALLED, "nats.config.cluster.replicas": 1},
        "backbone.replicas is 3, but nats.config.cluster has 1",
    ),
    "NATS alone": (
        {**INSTALLED, "nats.config.cluster.enabled": False},
        "backbone.replicas is 3, but nats.config.cluster has 1",
    ),
    "NATS without JetStream": (
        {**INSTALLED, "nats.config.jetstream.enabled": False},
        "nats.config.jetstream.enabled must be true",
    ),
    "a volume beside NATS": (
        {**CLUSTER, "backbone.dataClaim": "data"},
        "backbone.dataClaim is for backbone.kind memory",
    ),
    "a scrape longer than its interval": (
        {**CLUSTER, "serviceMonitor": {"interval": "1m", "scrapeTimeout": "90s"}},
        "serviceMonitor.scrapeTimeout (90s) is more than its interval (1m)",
    ),
    "secrets for no collector": (
        {**CLUSTER, "traces.headers.existingSecret": "h"},
        "traces.endpoint is missing: where the collector is",
    ),
    "a canary without a PROXY header": (
        {**CLUSTER, "edge.proxyProtocol": True, "canary": {"app": "1", "keyName": "k", "keySecret": {"existingSecret": "c"}}},
        "name the public address in canary.url",
    ),
    "no cluster key": ({**CLUSTER, "clusterKey.existingSecret": ""}, "clusterKey.existingSecret is missing"),
    "no admin token": ({**CLUSTER, "adminToken.existingSecret": ""}, "adminToken.existingSecret is missing"),
    "forgotten tokens": (
        {**SINGLE, "adminToken.existingSecret": "", "adminToken.required": False},
        "knows no token after a restart",
    ),
    "two ways into NATS": (
        {
            **CLUSTER,
            "backbone.nats.credentials.existingSecret": "c",
            "backbone.nats.user": {"name": "u", "existingSecret": "p"},
        },
        "backbone.nats.credentials and backbone.nats.user exclude each other",
    ),
    "a user without password": (
        {**CLUSTER, "backbone.nats.user.name": "u"},
        "the Secret with the password, come together",
    ),
    "a password without user": (
        {**CLUSTER, "backbone.nats.user.existingSecret": "p"},
        "the Secret with the password, come together",
    ),
    "too little grace": (
        {**CLUSTER, "edge.terminationGracePeriodSeconds": 84},
        "is 84, but a drain needs 85: drain.graceSeconds + drain.durationSeconds + 15",
    ),
    "no grace": (
        {**CLUSTER, "edge.terminationGracePeriodSeconds": 0},
        "edge.terminationGracePeriodSeconds is 0, but a drain needs 85",
    ),
    "failed before ready": (
        {**CLUSTER, "edge.progressDeadlineSeconds": 30},
        "(30) must be more than edge.minReadySeconds (30)",
    ),
    "fewest over most": (
        {**SCALED, "edge.autoscaling.minReplicas": 21},
        "minReplicas (21) is more than maxReplicas (20)",
    ),
    "nothing to scale by": (
        {**SCALED, "edge.autoscaling.targetConnections": 0, "edge.autoscaling.targetCPU": 0},
        "edge.autoscaling has nothing to go by",
    ),
    "scaled too late": (
        {**SCALED, "edge.maxConnections": 12000},
        "targetConnections (12000) must be less than edge.maxConnections (12000)",
    ),
    "KEDA without Prometheus": (
        {**SCALED, "edge.autoscaling.keda.enabled": True},
        "edge.autoscaling.keda.serverAddress is missing",
    ),
    "a certificate without name": ({**CLUSTER, "control.tls.existingSecret": "c"}, "control.tls.serverName is missing"),
    "certificates without TLS": (
        {**CLUSTER, "control.tls.clientCaSecret": "c"},
        "clientCaSecret needs control.tls.existingSecret",
    ),
    "an ingress for nothing": ({**CLUSTER, "ingress.enabled": True}, "ingress.hosts is empty"),
    "a route from nowhere": ({**CLUSTER, "httpRoute.enabled": True}, "httpRoute.parentRefs is empty"),
    "everybody scrapes": (
        {**CLUSTER, "networkPolicy.enabled": True, "networkPolicy.scrapersFrom": []},
        "networkPolicy.scrapersFrom is empty",
    ),
    "a canary without key": (
        {**CLUSTER, "canary.enabled": True},
        "the canary needs all of canary.app, canary.keyName and canary.keySecret.existingSecret",
    ),
    "half a canary": ({**CLUSTER, "canary.app": "1001"}, "the canary needs all of canary.app, canary.keyName and"),
    "a canary with TLS for nothing": (
        {**CLUSTER, "canary.url": "http://rt.example.com", "canary.tls.serverName": "rt.example.com"},
        "canary.tls is for https, and canary.url begins with http://",
    ),
    "a drain by config": (
        {**CLUSTER, "config.drain.grace": "1s"},
        "config.drain.grace is for the chart to set: use drain.graceSeconds",
    ),
    "roles by config": (
        {**CLUSTER, "worker.config.roles": "edge"},
        "worker.config.roles is for the chart to set: use backbone.kind",
    ),
    "a secret in config": (
        {**CLUSTER, "control.config.admin.token": "0123456789abcdef"},
        "control.config.admin.token is a secret, and would stand in a ConfigMap: put it into a Secret, and name",
    ),
}

# What the schema of the values refuses, before any template is asked.
SHAPES = {
    "an unknown value": ({**CLUSTER, "edge.replica": 3}, "replica"),
    "an unknown table": ({**CLUSTER, "egde.replicas": 3}, "egde"),
    "a number as text": ({**CLUSTER, "edge.maxConnections": "many"}, "edge.maxConnections"),
    "two copies": ({**CLUSTER, "backbone.replicas": 2}, "backbone.replicas"),
    "a password in a URL": ({**CLUSTER, "backbone.nats.urls": ["nats://u:p@nats:4222"]}, "backbone.nats.urls"),
    "a tag for a digest": ({**CLUSTER, "image.digest": "latest"}, "image.digest"),
    "a dotted setting": ({**CLUSTER, "config": {"drain.grace": "1s"}}, "drain.grace"),
    "a canary's key in its URL": ({**CLUSTER, "canary.url": "https://k:s@rt.example.com"}, "canary.url"),
    "runbooks without slash": ({**CLUSTER, "runbooks": "https://w.example"}, "runbooks"),
    "a label that selects": ({**CLUSTER, "edge.podLabels": {"app.kubernetes.io/component": "x"}}, "edge.podLabels"),
    "a label for all that selects": ({**CLUSTER, "commonLabels": {"app.kubernetes.io/name": "x"}}, "commonLabels"),
    "a label that is no text": ({**CLUSTER, "worker.podLabels": {"a": 1}}, "worker.podLabels.a"),
    "an annotation that is no text": ({**CLUSTER, "ingress.annotations": {"a": True}}, "ingress.annotations.a"),
    "limits that limit nothing": ({**CLUSTER, "edge.resources": {"limit": {"memory": "2Gi"}}}, "limit"),
    "a limit of what": ({**CLUSTER, "edge.resources": {"limits": "2Gi"}}, "edge.resources.limits"),
    "nodes never to be emptied": ({**CLUSTER, "edge.disruptionBudget.maxUnavailable": 0}, "maxUnavailable"),
    "no share of the pods": ({**CLUSTER, "worker.disruptionBudget.maxUnavailable": "0%"}, "maxUnavailable"),
    "a proxy that is no address": ({**CLUSTER, "edge.trustedProxies": ["ingress-nginx"]}, "edge.trustedProxies"),
    "a network that is none": ({**CLUSTER, "networkPolicy.webhooksExcept": ["10.0.0.1"]}, "webhooksExcept"),
    "an age of nothing": ({**CLUSTER, "edge.maxConnectionAge": "0s"}, "edge.maxConnectionAge"),
    "a URL for a host": ({**CLUSTER, "ingress.hosts": ["https://rt.example.com/"]}, "ingress.hosts"),
    "a URL for a route's host": ({**CLUSTER, "httpRoute.hostnames": ["https://rt.example.com"]}, "httpRoute.hostnames"),
    "a time that is none": ({**CLUSTER, "httpRoute.requestTimeout": "forever"}, "httpRoute.requestTimeout"),
    "an interval that is none": ({**CLUSTER, "serviceMonitor.interval": "often"}, "serviceMonitor.interval"),
    "port zero": ({**CLUSTER, "edge.service.port": 0}, "edge.service.port"),
    "a port that is none": ({**CLUSTER, "control.service.port": 70000}, "control.service.port"),
    "no image": ({**CLUSTER, "image.repository": ""}, "image.repository"),
    "a tag with a space": ({**CLUSTER, "image.tag": "0.2 0"}, "image.tag"),
    "a name that is none": ({**CLUSTER, "fullnameOverride": "My Fanfare"}, "fullnameOverride"),
    "a Secret that cannot be": ({**CLUSTER, "clusterKey.existingSecret": "Cluster Key"}, "clusterKey.existingSecret"),
    "no key of a Secret": ({**CLUSTER, "adminToken.key": ""}, "adminToken.key"),
    "a path after NATS": ({**CLUSTER, "backbone.nats.urls": ["nats://nats:4222/"]}, "backbone.nats.urls"),
    "Prometheus without scheme": ({**SCALED, "edge.autoscaling.keda.serverAddress": "prometheus:9090"}, "serverAddress"),
    "a behavior that is none": ({**SCALED, "edge.autoscaling.behavior": {"scaledown": {}}}, "scaledown"),
    "a variable without name": ({**CLUSTER, "edge.env": [{"value": "x"}]}, "edge.env"),
}


class Guards(unittest.TestCase):
    def test_sound_values_pass(self):
        for values in [CLUSTER, INSTALLED, SINGLE, {**SCALED, "edge.terminationGracePeriodSeconds": 85}]:
            self.assertTrue(render(values))

    def test_all_mistakes_are_told_at_once(self):
        with self.assertRaises(Refused) as refused:
            render({})
        for sentence in ["there is no NATS", "clusterKey.existingSecret", "adminToken.existingSecret"]:
            self.assertIn(sentence, str(refused.exception))

    def test_lint_does_not_need_values(self):
        self.assertIn("0 chart(s) failed", helm("lint", "--strict", str(chart_path())))

    def test_lint_takes_sound_values(self):
        for values in [CLUSTER, INSTALLED, SINGLE]:
            self.assertIn("0 chart(s) failed", helm("lint", "--strict", str(chart_path()), values=nested(values)))


def refusal(values, sentence):
    def test(self):
        with self.assertRaises(Refused) as refused:
            render(values)
        self.assertIn(sentence, str(refused.exception))

    return test


for name, (values, sentence) in {**GUARDS, **SHAPES}.items():
    setattr(Guards, f"test_{name.replace(' ', '_')}", refusal(values, sentence))


if __name__ == "__main__":
    unittest.main()
