"""The Grafana dashboards: written from their source, every query parsed, every metric in the catalogue."""

import json
import re
import sys
import unittest

from support import DEPLOY, RUNBOOKS, alerts, check_queries, mistakes_in_query, run

GRAFANA = DEPLOY / "grafana"
# What Grafana replaces before it asks Prometheus.
VARIABLES = {"$__rate_interval": "5m", "$__range": "6h", "$namespace": "fanfare"}


def dashboards():
    return {path.name: json.loads(path.read_text()) for path in sorted(GRAFANA.glob("*.json"))}


def panels():
    """(dashboard, panel) of every panel with queries."""
    return [(name, panel) for name, board in dashboards().items() for panel in board["panels"] if panel["type"] != "row"]


def queries():
    return [(f"{name}: {panel['title']}", target["expr"]) for name, panel in panels() for target in panel["targets"]]


class Dashboards(unittest.TestCase):
    def test_files_are_what_their_source_writes(self):
        code, output = run(sys.executable, str(GRAFANA / "dashboards.py"), "--check")
        self.assertEqual(code, 0, output)

    def test_every_query_parses(self):
        plain = []
        for _, query in queries():
            for variable, value in VARIABLES.items():
                query = query.replace(variable, value)
            self.assertNotIn("$", query, "a variable that this test does not know")
            plain.append(query)
        self.assertGreater(len(plain), 50)
        code, output = check_queries(plain)
        self.assertEqual(code, 0, output)

    def test_every_metric_and_label_is_in_the_catalogue(self):
        for place, query in queries():
            with self.subTest(panel=place):
                self.assertEqual(mistakes_in_query(query), [])

    def test_every_query_is_bound_to_the_chosen_clusters(self):
        for place, query in queries():
            with self.subTest(panel=place):
                for series in re.findall(r"\b(?:fanfare|process)_\w+(?!\w)(\{[^}]*\})?", query):
                    self.assertIn('namespace=~"$namespace"', series)

    def test_legends_name_labels_that_the_query_keeps(self):
        for name, panel in panels():
            for target in panel["targets"]:
                for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                    with self.subTest(dashboard=name, panel=panel["title"], label=label):
                        kept = set(re.split(r"\W+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
                        self.assertTrue(label in kept or " by (" not in target["expr"] or label in ("instance", "objective"))

    def test_panels_lie_side_by_side(self):
        for name, board in dashboards().items():
            taken = set()
            for panel in board["panels"]:
                place = panel["gridPos"]
                cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
                self.assertFalse(cells & taken, f"{name}: {panel['title']} lies over another panel")
                self.assertLessEqual(place["x"] + place["w"], 24)
                taken |= cells
            ids = [panel["id"] for panel in board["panels"]]
            self.assertEqual(len(ids), len(set(ids)), name)
        uids = [board["uid"] for board in dashboards().values()]
        self.assertEqual(len(uids), len(set(uids)))

    def test_links_lead_to_runbooks_and_every_alert_has_a_panel(self):
        linked = set()
        for name, panel in panels():
            for link in panel.get("links", []):
                page = link["url"].removeprefix("${runbooks}")
                self.assertTrue((RUNBOOKS / page).is_file(), f"{name}: {panel['title']} links to {page}")
                linked.add(page)
        wanted = {alert["annotations"]["runbook_url"].rsplit("/", 1)[1] for alert in alerts()}
        self.assertEqual(wanted - linked, set(), "no panel helps with these")


if __name__ == "__main__":
    unittest.main()
