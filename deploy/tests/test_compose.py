"""The compose file: everything that it names is there, and every process accepts what it is given."""

import os
import pathlib
import re
import shutil
import tempfile
import unittest

from machines import NETWORK, Site
from support import DEPLOY, answer, fanfare, load, nats_server, run

COMPOSE = DEPLOY / "compose"
FILE = COMPOSE / "compose.yml"
MADE_BY_SECRETS = COMPOSE / "secrets"


def services():
    return load(FILE)["services"]


def ours():
    return {name: service for name, service in services().items() if service["image"].startswith("fanfare:")}


def nodes():
    """Those that are part of the cluster; the canary is a client."""
    return {name: service for name, service in ours().items() if "FANFARE_ROLES" in service["environment"]}


def has_plugin():
    return shutil.which("docker") and run("docker", "compose", "version")[0] == 0


class Compose(unittest.TestCase):
    def with_secrets(self):
        """A copy of the folder with the secrets that its script makes."""
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        for path in COMPOSE.iterdir():
            if path.is_file():
                shutil.copy(path, folder)
        code, output = run(str(folder / "secrets.sh"))
        self.assertEqual(code, 0, output)
        return folder

    def test_parts_of_the_cluster_are_there(self):
        names = set(services())
        self.assertEqual(names, {"nats-1", "nats-2", "nats-3", "edge-1", "edge-2", "edge-3", "control", "worker", "canary", "prometheus", "grafana"})
        roles = [service["environment"]["FANFARE_ROLES"] for service in nodes().values()]
        self.assertEqual(sorted(roles), ["control", "edge", "edge", "edge", "worker"])

    def test_secrets_are_made_once_and_for_their_owner(self):
        folder = self.with_secrets()
        secrets = folder / "secrets"
        self.assertEqual(secrets.stat().st_mode & 0o777, 0o700)
        before = {path.name: path.read_text() for path in secrets.iterdir()}
        self.assertEqual(set(before), {"cluster.key", "admin.token", "nats.password", "nats-password.conf"})
        for name in ("cluster.key", "admin.token", "nats.password"):
            self.assertRegex(before[name], r"^[0-9a-f]{64}$")
        self.assertEqual(before["nats-password.conf"].count(before["nats.password"]), 4, "the servers' own, and for each route")
        self.assertEqual(len({before["cluster.key"], before["admin.token"], before["nats.password"]}), 3)
        run(str(folder / "secrets.sh"))
        self.assertEqual({path.name: path.read_text() for path in secrets.iterdir()}, before)
        self.assertIn("/secrets/", (COMPOSE / ".gitignore").read_text().splitlines())

    def test_everything_named_is_there(self):
        compose = load(FILE)
        made = self.with_secrets() / "secrets"
        for name, service in compose["services"].items():
            with self.subTest(service=name):
                for other in service.get("depends_on", {}):
                    self.assertIn(other, compose["services"])
                for secret in service.get("secrets", []):
                    self.assertIn(secret, compose["secrets"])
                for volume in service.get("volumes", []):
                    source, target = volume.split(":")[:2]
                    self.assertTrue(target.startswith("/"))
                    if source.startswith("./secrets/"):
                        self.assertTrue((made / pathlib.Path(source).name).is_file(), source)
                    elif source.startswith("."):
                        self.assertTrue((COMPOSE / source).exists(), source)
                        self.assertTrue(volume.endswith(":ro"), volume)
                    else:
                        self.assertIn(source, compose["volumes"])
                if "build" in service:
                    context = COMPOSE / service["build"]["context"]
                    self.assertTrue((context / service["build"]["dockerfile"]).is_file())
                self.assertRegex(service["image"], r":v?\d+\.\d+\.\d+(-\w+)?$", "an image without a version")
        for secret in compose["secrets"].values():
            self.assertTrue((made / pathlib.Path(secret["file"]).name).is_file())
        used = {volume.split(":")[0] for service in compose["services"].values() for volume in service.get("volumes", [])}
        self.assertEqual(set(compose["volumes"]) - used, set())

    def test_ports_are_on_loopback_and_differ(self):
        ports = [port for service in services().values() for port in service.get("ports", [])]
        for port in ports:
            self.assertTrue(port.startswith("127.0.0.1:"), port)
        self.assertEqual(len({port.split(":")[1] for port in ports}), len(ports))

    def test_every_process_accepts_its_settings(self):
        secrets = self.with_secrets() / "secrets"
        files = {f"/run/secrets/{name}": secrets / pathlib.Path(secret["file"]).name
                 for name, secret in load(FILE)["secrets"].items()}
        files["/etc/fanfare/apps.toml"] = DEPLOY / "dev" / "apps.toml"
        for name, service in nodes().items():
            with self.subTest(service=name):
                given = {f"/run/secrets/{secret}" for secret in service["secrets"]}
                given |= {volume.split(":")[1] for volume in service.get("volumes", [])}
                environment = {"PATH": os.environ["PATH"]}
                for key, value in service["environment"].items():
                    self.assertIsInstance(value, str)
                    if value.startswith("/"):
                        self.assertIn(value, given, f"{key} names what is not mounted")
                        value = str(files[value])
                    environment[key] = value
                code, output = run(fanfare(), "config", "check", "--strict", env=environment)
                self.assertEqual(code, 0, output)

    def test_the_canary_is_a_command_of_the_binary(self):
        canary = services()["canary"]
        # With --help last nothing is done, but what comes before it has to be known.
        code, output = run(fanfare(), *canary["command"], "--help")
        self.assertEqual(code, 0, output)
        # The health check of the image is of use to it, too.
        self.assertIn("0.0.0.0:6003", canary["command"])
        demo = (DEPLOY / "dev" / "apps.toml").read_text()
        self.assertIn(canary["environment"]["FANFARE_KEY_SECRET"], demo)
        self.assertIn(canary["command"][canary["command"].index("--key") + 1], demo)

    def test_stopping_may_take_as_long_as_a_drain(self):
        for name, service in ours().items():
            self.assertGreaterEqual(int(service["stop_grace_period"].removesuffix("s")), 85, name)

    def test_containers_have_no_rights(self):
        for name, service in ours().items():
            with self.subTest(service=name):
                self.assertTrue(service["read_only"])
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertNotIn("user", service)

    def test_nats_accepts_its_configuration(self):
        folder = self.with_secrets()
        shutil.copy(folder / "secrets" / "nats-password.conf", folder / "password.conf")
        path = folder / "nats.conf"
        path.write_text(path.read_text().replace('"/data"', f'"{folder}/data"'))
        for name in ("nats-1", "nats-2", "nats-3"):
            environment = {key: value for key, value in services()[name]["environment"].items()}
            code, output = run(nats_server(), "-t", "-c", str(path), env=environment)
            self.assertEqual(code, 0, output)
            mounts = [volume.split(":")[1] for volume in services()[name]["volumes"]]
            self.assertEqual(mounts, ["/etc/nats/nats.conf", "/etc/nats/password.conf", "/data"])

    def test_nats_makes_a_cluster(self):
        """With addresses in place of the names that Docker gives."""
        made = self.with_secrets()
        addresses = {f"nats-{n}": f"{NETWORK}.5{n}" for n in (1, 2, 3)}
        with Site() as site:
            routes = (made / "secrets" / "nats-password.conf").read_text()
            for name, address in addresses.items():
                routes = routes.replace(f"{name}:6222", f"{address}:6222")
            (site.folder / "password.conf").write_text(routes)
            for name, address in addresses.items():
                text = (made / "nats.conf").read_text().replace('"0.0.0.0:', f'"{address}:')
                (site.folder / f"{name}.conf").write_text(text.replace('"/data"', f'"{site.folder}/{name}"'))
                variables = services()[name]["environment"] | {"PATH": os.environ["PATH"]}
                site.start(name, nats_server(), "-c", str(site.folder / f"{name}.conf"), env=variables)
            for address in addresses.values():
                site.eventually(lambda address=address: answer(f"http://{address}:8222/healthz")[0] == 200)

    def test_prometheus_scrapes_every_process(self):
        scraped = load(DEPLOY / "prometheus" / "prometheus.yml")
        targets = {job["job_name"]: sorted(target for part in job["static_configs"] for target in part["targets"])
                   for job in scraped["scrape_configs"]}
        self.assertEqual(targets, {"fanfare": sorted(f"{name}:6003" for name in ours()),
                                   "fanfare-apps": sorted(f"{name}:6003" for name in nodes())})
        for name, service in nodes().items():
            self.assertGreater(int(service["environment"]["FANFARE_METRICS_APPS"]), 0, name)
        mounted = {volume.split(":")[1] for volume in services()["prometheus"]["volumes"]}
        self.assertLessEqual(set(scraped["rule_files"]), mounted)

    def test_grafana_finds_prometheus_and_all_dashboards(self):
        provisioning = DEPLOY / "grafana" / "provisioning"
        source = load(provisioning / "datasources" / "prometheus.yml")["datasources"][0]
        name, port = re.fullmatch(r"http://([\w-]+):(\d+)", source["url"]).groups()
        self.assertTrue(services()[name]["ports"][0].endswith(f":{port}"))
        path = load(provisioning / "dashboards" / "fanfare.yml")["providers"][0]["options"]["path"]
        mounted = {volume.split(":")[1] for volume in services()["grafana"]["volumes"]}
        for board in (DEPLOY / "grafana").glob("*.json"):
            self.assertIn(f"{path}/{board.name}", mounted)

    @unittest.skipUnless(has_plugin(), "docker compose is not installed")
    def test_docker_understands_it(self):
        code, output = run("docker", "compose", "-f", str(FILE), "config", "--quiet")
        self.assertEqual(code, 0, output)


if __name__ == "__main__":
    unittest.main()
