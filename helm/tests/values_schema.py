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


# Tables whose keys are Kubernetes', not ours.
FREE = {"resources", "behavior", "labels"}


def schema_of(key, node, value, lines):
    """The schema of the value of one key."""
    description, extra = comment_above(lines, node[0].start_mark.line)
    schema = ({"description": description} if description else {}) | type_of(value)
    if isinstance(value, dict) and value and key not in FREE:
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
