#!/usr/bin/env python3
"""Writes Fanfare's Grafana dashboards from the rows below, one line a query.

dashboards.py           writes fanfare-*.json beside this file
dashboards.py --check   exits with 1 if one of them differs from what would be written

In queries `@` stands for the choice of clusters, `namespace=~"$namespace"`."""

import json
import pathlib
import sys
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS, HEIGHT = 24, 8


@dataclass
class Panel:
    title: str
    # (query, legend) of each line.
    queries: list
    unit: str = "short"
    # What a reader should make of it.
    note: str = ""
    # The alert whose runbook helps.
    runbook: str = ""
    width: int = 8
    stacked: bool = False
    # Where the line that is not to be crossed lies.
    limit: float = None
    stat: bool = False


def quantiles(metric, labels="", by="", of=(0.5, 0.95, 0.99)):
    """Queries for quantiles of a histogram."""
    inner = f"sum by (le{', ' + by if by else ''}) (rate({metric}_bucket{{@{', ' + labels if labels else ''}}}[$__rate_interval]))"
    suffix = f" {{{{{by}}}}}" if by else ""
    return [(f"histogram_quantile({q}, {inner})", f"p{round(q * 100)}{suffix}") for q in of]


def rate(metric, by, labels=""):
    """One query for a counter's rate by a label."""
    matcher = f"@{', ' + labels if labels else ''}"
    return [(f"sum by ({by}) (rate({metric}{{{matcher}}}[$__rate_interval]))", f"{{{{{by}}}}}")]


OURS = "and on (namespace, instance) fanfare_build_info{@}"
CONNECTIONS = "sum by (namespace, instance) (fanfare_connections{@})"

SERVICE = [
    Panel("Connections", [("sum by (protocol) (fanfare_connections{@})", "{{protocol}}")], stacked=True,
          note="Clients that are connected, over all nodes.", runbook="FanfareReconnectStorm"),
    Panel("Delivery", quantiles("fanfare_delivery_seconds", 'hop="total"'), "s", limit=0.25,
          note="From the publish to the write to a subscriber's socket. The objective: 99.95 % within 250 ms.",
          runbook="FanfareErrorBudgetBurn"),
    Panel("Publishes answered", [
        ('1 - sum(rate(fanfare_publish_total{@, result=~"unavailable|unknown_outcome"}[$__rate_interval]))'
         " / sum(rate(fanfare_publish_total{@}[$__rate_interval]))", "not failed by us")], "percentunit",
          note="The objective: 99.9 %. What publishers did wrong counts as answered.", runbook="FanfareErrorBudgetBurn"),
    Panel("Publish", quantiles("fanfare_publish_seconds"), "s", limit=0.1,
          note="From the request to its acknowledgement by the backbone. The objective: p99 under 100 ms.",
          runbook="FanfareErrorBudgetBurn"),
    Panel("Reconnects that recover in full", [
        ('sum(rate(fanfare_recoveries_total{@, result="recovered"}[$__rate_interval]))'
         ' / sum(rate(fanfare_recoveries_total{@, result=~"recovered|other_epoch|unavailable"}[$__rate_interval]))', "in full")],
          "percentunit", note="Of those that come back within the history's window. The objective: 99.9 %.",
          runbook="FanfareRecoveryRefused"),
    Panel("Error budget left", [
        ("1 - avg_over_time(fanfare:objective_misses:rate5m{@}[30d]) / avg_over_time(fanfare:objective_attempts:rate5m{@}[30d])"
         " / on (objective) group_left fanfare:objective_budget:ratio", "{{objective}}")], "percentunit", stat=True,
          note="Of the last 30 days, or of as many as Prometheus keeps. Below zero the objective is missed.",
          runbook="FanfareErrorBudgetBurn"),
    Panel("Burn over an hour", [("fanfare:objective_burn:1h{@}", "{{objective}}")], limit=14.4,
          note="1 uses up the budget in exactly 30 days; above 14.4 somebody is paged.", runbook="FanfareErrorBudgetBurn"),
]

CANARY = [
    Panel("Seen through the public address", quantiles("fanfare_canary_delivery_seconds", by="protocol", of=(0.5, 0.99)), "s",
          limit=0.25, note="From the canary's publish to its message. The objective: 99.95 % within 250 ms.",
          runbook="FanfareCanaryFailing"),
    Panel("Attempts, by result", [
        ("sum by (protocol, result) (rate(fanfare_canary_attempts_total{@}[$__rate_interval])) > 0", "{{protocol}} {{result}}")],
          "ops", note="`disconnected` ones were on a node that went; lost, repeated, reordered and altered must stay 0.",
          runbook="FanfareCanaryFailing"),
    Panel("Since the last success", [
        ("time() - max by (instance, protocol) (fanfare_canary_last_success_timestamp_seconds{@} > 0)", "{{instance}} {{protocol}}")],
          "s", limit=120, runbook="FanfareCanaryFailing"),
]

ROLLOUT = [
    Panel("Processes by version", [("count by (version) (fanfare_build_info{@})", "{{version}}")], stacked=True,
          note="Two versions are normal during a rollout, and only then."),
    Panel("Version of each process", [("max by (instance, version) (fanfare_build_info{@})", "{{instance}} {{version}}")],
          note="Which ones the rollout has reached."),
    Panel("Processes that do not answer", [
        ("count by (instance) (up{@} == 0 and on (namespace, instance) max_over_time(fanfare_build_info{@}[6h]))", "{{instance}}")],
          stacked=True, note="Were there in the last six hours, and are targets still.", runbook="FanfareProcessDown"),
    Panel("Processes that drain", [("max by (instance) (fanfare_draining{@}) == 1", "{{instance}}")], stacked=True,
          note="From SIGTERM or a drain order to the end.", runbook="FanfareForcedCloses"),
    Panel("Connections by node", [("sum by (instance) (fanfare_connections{@})", "{{instance}}")], stacked=True,
          note="A node that drains goes down evenly, and others take what it had.", runbook="FanfareReconnectStorm"),
    Panel("Refused while draining", rate("fanfare_connections_refused_total", "instance", 'reason="draining"'), "cps",
          note="Clients that a load balancer still sends to a node that leaves. Much of it: drain.grace is too short.",
          runbook="FanfareErrorBudgetBurn"),
    Panel("Forced closes", [("sum by (instance) (increase(fanfare_forced_closes_total{@}[$__rate_interval]))", "{{instance}}")],
          note="Clients that were cut because they did not part in time. A few are those whose network is gone.",
          runbook="FanfareForcedCloses"),
]

EDGE = [
    Panel("Connections by node", [("sum by (instance) (fanfare_connections{@})", "{{instance}}")],
          note="Uneven after a rollout: clients stay where they are until they reconnect.", runbook="FanfareReconnectStorm"),
    Panel("Opened and closed", [
        ("sum(rate(fanfare_connections_opened_total{@}[$__rate_interval]))", "opened"),
        ("sum(rate(fanfare_connections_closed_total{@}[$__rate_interval]))", "closed")], "cps",
          runbook="FanfareReconnectStorm"),
    Panel("Closed, by code", [
        ("sum by (protocol, code) (rate(fanfare_connections_closed_total{@}[$__rate_interval])) > 0", "{{protocol}} {{code}}")],
          "cps", note="Why connections ended; `none` is one that was lost without a word.", runbook="FanfareReconnectStorm"),
    Panel("Refused, by reason", [
        ("sum by (reason) (rate(fanfare_connections_refused_total{@}[$__rate_interval])) > 0", "{{reason}}")], "cps",
          runbook="FanfareErrorBudgetBurn"),
    Panel("Handshake", quantiles("fanfare_connection_handshake_seconds", by="protocol", of=(0.5, 0.99)), "s",
          note="From the accepted socket to the established connection, the client's network included.",
          runbook="FanfareErrorBudgetBurn"),
    Panel("Waited to be let in", [
        ("sum by (instance, reason) (rate(fanfare_connections_held_total{@}[$__rate_interval])) > 0", "{{instance}} {{reason}}")],
          "cps", note="New connections beyond edge.accept_rate or edge.max_handshakes, which stay in the kernel's queue for a while.",
          runbook="FanfareAdmissionRefusing"),
    Panel("Sent elsewhere by age", rate("fanfare_connections_rotated_total", "instance"), "cps",
          note="Connections older than edge.max_connection_age, told to reconnect."),
    Panel("Connections of the limit", [
        ("sum by (namespace, instance) (fanfare_connections{@}) / max by (namespace, instance) (fanfare_connections_limit{@})",
         "{{instance}}")], "percentunit", limit=0.85, runbook="FanfareNearConnectionLimit"),
    Panel("Memory of the limit", [("fanfare_memory_used_bytes{@} / fanfare_memory_limit_bytes{@}", "{{instance}}")],
          "percentunit", limit=0.85, note="Of edge.memory_limit, where there is one.", runbook="FanfareNearMemoryLimit"),
    Panel("Memory", [(f"process_resident_memory_bytes{{@}} {OURS}", "{{instance}}")], "bytes"),
    Panel("Memory per connection", [
        (f"process_resident_memory_bytes{{@}} / on (namespace, instance) ({CONNECTIONS} > 100)", "{{instance}}")], "bytes",
          note="Of nodes with more than 100 connections, what a process needs by itself included."),
    Panel("File descriptors in use", [(f"process_open_fds{{@}} / process_max_fds{{@}} {OURS}", "{{instance}}")],
          "percentunit", limit=0.85, runbook="FanfareNearDescriptorLimit"),
    Panel("CPU", [(f"rate(process_cpu_seconds_total{{@}}[$__rate_interval]) {OURS}", "{{instance}}")], "none",
          note="Cores in use."),
    Panel("Delay of the scheduler, p99", quantiles("fanfare_runtime_scheduler_delay_seconds", by="instance", of=(0.99,)), "s",
          note="How late a task wakes. Tens of milliseconds: the process has too little CPU.", runbook="FanfareErrorBudgetBurn"),
    Panel("Certificates end in", [
        ("min by (listener) (fanfare_tls_certificate_expiry_timestamp_seconds{@} - time())", "{{listener}}")], "s",
          limit=14 * 86400, runbook="FanfareCertificateExpires"),
]

FAN_OUT = [
    Panel("Publishes", rate("fanfare_publish_total", "result"), "ops", note="By how they ended.",
          runbook="FanfareErrorBudgetBurn"),
    Panel("Deliveries", rate("fanfare_messages_sent_total", "protocol"), "ops",
          note="Messages written to clients.", stacked=True),
    Panel("Deliveries for each publish", [
        ("sum(rate(fanfare_messages_sent_total{@}[$__rate_interval]))"
         ' / sum(rate(fanfare_publish_total{@, result="accepted"}[$__rate_interval]))', "ratio")]),
    Panel("Subscribers of a message on a node", quantiles("fanfare_fanout_size", of=(0.5, 0.99))),
    Panel("Sent", rate("fanfare_sent_bytes_total", "protocol"), "Bps", stacked=True),
    Panel("Delivery by stage, p99", quantiles("fanfare_delivery_seconds", by="hop", of=(0.99,)), "s",
          note="backbone: through NATS; fanout: until it is queued; queue: until the socket takes it. Which one grew?",
          runbook="FanfareBackboneLagging"),
    Panel("Waiting in send queues", [("sum by (instance) (fanfare_send_queue_bytes{@})", "{{instance}}")], "bytes",
          runbook="FanfareSlowConsumers"),
    Panel("Fullest that a send queue was", quantiles("fanfare_send_queue_peak_bytes", of=(0.5, 0.95, 0.99)), "bytes",
          note="Of connections that ended. Near edge.send_queue_bytes (1 MiB), clients are about to be cut.",
          runbook="FanfareSlowConsumers"),
    Panel("Slow consumers", rate("fanfare_slow_consumers_total", "action"), "ops", runbook="FanfareSlowConsumers"),
    Panel("Dropped messages", [
        ("sum by (reason, intentional) (rate(fanfare_discarded_total{@}[$__rate_interval])) > 0",
         "{{reason}}, intentional: {{intentional}}")], "ops", runbook="FanfareSlowConsumers"),
    Panel("Subscriptions", [("sum by (kind) (fanfare_subscriptions{@})", "{{kind}}")], stacked=True),
    Panel("Channels on nodes", [("sum by (kind) (fanfare_channels{@})", "{{kind}}")], stacked=True,
          note="A channel counts once on each node that has a subscriber."),
    Panel("Requests to subscribe", rate("fanfare_subscribe_total", "result"), "ops"),
]

RECOVERY = [
    Panel("Clients that came back", [
        ("sum by (protocol) (rate(fanfare_recoveries_total{@}[$__rate_interval]))", "{{protocol}}")], "ops", stacked=True,
          note="Each channel of each client that asked for what it missed.", runbook="FanfareReconnectStorm"),
    Panel("Recovered in full", [
        ('sum by (protocol) (rate(fanfare_recoveries_total{@, result="recovered"}[$__rate_interval]))'
         ' / sum by (protocol) (rate(fanfare_recoveries_total{@, result!="abandoned"}[$__rate_interval]))', "{{protocol}}")],
          "percentunit", note="Of all that waited for the answer, those that came too late included.",
          runbook="FanfareRecoveryRefused"),
    Panel("Not recovered, by reason", [
        ('sum by (result) (rate(fanfare_recoveries_total{@, result!="recovered"}[$__rate_interval])) > 0', "{{result}}")], "ops",
          note="expired: away for longer than the history. other_epoch: another log. unavailable: NATS.",
          runbook="FanfareRecoveryRefused"),
    Panel("Brought from", [
        ('sum by (source) (rate(fanfare_recoveries_total{@, result="recovered"}[$__rate_interval]))', "{{source}}")], "ops",
          stacked=True, note="memory: the ring of the node. stream: read from NATS, which costs it more."),
    Panel("Messages for each that came back", quantiles("fanfare_recovered_messages", of=(0.5, 0.95, 0.99))),
    Panel("Position gaps", [("sum by (instance) (increase(fanfare_position_gaps_total{@}[$__rate_interval]))", "{{instance}}")],
          note="Must stay 0.", runbook="FanfarePositionGap"),
]

PRESENCE = [
    Panel("Members", [("sum by (instance) (fanfare_presence_members{@})", "{{instance}}")], stacked=True),
    Panel("Until a dead node's members were gone", quantiles("fanfare_presence_sync_seconds", of=(0.5, 0.99)), "s", limit=45,
          note="Since its last sign of life, and most of it its lease: 12 to 16 s by default.", runbook="FanfarePresenceSlow"),
    Panel("Stale members removed", [
        ("sum by (instance) (increase(fanfare_presence_stale_members_total{@}[$__rate_interval]))", "{{instance}}")],
          note="Members of nodes that ended, by the node that cleaned up.", runbook="FanfarePresenceSlow"),
    Panel("Edges seen to end", [("max by (namespace) (increase(fanfare_edges_gone_total{@}[$__rate_interval]))", "edges")],
          note="Nodes whose leases ended, on purpose or not."),
    Panel("Edges taken for dead", [("increase(fanfare_edge_lives_total{@}[$__rate_interval]) > 0", "{{instance}}")],
          note="A node that was silent for longer than edge.lease_ttl: NATS away, the process stopped, or the machine starved.",
          runbook="FanfareBackboneLost"),
]

BACKBONE = [
    Panel("Connected to NATS", [("min by (instance) (fanfare_backbone_up{@})", "{{instance}}")], limit=0.5,
          runbook="FanfareBackboneLost"),
    Panel("Reconnects", [("sum by (instance) (increase(fanfare_backbone_reconnects_total{@}[$__rate_interval]))", "{{instance}}")],
          runbook="FanfareBackboneLost"),
    Panel("Lag", quantiles("fanfare_backbone_lag_seconds"), "s", limit=2,
          note="Of probes that every process sends to itself through a stream.", runbook="FanfareBackboneLagging"),
    Panel("Lag by process, p99", quantiles("fanfare_backbone_lag_seconds", by="instance", of=(0.99,)), "s", limit=2,
          note="One that stands out is starved, or far from NATS.", runbook="FanfareBackboneLagging"),
    Panel("Time through NATS", quantiles("fanfare_delivery_seconds", 'hop="backbone"'), "s",
          note="Of messages, from the publish to the nodes of its subscribers: two nodes' clocks.", runbook="FanfareBackboneLagging"),
    Panel("Publishes pending", [("sum by (instance) (fanfare_backbone_pending_messages{@})", "{{instance}}")], limit=1000,
          note="Not acknowledged yet.", runbook="FanfareBackbonePending"),
    Panel("Kept in NATS", [("max by (tier) (fanfare_backbone_stream_bytes{@})", "{{tier}}")], "bytes",
          note="One copy of each stream's messages; account: all copies on all servers.", runbook="FanfareNearStreamLimit"),
    Panel("Kept of the limit", [("max by (tier) (fanfare_backbone_stream_bytes{@} / fanfare_backbone_stream_limit_bytes{@})", "{{tier}}")],
          "percentunit", limit=0.85, note="Where there is a limit.", runbook="FanfareNearStreamLimit"),
    Panel("Messages kept", [("max by (tier) (fanfare_backbone_stream_messages{@})", "{{tier}}")], runbook="FanfareNearStreamLimit"),
    Panel("Consumers", [("max by (tier) (fanfare_backbone_consumers{@})", "{{tier}}")],
          note="Watches of buckets and the webhook queue; none belongs to a client or a channel."),
    Panel("Elections", [("max by (namespace) (increase(fanfare_backbone_stream_leader_changes_total{@}[$__rate_interval]))", "elections")],
          note="Of streams' leaders. Each holds up a stream's publishes for up to nine seconds.", runbook="FanfareBackboneLagging"),
]

CONTROL = [
    Panel("Age of the copy of apps and keys", [("max by (instance) (fanfare_control_snapshot_age_seconds{@})", "{{instance}}")],
          "s", limit=300, runbook="FanfareSnapshotStale"),
    Panel("Control replicas that nodes report to", [("min by (instance) (fanfare_control_links{@})", "{{instance}}")],
          runbook="FanfareControlUnreachable"),
    Panel("Who divides quotas", [("max by (instance) (fanfare_control_leader{@}) == 1", "{{instance}}")],
          note="One at a time.", runbook="FanfareControlUnreachable"),
    Panel("Nodes that report", [("max by (instance) (fanfare_control_nodes{@}) > 0", "{{instance}}")],
          note="To each control replica; all the same if all is well.", runbook="FanfareControlUnreachable"),
    Panel("Refused by quota", [
        ("sum by (quota) (rate(fanfare_quota_rejected_total{@}[$__rate_interval])) > 0", "{{quota}}")], "ops",
          note="Which app it is: below, or fanfare admin usage watch, fanfare admin tail."),
    Panel("Minutes of usage lost", [
        ("sum by (instance) (increase(fanfare_usage_minutes_lost_total{@}[$__rate_interval]))", "{{instance}}")],
          note="Must stay 0.", runbook="FanfareUsageLost"),
    Panel("Top apps by connections", [("topk(10, sum by (app) (fanfare_app_connections{@}))", "{{app}}")],
          note="Where metrics.apps is above 0; the rest are in `other`."),
    Panel("Top apps by publishes", [("topk(10, sum by (app) (rate(fanfare_app_messages_in_total{@}[$__rate_interval])))", "{{app}}")], "ops"),
    Panel("Top apps by deliveries", [("topk(10, sum by (app) (rate(fanfare_app_messages_out_total{@}[$__rate_interval])))", "{{app}}")], "ops"),
    Panel("Top apps by bytes sent", [("topk(10, sum by (app) (rate(fanfare_app_delivered_bytes_total{@}[$__rate_interval])))", "{{app}}")], "Bps"),
    Panel("Refused by quota, by app", [
        ("topk(10, sum by (app, quota) (rate(fanfare_app_quota_rejected_total{@}[$__rate_interval])) > 0)", "{{app}} {{quota}}")], "ops"),
    Panel("Apps counted together", [("max by (instance) (fanfare_apps_in_other{@})", "{{instance}}")],
          note="Those beyond metrics.apps."),
]

WORKER = [
    Panel("Requests, by result", rate("fanfare_webhook_requests_total", "result"), "reqps", runbook="FanfareWebhooksBehind"),
    Panel("From event to receiver", quantiles("fanfare_webhook_delivery_seconds"), "s", note="Retries included.",
          runbook="FanfareWebhooksBehind"),
    Panel("Answers of receivers", quantiles("fanfare_webhook_request_seconds"), "s", note="One attempt, failed ones included.",
          runbook="FanfareWebhooksGivenUp"),
    Panel("Oldest that waits", [("max(fanfare_webhook_oldest_seconds{@})", "age")], "s", limit=300,
          note="Neither delivered nor given up. A receiver that fails makes it 290 s, and no more.", runbook="FanfareWebhooksBehind"),
    Panel("Waiting", [("sum(fanfare_webhook_waiting{@})", "events")], note="Each once for each receiver.",
          runbook="FanfareWebhooksBehind"),
    Panel("Dead letters", [
        ("sum by (reason) (increase(fanfare_webhook_dead_letters_total{@}[$__rate_interval]))", "{{reason}}")],
          runbook="FanfareWebhooksGivenUp"),
    Panel("Who acts", [("max by (instance) (fanfare_worker_active{@}) == 1", "{{instance}}")], note="One at a time.",
          runbook="FanfareWorkerAbsent"),
    Panel("Events and retries", [
        ("sum(rate(fanfare_webhook_events_total{@}[$__rate_interval]))", "events"),
        ("sum(rate(fanfare_webhook_retries_total{@}[$__rate_interval]))", "retries")], "ops", runbook="FanfareWebhooksBehind"),
    Panel("Events lost before the queue", [
        ("sum by (instance) (increase(fanfare_webhook_events_lost_total{@}[$__rate_interval]))", "{{instance}}")],
          runbook="FanfareWebhookEventsLost"),
]

DASHBOARDS = {
    "fanfare-service": ("Fanfare / Service", [("Service", SERVICE), ("Canary", CANARY), ("Rollout", ROLLOUT)]),
    "fanfare-edge": ("Fanfare / Edge", [("Edge", EDGE), ("Fan-out", FAN_OUT), ("Recovery", RECOVERY), ("Presence", PRESENCE)]),
    "fanfare-cluster": ("Fanfare / Cluster", [("Backbone", BACKBONE), ("Control and quotas", CONTROL), ("Worker", WORKER)]),
}


def panel_json(panel, number, x, y):
    steps = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    custom = {"lineWidth": 1, "fillOpacity": 20 if panel.stacked else 0, "showPoints": "never", "spanNulls": False,
              "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
              "thresholdsStyle": {"mode": "off" if panel.limit is None else "line"}}
    shown = {
        "id": number,
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.note,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": HEIGHT},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "legendFormat": legend,
             "expr": query.replace("@", 'namespace=~"$namespace"')}
            for index, (query, legend) in enumerate(panel.queries)],
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": None if panel.stat or panel.unit == "percentunit" else 0,
                                     "custom": {} if panel.stat else custom,
                                     "thresholds": {"mode": "absolute", "steps": steps}}, "overrides": []},
        "options": {} if panel.stat else {"legend": {"displayMode": "list", "placement": "bottom"},
                                          "tooltip": {"mode": "multi", "sort": "desc"}},
    }
    if panel.runbook:
        shown["links"] = [{"title": f"Runbook: {panel.runbook}", "url": f"${{runbooks}}{panel.runbook}.md", "targetBlank": True}]
    return shown


def dashboard_json(uid, title, rows):
    panels, number, y = [], 0, 0
    for name, row in rows:
        number += 1
        panels.append({"id": number, "type": "row", "title": name, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}})
        x, y = 0, y + 1
        for panel in row:
            if x + panel.width > COLUMNS:
                x, y = 0, y + HEIGHT
            number += 1
            panels.append(panel_json(panel, number, x, y))
            x += panel.width
        y += HEIGHT
    variables = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {"name": "namespace", "label": "Cluster", "type": "query", "datasource": SOURCE, "refresh": 2, "multi": True,
         "query": "label_values(fanfare_build_info, namespace)", "includeAll": True, "allValue": ".*",
         "current": {"text": "All", "value": "$__all"}},
        # A chart or a provisioning script puts the real place here.
        {"name": "runbooks", "label": "Runbooks", "type": "constant", "hide": 2, "query": "https://fanfare.example/runbooks/"},
    ]
    links = [{"type": "dashboards", "title": "Fanfare", "tags": ["fanfare"], "asDropdown": False, "includeVars": True,
              "keepTime": True}]
    return {"uid": uid, "title": title, "tags": ["fanfare"], "schemaVersion": 39, "version": 1, "editable": True,
            "graphTooltip": 1, "refresh": "30s", "time": {"from": "now-3h", "to": "now"}, "timezone": "browser",
            "templating": {"list": variables}, "links": links, "annotations": {"list": []}, "panels": panels}


def written():
    """The text of each file, by its name."""
    return {f"{uid}.json": json.dumps(dashboard_json(uid, title, rows), indent=1) + "\n"
            for uid, (title, rows) in DASHBOARDS.items()}


def main():
    check, differ = "--check" in sys.argv[1:], False
    for name, text in written().items():
        path = HERE / name
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{name} is not what dashboards.py writes; run it", file=sys.stderr)
            differ = True
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
