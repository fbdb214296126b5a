"""What the chart asks Kubernetes for: how many edges there are, when an autoscaler takes them over."""

import contextlib
import http.server
import json
import threading
import unittest

from chart import CLUSTER, chart_path, helm, nested, parse

APPS = {
    "kind": "APIResourceList",
    "groupVersion": "apps/v1",
    "resources": [
        {
            "name": "deployments",
            "singularName": "deployment",
            "namespaced": True,
            "kind": "Deployment",
            "verbs": ["get"],
        }
    ],
}


@contextlib.contextmanager
def kubernetes(deployments):
    """Enough of its API for Helm to look a Deployment up, by name. Gives the address."""
    answers = {"/apis/apps/v1": APPS}
    for name, replicas in deployments.items():
        path = f"/apis/apps/v1/namespaces/realtime/deployments/{name}"
        metadata = {"name": name, "namespace": "realtime"}
        answers[path] = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"replicas": replicas},
        }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = answers.get(self.path.partition("?")[0])
            missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            self.send_response(200 if answer else 404)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer or missing).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Live(unittest.TestCase):
    def replicas(self, deployments, values):
        with kubernetes(deployments) as address:
            server = ["--dry-run=server", "--kube-apiserver", address, "--namespace", "realtime"]
            objects = parse(
                helm("template", "fanfare", str(chart_path()), *server, values=nested({**CLUSTER, **values}))
            )
        return objects.at("Deployment/fanfare-edge:spec.replicas")

    def test_an_autoscaler_takes_over_what_is_there(self):
        scaled = {"edge.autoscaling.enabled": True}
        self.assertEqual(self.replicas({"fanfare-edge": 7}, scaled), 7)
        self.assertIsNone(self.replicas({}, scaled), "a first installation leaves it to the autoscaler")

    def test_without_autoscaler_the_value_counts(self):
        self.assertEqual(self.replicas({"fanfare-edge": 7}, {}), 3)


if __name__ == "__main__":
    unittest.main()
