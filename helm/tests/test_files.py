"""What the chart holds besides templates: copies, and what is generated."""

import json
import os
import pathlib
import re
import tomllib
import unittest

import yaml

import chart
import values_schema

BLESS = os.environ.get("FANFARE_BLESS") == "1"


class Copies(unittest.TestCase):
    def same(self, copy: pathlib.Path, text: str, source: str):
        """Compares, or writes anew."""
        if BLESS:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text)
        self.assertTrue(copy.exists(), f"{copy} is missing: FANFARE_BLESS=1 deploy/dev/helm.sh")
        self.assertTrue(copy.read_text() == text, f"{copy} is not {source}: FANFARE_BLESS=1 deploy/dev/helm.sh")

    def test_schema_is_what_values_say(self):
        self.same(values_schema.SCHEMA, values_schema.generate(), "what values.yaml says")

    def test_rules_are_those_of_deploy(self):
        source = chart.ROOT / "deploy/prometheus/fanfare.rules.yml"
        self.same(chart.CHART / "files/fanfare.rules.yml", source.read_text(), source)

    def test_dashboards_are_those_of_deploy(self):
        sources = {path.name: path for path in (chart.ROOT / "deploy/grafana").glob("fanfare-*.json")}
        self.assertTrue(sources, "there are dashboards")
        copies = {path.name: path for path in (chart.CHART / "files/dashboards").glob("*.json")}
        if BLESS:
            for name in copies.keys() - sources.keys():
                copies.pop(name).unlink()
        for name, source in sources.items():
            self.same(chart.CHART / "files/dashboards" / name, source.read_text(), source)
        self.assertLessEqual(copies.keys(), sources.keys(), "a copy has no source any more")

    def test_app_version_is_the_workspaces(self):
        workspace = tomllib.loads((chart.ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        self.assertEqual(yaml.safe_load((chart.CHART / "Chart.yaml").read_text())["appVersion"], workspace)

    def test_pods_run_the_image_as_it_is_made(self):
        """Arguments need the entry point to be the binary; the user is the image's, and is numeric."""
        lines = (chart.ROOT / "deploy/docker/Dockerfile").read_text().splitlines()
        pod = chart.render(chart.CLUSTER).at("Deployment/fanfare-edge:spec.template.spec")
        security = pod["securityContext"]
        self.assertIn(f"USER {security['runAsUser']}:{security['runAsGroup']}", lines)
        self.assertIn('ENTRYPOINT ["/fanfare"]', lines)
        # Variables win over the file, which is to have the last word: those of the image are taken back.
        last_stage = "\n".join(lines).rpartition("\nFROM ")[2]
        set_by_image = set(re.findall(r"\b(FANFARE_\w+)=", last_stage))
        empty = {env["name"] for env in pod["containers"][0]["env"] if env.get("value") == ""}
        self.assertEqual(empty, set_by_image)
        exposed = {port for line in lines if line.startswith("EXPOSE ") for port in line.split()[1:]}
        self.assertLessEqual({str(port["containerPort"]) for port in pod["containers"][0]["ports"]}, exposed)

    def test_every_value_is_described(self):
        """By a comment of its own, or by that of the table around it where its name says the rest."""
        roles = {"edge", "control", "worker"}

        def bare(path, schema, described):
            """Values without a comment."""
            children = schema.get("properties", {})
            if not (children or described or "description" in schema):
                yield path
            for key, child in children.items():
                yield from bare(f"{path}.{key}".lstrip("."), child, path not in roles and "description" in schema)

        values = json.loads(values_schema.generate())["properties"]
        del values["global"]
        self.assertEqual(list(bare("", {"properties": values}, False)), [])
