"""The real binary takes the files that the chart writes, with the variables and secrets that pods get."""

import os
import pathlib
import subprocess
import tempfile
import tomllib
import unittest

from chart import CLUSTER, ROOT, render
from scenes import all_scenes

SECRETS = "/etc/fanfare/secrets"
BACKBONE = {"attach_buffer": "2000000", "replicas": "3", "shards": "64"}
FANFARE = os.environ.get("FANFARE_BIN", str(ROOT / "target/debug/fanfare"))


def fanfare(*arguments, env=None):
    return subprocess.run([FANFARE, *arguments], capture_output=True, text=True, check=False, env=env or {})


def files_in(table, prefix=""):
    """{setting: path} of the settings that name a file of a Secret."""
    found = {}
    for key, value in table.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            found |= files_in(value, f"{path}.")
        elif isinstance(value, str) and value.startswith(SECRETS):
            found[path] = value.removeprefix(f"{SECRETS}/")
    return found


def projected(pod):
    """The names of the files that the pod finds there."""
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "secrets"]
    return [item["path"] for source in volume["projected"]["sources"] for item in source["secret"]["items"]]


def variables(container):
    """The environment of the container, with what Kubernetes fills in."""
    filled = {"status.podIP": "10.0.0.7", "metadata.name": "pod-1"}
    env = {}
    for variable in container["env"]:
        source = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        value = filled[source] if source else variable["value"]
        for name, known in env.items():
            value = value.replace(f"$({name})", known)
        assert "$(" not in value, f"{value} names a variable that is not there, or comes later"
        env[variable["name"]] = value
    return env


class Config(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not os.access(FANFARE, os.X_OK):
            raise AssertionError(f"{FANFARE} is not there: build it, or name one in FANFARE_BIN")
        cls.key = fanfare("config", "new-key").stdout.strip()

    def contents(self, name):
        """Something that fits into a file of a Secret."""
        if name == "apps.toml":
            return (ROOT / "deploy/dev/apps.toml").read_text()
        if name == "trace.headers":
            return "authorization=Basic dXNlcjp0b2tlbg==,x-team=rt"
        return self.key

    def pods(self):
        for name, objects in all_scenes():
            for deployment in objects.kind("Deployment"):
                pod = deployment["spec"]["template"]["spec"]
                if f"ConfigMap/{deployment['metadata']['name']}" not in objects:
                    continue
                text = objects[f"ConfigMap/{deployment['metadata']['name']}"]["data"]["fanfare.toml"]
                yield f"{name}: {deployment['metadata']['name']}", pod, text

    def test_binary_takes_every_file(self):
        for name, pod, text in self.pods():
            with self.subTest(name), tempfile.TemporaryDirectory() as directory:
                for file in projected(pod):
                    (pathlib.Path(directory) / file).write_text(self.contents(file))
                config = pathlib.Path(directory) / "fanfare.toml"
                config.write_text(text.replace(SECRETS, directory))
                (container,) = pod["containers"]
                self.assertEqual(container["args"], ["run", "--config", "/etc/fanfare/fanfare.toml"])
                checked = fanfare("config", "check", "--strict", "--config", str(config), env=variables(container))
                self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr + text)

    def test_a_mistake_is_seen(self):
        values = {**CLUSTER, "config": {"edge": {"ring_message": 1}}}
        text = render(values).at("ConfigMap/fanfare-edge:data")["fanfare.toml"]
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            checked = fanfare("config", "check", "--strict", "--config", file.name)
        self.assertEqual(checked.returncode, 2)
        self.assertIn("edge.ring_message", checked.stderr + checked.stdout)

    def test_pods_get_the_files_that_settings_name_and_no_others(self):
        for name, pod, text in self.pods():
            with self.subTest(name):
                found = projected(pod)
                self.assertEqual(sorted(found), sorted(set(files_in(tomllib.loads(text)).values())))

    def test_numbers_stay_whole(self):
        """Helm knows numbers as floats, and Fanfare refuses 64.0 and 2e+06."""
        values = {**CLUSTER, "config": {"backbone": {"attach_buffer": 2000000}}}
        backbone = render(values).settings("ConfigMap/fanfare-edge")["backbone"]
        self.assertEqual({key: repr(value) for key, value in backbone.items()}, BACKBONE)


if __name__ == "__main__":
    unittest.main()
