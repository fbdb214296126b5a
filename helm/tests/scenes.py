"""Whole sets of values whose objects are checked as they are: the examples, and everything at once."""

from chart import CLUSTER, EXAMPLES, INSTALLED, SINGLE, render, render_file

FULL = {
    **CLUSTER,
    "ipFamily": "IPv6",
    "seed.existingSecret": "apps",
    "image.pullSecrets": ["pull"],
    "backbone.nats.user": {"name": "rt", "existingSecret": "nats-password"},
    "backbone.nats.tls": {"required": True, "caSecret": "nats-ca", "clientSecret": "nats-client"},
    "config": {"edge": {"send_queue_bytes": "256KiB", "ring_messages": 50}, "log": {"filter": "debug"}},
    "worker.config": {"worker": {"webhook_allow": ["10.20.0.0/16", "fd00::1", "10.1.2.3"]}},
    "edge.tls.existingSecret": "edge-tls",
    "control.tls": {"existingSecret": "control-tls", "serverName": "control.rt", "clientCaSecret": "operators"},
    "edge.autoscaling.enabled": True,
    "ingress": {"enabled": True, "hosts": ["rt.example.com"], "className": "nginx"},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["rt.example.com"]},
    "serviceMonitor.enabled": True,
    "prometheusRule.enabled": True,
    "dashboards.enabled": True,
    "networkPolicy.enabled": True,
    "networkPolicy.extraEgress": [{"to": [{"namespaceSelector": {}}], "ports": [{"port": 9093}]}],
    "serviceMonitor.apps": 50,
    "edge.trustedProxies": ["10.30.0.0/16", "fd00::/8"],
    "edge.maxConnectionAge": "12h",
    "traces": {
        "endpoint": "https://otel:4317",
        "sampleRatio": 1,
        "caSecret": "otel-ca",
        "headers": {"existingSecret": "otel"},
    },
    "networkPolicy.clientsFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
    "canary": {
        "enabled": True,
        "url": "https://rt.example.com",
        "app": "1001",
        "keyName": "canary-key",
        "keySecret": {"existingSecret": "canary"},
        "tls": {"caSecret": "public-ca"},
    },
}


def all_scenes():
    """(name, objects) of each."""
    sets = {"cluster": CLUSTER, "installed NATS": INSTALLED, "single": SINGLE, "full": FULL}
    sets["single, full"] = {
        **SINGLE,
        "seed.existingSecret": "apps",
        "backbone.dataClaim": "data",
        "networkPolicy.enabled": True,
        "control.tls": FULL["control.tls"],
        "edge.tls": {"existingSecret": "edge-tls"},
    }
    # A load balancer that passes TCP on, and says whom it comes from.
    sets["behind a balancer"] = {**CLUSTER, "edge.proxyProtocol": True, "canary": FULL["canary"]}
    for name, values in sets.items():
        yield name, render(values)
    for path in EXAMPLES:
        yield path.name, render_file(path)
