"""Every value does what it says.

A scene sets many values at once; each case says where one of them shows. A case must not hold before the values are
set, so none passes by itself. One more test walks values.yaml for a value without a case."""

import dataclasses
import json
import typing
import unittest

import yaml

from chart import CHART, CLUSTER, INSTALLED, SINGLE, render

EDGE = "Deployment/fanfare-edge"
CONTROL = "Deployment/fanfare-control"
WORKER = "Deployment/fanfare-worker"
CANARY = "Deployment/fanfare-canary"
EDGE_FILE = "ConfigMap/fanfare-edge:fanfare.toml"
CONTROL_FILE = "ConfigMap/fanfare-control:fanfare.toml"
POD = "spec.template.spec"
CONTAINER = f"{POD}.containers.0"
SECRETS = "/etc/fanfare/secrets"
SCALER = "HorizontalPodAutoscaler/fanfare-edge:spec"
KEDA = "ScaledObject/fanfare-edge:spec"
ROUTE = "HTTPRoute/fanfare:spec"
EDGE_PORT = "Service/fanfare-edge:spec.ports.0"
CONTROL_PORT = "Service/fanfare-control:spec.ports.0"
DIGEST = "sha256:" + "0" * 64
SPREAD = {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
PEER = {"podSelector": {"matchLabels": {"app": "other"}}}


@dataclasses.dataclass
class Case:
    """`value` at `path` makes `expected` stand at `place`, an address or a function of all objects."""

    path: str
    value: typing.Any
    place: typing.Any
    expected: typing.Any

    def found(self, objects):
        return self.place(objects) if callable(self.place) else objects.at(self.place)


@dataclasses.dataclass
class Scene:
    """Cases that get along with each other, on `base`. `also` has to change with them, and is not what is tested."""

    name: str
    base: dict
    cases: list
    also: dict = dataclasses.field(default_factory=dict)


def secret(deployment, name):
    """Whether the pod gets a secret, and as what: {key: path}."""

    def place(objects):
        volumes = objects.at(f"{deployment}:{POD}.volumes") or []
        sources = [source for volume in volumes for source in volume.get("projected", {}).get("sources", [])]
        found = [source["secret"] for source in sources if source["secret"]["name"] == name]
        return {item["key"]: item["path"] for one in found for item in one["items"]} or None

    return place


def variable(deployment, name):
    def place(objects):
        found = [env for env in objects.at(f"{deployment}:{CONTAINER}.env") if env["name"] == name]
        return found[0]["value"] if found else None

    return place


def argument(pod, name):
    """What follows a word on the command line."""

    def place(objects):
        spec = objects.at(f"{pod}:{POD}") or objects.at(f"{pod}:spec")
        words = spec["containers"][0]["args"] if spec else []
        return words[words.index(name) + 1] if name in words else None

    return place


def named(deployment, path, name):
    """Whether a list of things with names has one."""
    return lambda objects: any(thing["name"] == name for thing in objects.at(f"{deployment}:{path}") or [])


def role_cases(role):
    """What all roles have."""
    deployment, file = f"Deployment/fanfare-{role}", f"ConfigMap/fanfare-{role}:fanfare.toml"
    budget, mounts = f"PodDisruptionBudget/fanfare-{role}", f"{CONTAINER}.volumeMounts"
    spread = f"{deployment}:{POD}.topologySpreadConstraints"
    return [
        Case(f"{role}.replicas", 7, f"{deployment}:spec.replicas", 7),
        Case(f"{role}.resources", {"requests": {"cpu": "7"}}, f"{deployment}:{CONTAINER}.resources.requests.cpu", "7"),
        Case(f"{role}.config", {"log": {"format": "human"}}, f"{file}:log.format", "human"),
        Case(f"{role}.disruptionBudget.maxUnavailable", 2, f"{budget}:spec.maxUnavailable", 2),
        Case(f"{role}.topologySpreadConstraints", [SPREAD], f"{spread}.0.topologyKey", "rack"),
        Case(f"{role}.podLabels", {"team": role}, f"{deployment}:spec.template.metadata.labels.team", role),
        Case(f"{role}.podAnnotations", {"a": role}, f"{deployment}:spec.template.metadata.annotations.a", role),
        Case(
            f"{role}.env",
            [{"name": "FANFARE_LOG_FILTER", "value": role}],
            variable(deployment, "FANFARE_LOG_FILTER"),
            role,
        ),
        Case(f"{role}.volumes", [{"name": "more", "emptyDir": {}}], named(deployment, f"{POD}.volumes", "more"), True),
        Case(f"{role}.volumeMounts", [{"name": "more", "mountPath": "/more"}], named(deployment, mounts, "more"), True),
    ]


def merge_cases():
    """Every object, pod and container takes fields that the chart has no value for."""
    objects = {
        "edgeDeployment": EDGE, "controlDeployment": CONTROL, "workerDeployment": WORKER,
        "edgeService": "Service/fanfare-edge", "controlService": "Service/fanfare-control",
        "metricsService": "Service/fanfare-metrics", "edgeAutoscaler": "HorizontalPodAutoscaler/fanfare-edge",
        "serviceAccount": "ServiceAccount/fanfare", "ingress": "Ingress/fanfare", "httpRoute": "HTTPRoute/fanfare",
        "serviceMonitor": "ServiceMonitor/fanfare", "prometheusRule": "PrometheusRule/fanfare",
        "dashboards": "ConfigMap/fanfare-dashboards",
    }  # fmt: skip
    for role in ["edge", "control", "worker"]:
        objects |= {
            f"{role}{kind}": f"{full}/fanfare-{role}"
            for kind, full in [
                ("DisruptionBudget", "PodDisruptionBudget"),
                *((k, k) for k in ["ConfigMap", "NetworkPolicy"]),
            ]
        }
        deployment = f"Deployment/fanfare-{role}"
        yield Case(f"merge.{role}Pod", {"priorityClassName": "high"}, f"{deployment}:{POD}.priorityClassName", "high")
        probe = {"livenessProbe": {"periodSeconds": 33}}
        yield Case(f"merge.{role}Container", probe, f"{deployment}:{CONTAINER}.livenessProbe.periodSeconds", 33)
    canary = "Deployment/fanfare-canary"
    objects |= {"canaryDeployment": canary, "canaryNetworkPolicy": "NetworkPolicy/fanfare-canary"}
    yield Case("merge.canaryPod", {"priorityClassName": "low"}, f"{canary}:{POD}.priorityClassName", "low")
    yield Case("merge.canaryContainer", {"livenessProbe": {"periodSeconds": 33}}, f"{canary}:{CONTAINER}.livenessProbe.periodSeconds", 33)
    yield Case("merge.testPod", {"priorityClassName": "low"}, "Pod/fanfare-test:spec.priorityClassName", "low")
    for key, name in objects.items():
        yield Case(f"merge.{key}", {"metadata": {"labels": {"merged": key}}}, f"{name}:metadata.labels.merged", key)


EVERYTHING = {
    **CLUSTER, "edge.autoscaling.enabled": True, "networkPolicy.enabled": True, "ingress.enabled": True,
    "ingress.hosts": ["a.example"], "httpRoute.enabled": True, "httpRoute.parentRefs": [{"name": "a"}],
    "serviceMonitor.enabled": True, "prometheusRule.enabled": True, "dashboards.enabled": True,
    "canary": {"enabled": True, "app": "1", "keyName": "k", "keySecret": {"existingSecret": "c"}},
}  # fmt: skip

SCENES = [
    Scene("names", CLUSTER, [Case("nameOverride", "rt", "Deployment/fanfare-rt-edge:kind", "Deployment")]),
    Scene("full names", CLUSTER, [Case("fullnameOverride", "rt", "Deployment/rt-edge:kind", "Deployment")]),
    Scene(
        "everywhere",
        CLUSTER,
        [
            Case("commonLabels", {"team": "rt"}, f"{CONTROL}:spec.template.metadata.labels.team", "rt"),
            Case("commonAnnotations", {"owner": "rt"}, "Service/fanfare-edge:metadata.annotations.owner", "rt"),
            Case(
                "image.repository",
                "r.example/f",
                lambda o: o.at(f"{EDGE}:{CONTAINER}.image").split(":")[0],
                "r.example/f",
            ),
            Case("image.tag", "9.9.9", lambda o: o.at(f"{WORKER}:{CONTAINER}.image").split(":")[1], "9.9.9"),
            Case("image.pullPolicy", "Always", f"{EDGE}:{CONTAINER}.imagePullPolicy", "Always"),
            Case("image.pullSecrets", ["pull"], f"{EDGE}:{POD}.imagePullSecrets", [{"name": "pull"}]),
            Case("clusterKey.existingSecret", "other-key", secret(WORKER, "other-key"), {"a": "cluster.key"}),
            Case("clusterKey.key", "a", secret(EDGE, "other-key"), {"a": "cluster.key"}),
            Case("adminToken.existingSecret", "other-token", secret(CONTROL, "other-token"), {"b": "admin.token"}),
            Case("adminToken.key", "b", secret(CONTROL, "other-token"), {"b": "admin.token"}),
            Case("seed.existingSecret", "apps", f"{CONTROL_FILE}:seed", f"{SECRETS}/apps.toml"),
            Case("seed.key", "c", secret(CONTROL, "apps"), {"c": "apps.toml"}),
            Case("config", {"edge": {"ring_messages": 50}}, f"{EDGE_FILE}:edge.ring_messages", 50),
            Case("serviceAccount.name", "own", f"{EDGE}:{POD}.serviceAccountName", "own"),
            Case("serviceAccount.annotations", {"role": "x"}, "ServiceAccount/own:metadata.annotations.role", "x"),
        ],
    ),
    Scene("digest", CLUSTER, [Case("image.digest", DIGEST, f"{EDGE}:{CONTAINER}.image", f"fanfare@{DIGEST}")]),
    Scene(
        "IPv6",
        CLUSTER,
        [
            Case("ipFamily", "IPv6", f"{EDGE_FILE}:listen", "[::]:6001"),
            Case("ipFamily", "IPv6", f"{EDGE_FILE}:admin.listen", "[::]:6003"),
            Case("ipFamily", "IPv6", variable(CONTROL, "FANFARE_CONTROL_ADVERTISE"), "[$(POD_IP)]:6002"),
        ],
    ),
    Scene(
        "retired token",
        CLUSTER,
        [Case("adminToken.required", False, f"{CONTROL_FILE}:admin.token_file", None)],
        also={"adminToken.existingSecret": ""},
    ),
    Scene(
        "backbone",
        CLUSTER,
        [
            Case("backbone.replicas", 5, f"{EDGE_FILE}:backbone.replicas", 5),
            Case("backbone.shards", 4, f"{CONTROL_FILE}:backbone.shards", 4),
            Case("backbone.nats.urls", ["tls://a:1", "tls://b"], f"{EDGE_FILE}:nats.urls", ["tls://a:1", "tls://b"]),
            Case(
                "backbone.nats.credentials.existingSecret",
                "creds",
                f"{EDGE_FILE}:nats.credentials_file",
                f"{SECRETS}/nats.creds",
            ),
            Case("backbone.nats.credentials.key", "d", secret(WORKER, "creds"), {"d": "nats.creds"}),
            Case("backbone.nats.tls.required", True, f"{EDGE_FILE}:nats.tls.required", True),
            Case("backbone.nats.tls.caSecret", "ca", secret(EDGE, "ca"), {"ca.crt": "nats-ca.crt"}),
            Case("backbone.nats.tls.caSecret", "ca", f"{EDGE_FILE}:nats.tls.ca_file", f"{SECRETS}/nats-ca.crt"),
            Case(
                "backbone.nats.tls.clientSecret",
                "nc",
                secret(EDGE, "nc"),
                {"tls.crt": "nats.crt", "tls.key": "nats.key"},
            ),
            Case("backbone.nats.tls.clientSecret", "nc", f"{EDGE_FILE}:nats.tls.key_file", f"{SECRETS}/nats.key"),
        ],
    ),
    Scene(
        "user at NATS",
        CLUSTER,
        [
            Case("backbone.nats.user.name", "rt", f"{EDGE_FILE}:nats.user", "rt"),
            Case("backbone.nats.user.name", "rt", f"{EDGE_FILE}:nats.password_file", f"{SECRETS}/nats.password"),
            Case("backbone.nats.user.existingSecret", "pw", secret(EDGE, "pw"), {"e": "nats.password"}),
            Case("backbone.nats.user.key", "e", secret(CONTROL, "pw"), {"e": "nats.password"}),
        ],
    ),
    Scene(
        "NATS is installed, too",
        CLUSTER,
        [Case("nats.enabled", True, f"{EDGE_FILE}:nats.urls", ["nats://fanfare-nats:4222"])],
        also={"backbone.nats.urls": []},
    ),
    Scene(
        "NATS of the chart",
        INSTALLED,
        [
            Case("nats.fullnameOverride", "own", f"{EDGE_FILE}:nats.urls", ["nats://own:4222"]),
            Case("nats.fullnameOverride", "own", "Service/own:kind", "Service"),
            Case("nats.config.cluster.enabled", False, lambda o: passed_on(o)["cluster"]["enabled"], False),
            Case("nats.config.cluster.replicas", 5, lambda o: passed_on(o)["cluster"]["replicas"], 5),
            Case(
                "nats.config.jetstream.fileStore.pvc.size",
                "9Gi",
                lambda o: passed_on(o)["jetstream"]["fileStore"]["pvc"]["size"],
                "9Gi",
            ),
        ],
        also={"backbone.replicas": 1},
    ),
    Scene(
        "memory",
        CLUSTER,
        [Case("backbone.kind", "memory", f"{EDGE_FILE}:roles", ["edge", "control", "worker"])],
        also={"backbone.nats.urls": [], "edge.replicas": 1},
    ),
    Scene(
        "memory with a volume",
        SINGLE,
        [
            Case("backbone.dataClaim", "data", f"{EDGE_FILE}:data_dir", "/var/lib/fanfare"),
            Case("backbone.dataClaim", "data", named(EDGE, f"{CONTAINER}.volumeMounts", "data"), True),
            Case("backbone.dataClaim", "data", f"{EDGE}:{POD}.volumes.2.persistentVolumeClaim.claimName", "data"),
        ],
    ),
    Scene(
        "drain",
        CLUSTER,
        [
            Case("drain.graceSeconds", 20, f"{EDGE_FILE}:drain.grace", "20s"),
            Case("drain.durationSeconds", 120, f"{EDGE_FILE}:drain.duration", "120s"),
            Case("drain.durationSeconds", 120, f"{EDGE}:{POD}.terminationGracePeriodSeconds", 155),
            Case("drain.durationSeconds", 120, f"{EDGE}:spec.progressDeadlineSeconds", 10 + 155 + 300),
            Case("edge.minReadySeconds", 10, f"{EDGE}:spec.minReadySeconds", 10),
        ],
    ),
    Scene(
        "longer than needed",
        CLUSTER,
        [
            Case("edge.terminationGracePeriodSeconds", 100, f"{EDGE}:{POD}.terminationGracePeriodSeconds", 100),
            Case("edge.progressDeadlineSeconds", 900, f"{EDGE}:spec.progressDeadlineSeconds", 900),
        ],
    ),
    Scene(
        "edge",
        CLUSTER,
        role_cases("edge") + [Case("edge.maxConnections", 1000000, f"{EDGE_FILE}:edge.max_connections", 1000000)],
    ),
    Scene("control", CLUSTER, role_cases("control")),
    Scene("worker", CLUSTER, role_cases("worker")),
    Scene(
        "without",
        CLUSTER,
        [
            Case("edge.disruptionBudget.enabled", False, "PodDisruptionBudget/fanfare-edge:kind", None),
            Case("control.disruptionBudget.enabled", False, "PodDisruptionBudget/fanfare-control:kind", None),
            Case("worker.disruptionBudget.enabled", False, "PodDisruptionBudget/fanfare-worker:kind", None),
            Case("serviceAccount.create", False, "ServiceAccount/fanfare:kind", None),
            Case("serviceAccount.create", False, f"{EDGE}:{POD}.serviceAccountName", "default"),
        ],
    ),
    Scene(
        "services",
        CLUSTER,
        [
            Case("edge.service.type", "LoadBalancer", "Service/fanfare-edge:spec.type", "LoadBalancer"),
            Case("edge.service.port", 8080, f"{EDGE_PORT}.port", 8080),
            Case("edge.service.appProtocol", "kubernetes.io/ws", f"{EDGE_PORT}.appProtocol", "kubernetes.io/ws"),
            Case("edge.service.annotations", {"lb": "tcp"}, "Service/fanfare-edge:metadata.annotations.lb", "tcp"),
            Case("control.service.port", 443, f"{CONTROL_PORT}.port", 443),
            Case("control.service.appProtocol", "http", f"{CONTROL_PORT}.appProtocol", "http"),
            Case("control.service.annotations", {"a": "b"}, "Service/fanfare-control:metadata.annotations.a", "b"),
        ],
    ),
    Scene(
        "TLS",
        CLUSTER,
        [
            Case("edge.tls.existingSecret", "e", secret(EDGE, "e"), {"tls.crt": "edge.crt", "tls.key": "edge.key"}),
            Case("edge.tls.existingSecret", "e", f"{EDGE_FILE}:tls.cert_file", f"{SECRETS}/edge.crt"),
            Case("edge.tls.existingSecret", "e", f"{EDGE_PORT}.port", 443),
            Case("edge.tls.existingSecret", "e", f"{EDGE_PORT}.appProtocol", "https"),
            Case("control.tls.existingSecret", "c", f"{CONTROL_FILE}:control.tls.cert_file", f"{SECRETS}/control.crt"),
            # Who only calls control planes gets the authorities, and not the key.
            Case("control.tls.existingSecret", "c", secret(EDGE, "c"), {"ca.crt": "control-ca.crt"}),
            Case("control.tls.existingSecret", "c", f"{CONTROL_PORT}.appProtocol", "https"),
            Case("control.tls.serverName", "ctl", f"{EDGE_FILE}:control.server_name", "ctl"),
            Case("control.tls.clientCaSecret", "ops", secret(CONTROL, "ops"), {"ca.crt": "administrators-ca.crt"}),
            Case(
                "control.tls.clientCaSecret",
                "ops",
                f"{CONTROL_FILE}:control.tls.client_ca_file",
                f"{SECRETS}/administrators-ca.crt",
            ),
        ],
    ),
    Scene(
        "autoscaling",
        CLUSTER,
        [
            Case("edge.autoscaling.enabled", True, f"{EDGE}:spec.replicas", None),
            Case("edge.autoscaling.enabled", True, f"{SCALER}.scaleTargetRef.name", "fanfare-edge"),
        ],
    ),
    Scene(
        "how to scale",
        {**CLUSTER, "edge.autoscaling.enabled": True},
        [
            Case("edge.autoscaling.minReplicas", 4, f"{SCALER}.minReplicas", 4),
            Case("edge.autoscaling.maxReplicas", 40, f"{SCALER}.maxReplicas", 40),
            Case("edge.autoscaling.targetConnections", 9000, f"{SCALER}.metrics.0.pods.target.averageValue", "9000"),
            Case("edge.autoscaling.targetCPU", 50, f"{SCALER}.metrics.1.resource.target.averageUtilization", 50),
            Case("edge.autoscaling.metrics", [{"type": "External"}], f"{SCALER}.metrics.2.type", "External"),
            Case(
                "edge.autoscaling.behavior",
                {"scaleDown": {"stabilizationWindowSeconds": 9}},
                f"{SCALER}.behavior.scaleDown.stabilizationWindowSeconds",
                9,
            ),
        ],
    ),
    Scene(
        "KEDA",
        {**CLUSTER, "edge.autoscaling.enabled": True},
        [
            Case("edge.autoscaling.keda.enabled", True, "HorizontalPodAutoscaler/fanfare-edge:kind", None),
            Case(
                "edge.autoscaling.keda.serverAddress",
                "http://p",
                f"{KEDA}.triggers.0.metadata.serverAddress",
                "http://p",
            ),
            Case("edge.autoscaling.targetConnections", 9000, f"{KEDA}.triggers.0.metadata.threshold", "9000"),
            Case("edge.autoscaling.targetCPU", 50, f"{KEDA}.triggers.1.metadata.value", "50"),
            Case("edge.autoscaling.minReplicas", 4, f"{KEDA}.minReplicaCount", 4),
            Case("edge.autoscaling.maxReplicas", 40, f"{KEDA}.maxReplicaCount", 40),
            Case("edge.autoscaling.metrics", [{"type": "cron"}], f"{KEDA}.triggers.2.type", "cron"),
        ],
    ),
    Scene(
        "ingress",
        CLUSTER,
        [
            Case(
                "ingress.enabled", True, "Ingress/fanfare:spec.rules.0.http.paths.0.backend.service.port.name", "client"
            ),
            Case("ingress.className", "nginx", "Ingress/fanfare:spec.ingressClassName", "nginx"),
            Case("ingress.annotations", {"a": "b"}, "Ingress/fanfare:metadata.annotations.a", "b"),
            Case("ingress.hosts", ["a.example", "b.example"], "Ingress/fanfare:spec.rules.1.host", "b.example"),
            Case(
                "ingress.tls",
                [{"hosts": ["a.example"], "secretName": "t"}],
                "Ingress/fanfare:spec.tls.0.secretName",
                "t",
            ),
            Case("httpRoute.enabled", True, f"{ROUTE}.rules.0.backendRefs", [{"name": "fanfare-edge", "port": 80}]),
            Case("httpRoute.annotations", {"a": "b"}, "HTTPRoute/fanfare:metadata.annotations.a", "b"),
            Case("httpRoute.parentRefs", [{"name": "gw"}], f"{ROUTE}.parentRefs.0.name", "gw"),
            Case("httpRoute.hostnames", ["a.example"], f"{ROUTE}.hostnames", ["a.example"]),
        ],
    ),
    Scene("no timeout", EVERYTHING, [Case("httpRoute.requestTimeout", "", f"{ROUTE}.rules.0.timeouts", None)]),
    Scene(
        "monitoring",
        CLUSTER,
        [
            Case("serviceMonitor.enabled", True, "ServiceMonitor/fanfare:spec.endpoints.0.port", "admin"),
            Case("serviceMonitor.labels", {"release": "p"}, "ServiceMonitor/fanfare:metadata.labels.release", "p"),
            Case("serviceMonitor.interval", "30s", "ServiceMonitor/fanfare:spec.endpoints.0.interval", "30s"),
            Case("serviceMonitor.scrapeTimeout", "5s", "ServiceMonitor/fanfare:spec.endpoints.0.scrapeTimeout", "5s"),
            Case("serviceMonitor.apps", 50, "ServiceMonitor/fanfare:spec.endpoints.1.path", "/metrics/apps"),
            Case("prometheusRule.enabled", True, "PrometheusRule/fanfare:spec.groups.0.name", "fanfare-objectives"),
            Case("prometheusRule.labels", {"release": "p"}, "PrometheusRule/fanfare:metadata.labels.release", "p"),
            Case("dashboards.enabled", True, "ConfigMap/fanfare-dashboards:kind", "ConfigMap"),
            Case("dashboards.labels", {"own": "1"}, "ConfigMap/fanfare-dashboards:metadata.labels.own", "1"),
            Case(
                "dashboards.annotations",
                {"grafana_folder": "F"},
                "ConfigMap/fanfare-dashboards:metadata.annotations.grafana_folder",
                "F",
            ),
            Case("runbooks", "https://w.example/", lambda o: runbooks(o), {"https://w.example/"}),
        ],
    ),
    Scene(
        "clients' addresses",
        CLUSTER,
        [
            Case("edge.trustedProxies", ["10.1.0.0/16"], f"{EDGE_FILE}:edge.trusted_proxies", ["10.1.0.0/16"]),
            Case("edge.proxyProtocol", True, f"{EDGE_FILE}:edge.proxy_protocol", "required"),
            Case("edge.maxConnectionAge", "12h", f"{EDGE_FILE}:edge.max_connection_age", "12h"),
        ],
    ),
    Scene(
        "traces",
        CLUSTER,
        [
            Case("traces.endpoint", "https://otel:4317", f"{CONTROL_FILE}:trace.endpoint", "https://otel:4317"),
            Case("traces.sampleRatio", 0.5, f"{EDGE_FILE}:trace.sample_ratio", 0.5),
            Case("traces.caSecret", "otel-ca", secret(EDGE, "otel-ca"), {"ca.crt": "collector-ca.crt"}),
            Case("traces.headers.existingSecret", "otel", secret(WORKER, "otel"), {"h": "trace.headers"}),
            Case("traces.headers.key", "h", secret(WORKER, "otel"), {"h": "trace.headers"}),
        ],
    ),
    Scene(
        "policies",
        {**CLUSTER, "networkPolicy.enabled": True},
        [
            Case("networkPolicy.clientsFrom", [PEER], "NetworkPolicy/fanfare-edge:spec.ingress.0.from", [PEER]),
            Case("networkPolicy.adminsFrom", [PEER], "NetworkPolicy/fanfare-control:spec.ingress.0.from.1", PEER),
            Case("networkPolicy.scrapersFrom", [PEER], "NetworkPolicy/fanfare-worker:spec.ingress.0.from", [PEER]),
            Case("networkPolicy.natsTo", [PEER], "NetworkPolicy/fanfare-edge:spec.egress.2.to", [PEER]),
            Case(
                "networkPolicy.webhooksExcept",
                ["10.9.0.0/16"],
                "NetworkPolicy/fanfare-worker:spec.egress.3.to.0.ipBlock.except",
                ["10.9.0.0/16"],
            ),
            Case(
                "networkPolicy.extraEgress",
                [{"to": [PEER]}],
                "NetworkPolicy/fanfare-edge:spec.egress.3",
                {"to": [PEER]},
            ),
        ],
    ),
    Scene(
        "canary",
        CLUSTER,
        [
            Case("canary.enabled", True, f"{CANARY}:kind", "Deployment"),
            Case("canary.url", "https://rt.example.com", argument(CANARY, "canary"), "https://rt.example.com"),
            Case("canary.app", "1001", argument("Pod/fanfare-test", "--app"), "1001"),
            Case("canary.keyName", "k", argument(CANARY, "--key"), "k"),
            Case("canary.keySecret.existingSecret", "c", secret(CANARY, "c"), {"f": "key.secret"}),
            Case("canary.keySecret.key", "f", secret(CANARY, "c"), {"f": "key.secret"}),
            Case("canary.protocols", ["sse"], argument(CANARY, "--protocol"), "sse"),
            Case("canary.channel", "private-own", argument(CANARY, "--channel"), "private-own"),
            Case("canary.interval", "30s", argument(CANARY, "--interval"), "30s"),
            Case("canary.timeout", "5s", argument("Pod/fanfare-test", "--timeout"), "5s"),
            Case("canary.tls.caSecret", "ca", secret(CANARY, "ca"), {"ca.crt": "canary-ca.crt"}),
            Case("canary.tls.serverName", "rt", argument(CANARY, "--server-name"), "rt"),
            Case("canary.resources", {"limits": {"memory": "9Mi"}}, f"{CANARY}:{CONTAINER}.resources.limits.memory", "9Mi"),
            Case("canary.podLabels", {"a": "b"}, f"{CANARY}:spec.template.metadata.labels.a", "b"),
            Case("canary.podAnnotations", {"a": "b"}, f"{CANARY}:spec.template.metadata.annotations.a", "b"),
        ],
    ),
    Scene("policy", CLUSTER, [Case("networkPolicy.enabled", True, "NetworkPolicy/fanfare-edge:kind", "NetworkPolicy")]),
    Scene("merge", EVERYTHING, list(merge_cases())),
]


def passed_on(objects):
    """What the NATS chart is told."""
    return json.loads(objects.at("ConfigMap/nats-values:data.values|json"))["config"]


def runbooks(objects):
    """Where alerts link to."""
    groups = objects.at("PrometheusRule/fanfare:spec.groups") or []
    urls = [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule]
    return {url.rpartition("/")[0] + "/" for url in urls}


class Values(unittest.TestCase):
    def test_every_value_is_tested(self):
        tested = {case.path for scene in SCENES for case in scene.cases}
        # Whether JetStream is on is not for choosing: test_guards has it.
        tested.add("nats.config.jetstream.enabled")

        def leaves(path, value):
            if path in tested or not (isinstance(value, dict) and value):
                yield path
                return
            for key, child in value.items():
                yield from leaves(f"{path}.{key}".lstrip("."), child)

        values = set(leaves("", yaml.safe_load((CHART / "values.yaml").read_text())))
        self.assertEqual(values - tested, set(), "values without a case")
        self.assertEqual(tested - values, set(), "cases without a value")


def scene_test(scene):
    def test(self):
        before = render(scene.base)
        after = render({**scene.base, **scene.also, **{case.path: case.value for case in scene.cases}})
        for case in scene.cases:
            with self.subTest(case.path):
                self.assertEqual(case.found(after), case.expected)
                self.assertNotEqual(case.found(before), case.expected, "it is so without the value, too")

    return test


for scene in SCENES:
    setattr(Values, f"test_{scene.name.replace(' ', '_').replace(',', '').lower()}", scene_test(scene))


if __name__ == "__main__":
    unittest.main()
