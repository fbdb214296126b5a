"""Renders the chart as `helm template` does, and looks into what came out."""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/fanfare"
EXAMPLES = sorted((ROOT / "helm/examples").glob("*.yaml"))
HELM = os.environ.get("HELM", str(ROOT / ".tools/venv/bin/helm"))

# What a cluster needs at least.
CLUSTER = {
    "clusterKey.existingSecret": "cluster-key",
    "adminToken.existingSecret": "admin-token",
    "backbone.nats.urls": ["nats://nats:4222"],
}
# The same with NATS from the chart.
INSTALLED = {**CLUSTER, "backbone.nats.urls": [], "nats.enabled": True}
# One process without NATS.
SINGLE = {"adminToken.existingSecret": "admin-token", "backbone.kind": "memory", "edge.replicas": 1}


NOTES_OBJECT = """\
{{- define "notes" }}%s{{ end }}
kind: ConfigMap
metadata: { name: notes }
data: { notes: {{ include "notes" . | quote }} }
"""


class Refused(Exception):
    """What Helm said instead of rendering."""


@functools.cache
def with_stand_in():
    """A copy of the chart whose dependency is the stand-in. Lives as long as the tests."""
    directory = tempfile.TemporaryDirectory(prefix="fanfare-chart-")
    copy = pathlib.Path(directory.name) / "fanfare"
    shutil.copytree(CHART, copy, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    shutil.copytree(pathlib.Path(__file__).parent / "stand-in/nats", copy / "charts/nats")
    # What `helm install` prints at its end is seen by nobody but a cluster; as an object we see it, too.
    notes = (copy / "templates/NOTES.txt").read_text()
    (copy / "templates/notes-object.yaml").write_text(NOTES_OBJECT % notes)
    return copy, directory


def chart_path():
    return with_stand_in()[0]


def nested(values):
    """{"a.b": 1} as {"a": {"b": 1}}."""
    tree = {}
    for path, value in values.items():
        *parents, last = path.split(".")
        table = tree
        for parent in parents:
            table = table.setdefault(parent, {})
        table[last] = value
    return tree


def helm(*arguments, values=None):
    """Runs Helm with values on standard input. Gives its output."""
    more = ["--values", "-"] if values is not None else []
    command = [HELM, *arguments, *more]
    done = subprocess.run(command, input=json.dumps(values or {}), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refused(done.stdout + done.stderr)
    return done.stdout


class Objects(dict):
    """What was rendered, by `Kind/name`."""

    # What is printed after an installation.
    notes = ""

    def at(self, address):
        """What stands at `Kind/name:a.b.0.c`, or None. In a fanfare.toml goes on with the key of the setting."""
        name, _, path = address.partition(":")
        value = self.get(name)
        if path.startswith("fanfare.toml:"):
            value, path = self.settings(name), path.removeprefix("fanfare.toml:")
        for part in path.split(".") if path else []:
            if isinstance(value, list):
                value = value[int(part)] if int(part) < len(value) else None
            elif isinstance(value, dict):
                value = value.get(part.replace("|", "."))
            else:
                return None
        return value

    def settings(self, name):
        """The configuration file in a ConfigMap."""
        return tomllib.loads(self[name]["data"]["fanfare.toml"]) if name in self else None

    def kind(self, kind):
        return [value for value in self.values() if value["kind"] == kind]


def parse(text):
    objects = Objects()
    for value in yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if value:
            name = f"{value['kind']}/{value['metadata']['name']}"
            if name == "ConfigMap/notes":
                objects.notes = value["data"]["notes"]
                continue
            assert name not in objects, f"{name} is rendered twice"
            objects[name] = value
    return objects


@functools.cache
def _render(values_json, release):
    return helm("template", release, str(chart_path()), "--namespace", "realtime", values=json.loads(values_json))


def render(values=None, release="fanfare"):
    """The objects that `values`, by dotted paths, make."""
    return parse(_render(json.dumps(nested(values or {})), release))


def render_file(path):
    """The objects that a file of values makes."""
    return parse(_render(json.dumps(yaml.safe_load(path.read_text())), "fanfare"))
