"""What the tests of deploy/ share: where things are, and the programs that know whether a file is right."""

import functools
import os
import pathlib
import re
import shutil
import subprocess
import urllib.error
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"
RULES = DEPLOY / "prometheus" / "fanfare.rules.yml"
# In deploy/dev/apps.toml.
APP, KEY, SECRET = "1001", "app-key", "app-secret"
# Of the form that a cluster demands; tests take it for other secrets, too.
CLUSTER_KEY = "8d1f5f6a0b6cf0f6e1b3a8c7d9e2f4051627384950a1b2c3d4e5f60718293a4b"
# How long anything may take. Generous, since a loaded machine is slow: it is only used up by failures.
PATIENCE_SECONDS = 120


def program(variable, name, *places):
    """The program that `variable` names, or else the one at the first place where it is, or else in the path."""
    if os.environ.get(variable):
        return os.environ[variable]
    for place in places:
        if (ROOT / place).exists():
            return str(ROOT / place)
    found = shutil.which(name)
    assert found, f"{name} is not installed: deploy/dev/ops.sh installs it; or name it in {variable}"
    return found


def fanfare():
    return program("FANFARE_BIN", "fanfare", "target/debug/fanfare")


def nats_server():
    return program("NATS_SERVER", "nats-server", ".tools/venv/bin/nats-server")


def promtool():
    return program("PROMTOOL", "promtool", ".tools/prometheus/usr/bin/promtool")


def run(*command, **options):
    """Runs a command to its end and gives its exit code and everything that it printed. Some calculate for long."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=5 * PATIENCE_SECONDS,
                          check=False, **options)
    return done.returncode, done.stdout


def answer(url):
    """Status and text; status 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def load(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def rules():
    """Every rule of the rule file, in order."""
    return [rule for group in load(RULES)["groups"] for rule in group["rules"]]


def alerts():
    return [rule for rule in rules() if "alert" in rule]


# What Prometheus puts on every series by itself, and what only exists in queries.
TARGET_LABELS = {"instance", "job", "namespace", "pod"}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


@functools.cache
def catalogue():
    """Series names and the labels of each, as the binary prints them."""
    code, text = run(fanfare(), "config", "metrics")
    assert code == 0, text
    series = {}
    for name, kind, _unit, labels in re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \| ([^|]*) \|", text, re.M):
        own = set(re.findall(r"`(\w+)`", labels))
        for suffix in SUFFIXES.get(kind, ("",)):
            series[name + suffix] = own | ({"le"} if suffix == "_bucket" else set())
    assert len(series) > 40, f"the catalogue was not understood:\n{text}"
    return series


@functools.cache
def label_values():
    """The values of each label of each metric where the catalogue lists them."""
    _code, text = run(fanfare(), "config", "metrics")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| ([^|]*) \|$", text, re.M)
    return {(metric, label): set(re.findall(r"`(\w+)`", values)) for metric, label, values in rows if values.startswith("`")}


def recorded():
    """The series that recording rules make, with the labels that are known of them."""
    made = {}
    for rule in rules():
        if "record" in rule:
            made.setdefault(rule["record"], {"objective"})
    return made


def mistakes_in_query(query):
    """What a query names that neither the binary exports nor a rule records."""
    known = catalogue() | recorded()
    text = re.sub(r'"[^"]*"', '""', query)
    mistakes = []
    series_in_query = re.findall(r"\b((?:fanfare|process)[\w:]*)\s*(?:\{([^}]*)\})?", text)
    for name, matchers in series_in_query:
        if name not in known:
            mistakes.append(f"{name} is not in the catalogue")
            continue
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            if label not in known[name] | TARGET_LABELS:
                mistakes.append(f"{name} has no label {label}")
    allowed = set().union(TARGET_LABELS, *(known[name] for name, _ in series_in_query if name in known))
    for group in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", text):
        for label in filter(None, re.split(r"[\s,]+", group)):
            if label not in allowed:
                mistakes.append(f"nothing in the query has the label {label}")
    for name, matchers in re.findall(r"\b((?:fanfare|process)\w*)\s*\{([^}]*)\}", query):
        metric = re.sub(r"_(bucket|sum|count)$", "", name) if name not in label_values() else name
        for label, values in re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"', matchers):
            listed = label_values().get((metric, label)) or label_values().get((name, label))
            for value in values.split("|") if listed else ():
                if value not in listed:
                    mistakes.append(f"{name} never has {label}={value}")
    return mistakes


def check_queries(queries):
    """Has promtool parse queries: its exit code and what it says."""
    listed = [{"record": f"query:{index}", "expr": query} for index, query in enumerate(queries)]
    text = yaml.safe_dump({"groups": [{"name": "queries", "rules": listed}]})
    return run(promtool(), "check", "rules", "--lint=none", "/dev/stdin", input=text)
