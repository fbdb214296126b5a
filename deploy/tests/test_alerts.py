"""The Prometheus rules: sound by themselves, computed from what the binary exports, and tested both ways."""

import re
import unittest

from support import DEPLOY, RULES, RUNBOOKS, alerts, load, mistakes_in_query, promtool, rules, run

BASE = "https://fanfare.example/runbooks/"
TESTS = DEPLOY / "prometheus" / "fanfare.rules.test.yml"


def seconds(duration):
    """Of 90s, 4m, 1h."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


class Alerts(unittest.TestCase):
    def test_rules_are_valid(self):
        code, output = run(promtool(), "check", "rules", str(RULES))
        self.assertEqual(code, 0, output)

    def test_rules_do_what_their_unit_tests_say(self):
        code, output = run(promtool(), "test", "rules", TESTS.name, cwd=TESTS.parent)
        self.assertEqual(code, 0, output)

    def test_scrape_configuration_is_valid(self):
        code, output = run(promtool(), "check", "config", "--syntax-only", str(DEPLOY / "prometheus" / "prometheus.yml"))
        self.assertEqual(code, 0, output)

    def test_every_series_and_label_is_in_the_catalogue(self):
        for rule in rules():
            with self.subTest(rule=rule.get("alert") or rule["record"]):
                self.assertEqual(mistakes_in_query(rule["expr"]), [])

    def test_every_alert_tells_what_a_reader_needs(self):
        for alert in alerts():
            with self.subTest(alert=alert["alert"]):
                self.assertIn(alert["labels"]["severity"], ("critical", "warning"))
                notes = alert["annotations"]
                self.assertEqual(set(notes), {"summary", "description", "runbook_url"})
                self.assertTrue(notes["runbook_url"].startswith(BASE), notes["runbook_url"])
                page = RUNBOOKS / notes["runbook_url"].removeprefix(BASE)
                self.assertTrue(page.is_file(), f"{page} is missing")

    def test_every_alert_is_seen_to_fire_and_not_to_fire(self):
        fires, silent = set(), set()
        for test in load(TESTS)["tests"]:
            for case in test.get("promql_expr_test", []):
                for name in re.findall(r'alertname="(\w+)"', case["expr"]):
                    (fires if case["exp_samples"] else silent).add(name)
            for case in test.get("alert_rule_test", []):
                (fires if case["exp_alerts"] else silent).add(case["alertname"])
        # By cluster or node: one of several fires, and so the others do not.
        for test in load(TESTS)["tests"]:
            for case in test.get("promql_expr_test", []):
                if "by (" in case["expr"] and case["exp_samples"] and len(test["input_series"]) > len(case["exp_samples"]):
                    silent |= set(re.findall(r'alertname="(\w+)"', case["expr"]))
        names = {alert["alert"] for alert in alerts()}
        self.assertEqual(names - fires, set(), "never seen to fire")
        self.assertEqual(names - silent, set(), "never seen to be silent")
        self.assertEqual((fires | silent) - names, set(), "tests of alerts that are not there")

    def test_every_alert_is_seen_to_end(self):
        """In one test it fires, and at a later time it does not, whoever fired."""
        ends = set()
        for test in load(TESTS)["tests"]:
            fired = {}
            for case in sorted(test.get("promql_expr_test", []), key=lambda case: seconds(case["eval_time"])):
                for name in re.findall(r'alertname="(\w+)"', case["expr"]):
                    if case["exp_samples"]:
                        fired[name] = True
                    elif fired.get(name) and " by (" not in case["expr"]:
                        ends.add(name)
        self.assertEqual({alert["alert"] for alert in alerts()} - ends, set(), "never seen to end")


if __name__ == "__main__":
    unittest.main()
