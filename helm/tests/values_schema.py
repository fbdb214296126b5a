"""Makes values.schema.json of values.yaml: descriptions from comments, types from defaults, the rest from `@schema`."""

import json

import yaml

from chart import CHART

VALUES = CHART / "values.yaml"
SCHEMA = CHART / "values.schema.json"


def comment_above(lines, number):
    """The comment right above a line, and the schema that its `@schema` lines say."""
    texts, extra = [], {}
    while number > 0 and lines[number - 1].strip().startswith("#"):
        number -= 1
        text = lines[number].strip().lstrip("#").strip()
        if text.startswith("@schema "):
            extra = {**yaml.safe_load(text.removeprefix("@schema ")), **extra}
        else:
            texts.insert(0, text)
    return " ".join(texts).strip(), extra


def type_of(value):
    for kind, name in [(bool, "boolean"), (int, "integer"), (str, "string"), (list, "array"), (dict, "object")]:
        if isinstance(value, kind):
            return {"type": name}
    return {}


SECRET = {"pattern": "^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$", "maxLength": 253}
ANNOTATIONS = {"additionalProperties": {"type": "string"}}
# The chart's own labels select pods: another value would make Deployments that Kubernetes refuses, or Services that
# lead to others' pods.
LABELS = {**ANNOTATIONS, "propertyNames": {"not": {"pattern": r"^(app\.kubernetes\.io/|helm\.sh/chart$)"}}}
AMOUNTS = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
NAMED = {"items": {"type": "object", "required": ["name"]}}

# What a key means wherever it stands. Tables among these have keys that are Kubernetes'.
EVERYWHERE = {
    **dict.fromkeys(("existingSecret", "caSecret", "clientSecret", "clientCaSecret", "dataClaim"), SECRET),
    "key": {"pattern": "^[A-Za-z0-9._-]+$"},
    **dict.fromkeys(("nameOverride", "fullnameOverride"), {"pattern": "^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$"}),
    **dict.fromkeys(("labels", "podLabels", "commonLabels"), LABELS),
    **dict.fromkeys(("annotations", "podAnnotations", "commonAnnotations"), ANNOTATIONS),
    "resources": {"additionalProperties": False, "properties": {
        "requests": AMOUNTS, "limits": AMOUNTS, "claims": {"type": "array"}}},
    "behavior": {"additionalProperties": False, "properties": {
        "scaleUp": {"type": "object"}, "scaleDown": {"type": "object"}}},
    **dict.fromkeys(("env", "volumes"), NAMED),
    "volumeMounts": {"items": {"type": "object", "required": ["name", "mountPath"]}},
    "port": {"minimum": 1, "maximum": 65535},
    # A share of the pods, or a number of them. With none, nodes could never be emptied.
    "maxUnavailable": {"type": ["integer", "string"], "minimum": 1, "pattern": "^[1-9][0-9]?%$|^100%$"},
}


def schema_of(key, node, value, lines):
    """The schema of the value of one key."""
    description, extra = comment_above(lines, node[0].start_mark.line)
    schema = ({"description": description} if description else {}) | type_of(value)
    if key in EVERYWHERE:
        schema |= EVERYWHERE[key]
    elif isinstance(value, dict) and value:
        schema |= {"additionalProperties": False, "properties": properties(node[1], value, lines)}
    return schema | extra


def properties(node, values, lines):
    children = {key.value: (key, child) for key, child in node.value}
    return {key: schema_of(key, children[key], value, lines) for key, value in values.items()}


def generate():
    """The text of values.schema.json."""
    text = VALUES.read_text()
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart fanfare",
        "description": "Generated from values.yaml: FANFARE_BLESS=1 deploy/dev/helm.sh",
        "type": "object",
        "additionalProperties": False,
        "properties": properties(yaml.compose(text), yaml.safe_load(text), text.splitlines()),
    }
    # What Helm adds for subcharts.
    schema["properties"]["global"] = {"type": "object"}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
