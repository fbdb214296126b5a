"""The systemd unit and the settings beside it: understood by systemd and by the binary, and long enough a stop."""

import os
import pathlib
import re
import shutil
import tempfile
import unittest

from support import DEPLOY, fanfare, nats_server, run

SYSTEMD = DEPLOY / "systemd"
UNIT = SYSTEMD / "fanfare@.service"
NATS_UNIT = SYSTEMD / "nats-server.service"
ROLES = ("edge", "control", "worker")
UNITS = {"ms": 0.001, "s": 1, "m": 60}


def directives(unit=UNIT):
    """(section, name, value) of each line of a unit."""
    section, found = None, []
    for line in unit.read_text().splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
        elif line and not line.startswith("#"):
            name, value = line.split("=", 1)
            found.append((section, name, value))
    return found


def only(name, unit=UNIT):
    values = [value for _, found, value in directives(unit) if found == name]
    assert len(values) == 1, f"{name}: {values}"
    return values[0]


def seconds(text):
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|s|m)", text))


def setting(key):
    """The default of a key."""
    code, output = run(fanfare(), "config", "show", env={"PATH": os.environ["PATH"], "FANFARE_ADMIN_TOKEN": "only-for-the-check"})
    assert code == 0, output
    for line in output.splitlines():
        if line.startswith(f"{key} ="):
            return line.split("=", 1)[1].strip().strip('"')
    raise AssertionError(f"{key} is not in:\n{output}")


class Systemd(unittest.TestCase):
    def for_role(self, role):
        """The unit as it would run for a role, with the binary of the tests."""
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        path = folder / f"fanfare@{role}.service"
        text = UNIT.read_text()
        self.assertEqual(text.count("/usr/bin/fanfare "), 2)
        path.write_text(text.replace("/usr/bin/fanfare ", f"{pathlib.Path(fanfare()).resolve()} "))
        return path

    def for_nats(self):
        path = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / NATS_UNIT.name
        path.write_text(NATS_UNIT.read_text().replace("/usr/bin/nats-server ", f"{nats_server()} "))
        return path

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd is not installed")
    def test_systemd_understands_the_unit(self):
        for path in [*map(self.for_role, ROLES), self.for_nats()]:
            code, output = run("systemd-analyze", "verify", "--man=no", str(path))
            self.assertEqual((code, output.strip()), (0, ""))

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd is not installed")
    def test_the_unit_is_exposed_to_little(self):
        # The scale is 0 to 10, in tenths here; 2.0 is what systemd calls "OK" by far.
        for path in (self.for_role("edge"), self.for_nats()):
            code, output = run("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(path))
            self.assertEqual(code, 0, output)

    def test_it_runs_without_rights(self):
        self.assertEqual(only("User"), "fanfare")
        self.assertEqual(only("CapabilityBoundingSet"), "")
        self.assertEqual(only("NoNewPrivileges"), "yes")
        self.assertEqual(only("ProtectSystem"), "strict")
        self.assertRegex((SYSTEMD / "fanfare.sysusers").read_text(), r"(?m)^u fanfare ")

    def test_stopping_may_take_as_long_as_a_drain(self):
        drain = seconds(setting("drain.grace")) + seconds(setting("drain.duration"))
        self.assertGreater(drain, 0)
        self.assertGreaterEqual(seconds(only("TimeoutStopSec")), drain + 15)
        self.assertEqual(only("KillSignal"), "SIGTERM")

    def test_nats_may_be_a_lame_duck_for_as_long_as_it_takes(self):
        config = (DEPLOY / "nats" / "server.conf").read_text()
        duck = seconds(re.search(r'^lame_duck_duration: "(\w+)"', config, re.M)[1])
        self.assertGreaterEqual(seconds(only("TimeoutStopSec", NATS_UNIT)), duck + 15)
        self.assertEqual(only("KillSignal", NATS_UNIT), "SIGUSR2")
        self.assertIn(f'store_dir: "/var/lib/{only("StateDirectory", NATS_UNIT)}"', config)

    def test_there_are_descriptors_for_every_connection(self):
        connections = int(setting("edge.max_connections"))
        self.assertGreaterEqual(int(only("LimitNOFILE")), connections * 1.2)

    def test_commands_are_those_of_the_binary(self):
        for name in ("ExecStartPre", "ExecStart"):
            words = only(name).replace("%i", "edge").split()[1:]
            code, output = run(fanfare(), *words, "--help")
            self.assertEqual(code, 0, output)

    def test_settings_are_those_of_the_binary(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        code, key = run(fanfare(), "config", "new-key")
        self.assertEqual(code, 0)
        for secret in ("cluster.key", "nats.password", "admin.token"):
            (folder / secret).write_text(key)
        for role in ROLES:
            path = folder / f"{role}.toml"
            path.write_text((SYSTEMD / path.name).read_text().replace("/etc/fanfare", str(folder)))
            code, output = run(fanfare(), "config", "check", "--strict", "--config", str(path), "--role", role,
                               env={"PATH": os.environ["PATH"]})
            self.assertEqual(code, 0, output)

    def test_roles_on_one_machine_do_not_meet(self):
        listeners = [re.search(r"\[admin\].*?^listen = \"[^\"]*:(\d+)\"", (SYSTEMD / f"{role}.toml").read_text(), re.M | re.S)[1]
                     for role in ROLES]
        self.assertEqual(len(set(listeners)), len(ROLES))


if __name__ == "__main__":
    unittest.main()
