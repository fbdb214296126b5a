"""Clients that come by TLS, as through a balancer: WebSockets of Pusher, event streams of Ably, and Pusher's own library to
publish."""

import contextlib
import http.client
import json
import socket
import ssl
import threading

import pusher
import urllib3
import websocket
from pusher.requests import RequestsBackend
from support import APP, KEY, SECRET

# Some of the certificates are nobody's but the balancer's own.
TLS = ssl.create_default_context()
TLS.check_hostname, TLS.verify_mode = False, ssl.CERT_NONE
urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

ANSWER_SECONDS = 15
RETRY_SECONDS = 0.1
MOVED = 4200


class Closed(Exception):
    """A WebSocket was closed, with a code and a reason."""


# What a client gets that is not let in, or whose connection breaks.
REFUSED = (OSError, http.client.HTTPException, websocket.WebSocketException, Closed)


def next_event(opened):
    """The next event on a WebSocket. Raises `Closed`."""
    opcode, data = opened.recv_data()
    if opcode == websocket.ABNF.OPCODE_CLOSE:
        raise Closed(int.from_bytes(data[:2], "big"), data[2:].decode())
    return json.loads(data)


def open_socket(port, source="127.0.0.1", headers=None):
    """A Pusher connection from an address. Raises one of REFUSED if there is none."""
    tcp = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS, source_address=(source, 0))
    with contextlib.ExitStack() as stack:
        stack.callback(tcp.close)
        tls = stack.enter_context(TLS.wrap_socket(tcp, server_hostname="localhost"))
        opened = websocket.create_connection(f"wss://localhost:{port}/app/{KEY}?protocol=7", socket=tls, header=headers)
        event = next_event(opened)
        assert event["event"] == "pusher:connection_established", event
        opened.socket_id = json.loads(event["data"])["socket_id"]
        stack.pop_all()
    return opened


def websocket_events(port, channel):
    """Subscribes: gives nothing once that is done, then the name of each event, until it is told to come back."""
    with contextlib.closing(open_socket(port)) as opened:
        opened.settimeout(None)
        opened.send(json.dumps({"event": "pusher:subscribe", "data": {"channel": channel}}))
        try:
            while True:
                name = next_event(opened)["event"]
                yield None if name == "pusher_internal:subscription_succeeded" else name
        except Closed as closed:
            if closed.args[0] != MOVED:
                raise


def event_stream(port, channel):
    """Opens one: gives nothing once it begins, then the name of each message, until its end."""
    with contextlib.closing(http.client.HTTPSConnection("localhost", port, context=TLS)) as connection:
        connection.request("GET", f"/sse?v=1.2&channels={channel}&key={KEY}:{SECRET}")
        answer = connection.getresponse()
        if answer.status != 200:
            raise http.client.HTTPException(answer.status)
        begun = False
        for line in answer:
            if line.startswith(b"data:"):
                yield json.loads(line[len("data:"):]).get("name")
            elif line.startswith(b"id:") and not begun:
                begun = True
                yield None


class Background:
    """Something that goes on beside the test until that ends. Remembers what went wrong."""

    def __init__(self, test):
        self.failures = []
        self.stopped = threading.Event()
        test.addCleanup(self.stopped.set)
        threading.Thread(target=self.run, daemon=True).start()


class Listener(Background):
    """A client that comes back whenever its connection ends."""

    def __init__(self, test, kind, port, channel):
        self.kind, self.port, self.channel = kind, port, channel
        self.is_here, self.moves, self.received = False, 0, set()
        super().__init__(test)

    def run(self):
        while not self.stopped.is_set():
            try:
                for name in self.kind(self.port, self.channel):
                    self.is_here = True
                    self.received.add(name)
                self.moves += 1
            except REFUSED as error:
                self.failures.append(repr(error))
                self.stopped.wait(RETRY_SECONDS)
            self.is_here = False


class Backend(RequestsBackend):
    """That of Pusher's library, for certificates that nobody signed."""

    def __init__(self, client, **options):
        super().__init__(client, **options)
        self.options["verify"] = self.session.trust_env = False


def publisher(port):
    """Pusher's own library, which keeps its connection."""
    return pusher.Pusher(app_id=APP, key=KEY, secret=SECRET, host="localhost", port=port, ssl=True, backend=Backend)


class Publisher(Background):
    """Publishes again and again over one kept connection."""

    def __init__(self, test, port, channel, pace_seconds):
        self.client, self.channel, self.pace_seconds, self.published = publisher(port), channel, pace_seconds, 0
        super().__init__(test)

    def run(self):
        while not self.stopped.wait(self.pace_seconds):
            try:
                self.client.trigger(self.channel, "tick", {})
                self.published += 1
            except Exception as error:  # Whatever it is, it is told.
                self.failures.append(repr(error))
