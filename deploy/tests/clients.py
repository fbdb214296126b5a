"""Clients of a site, by TLS: WebSockets of Pusher, event streams and publishes of Ably, Pusher's own library to publish, and a
receiver of webhooks."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import http.server
import json
import socket
import ssl
import threading

import pusher
import urllib3
import websocket
from pusher.requests import RequestsBackend
from support import APP, KEY, PATIENCE_SECONDS, SECRET

RETRY_SECONDS = 0.1
MOVED = 4200
urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


class Closed(Exception):
    """A WebSocket was closed, with a code and a reason."""


# What a client gets that is not let in, or whose connection breaks.
REFUSED = (OSError, http.client.HTTPException, websocket.WebSocketException, Closed)


class Entrance:
    """Where clients come in. Without an authority they take any certificate: some balancers make one up."""

    def __init__(self, host, port=6001, authority=None):
        self.host, self.port = host, port
        self.tls = ssl.create_default_context(cafile=authority)
        if authority is None:
            self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    def https(self):
        return http.client.HTTPSConnection(self.host, self.port, timeout=PATIENCE_SECONDS, context=self.tls)

    def publish(self, channel, credentials=f"{KEY}:{SECRET}"):
        """Over the REST API of Ably. Gives the status."""
        token = base64.b64encode(credentials.encode()).decode()
        with contextlib.closing(self.https()) as connection:
            connection.request("POST", f"/channels/{channel}/messages", '{"name":"n","data":"d"}',
                               {"Content-Type": "application/json", "Authorization": f"Basic {token}"})
            return connection.getresponse().status

    def library(self):
        """Pusher's own library, which keeps its connection."""
        return pusher.Pusher(app_id=APP, key=KEY, secret=SECRET, host=self.host, port=self.port, ssl=True, backend=Backend,
                             timeout=PATIENCE_SECONDS)

    def events(self, channel, last=""):
        """Opens an event stream, behind an event or at the present: the identifier and the name of each event until its end.
        The first has no name, and says that the stream has begun."""
        with contextlib.closing(self.https()) as connection:
            connection.request("GET", f"/event-stream?v=1.2&channels={channel}&key={KEY}:{SECRET}",
                               headers={"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {}))
            answer = connection.getresponse()
            if answer.status != 200:
                raise http.client.HTTPException(answer.status)
            yield last, None
            event, name = "", None
            for line in answer:
                if line.startswith(b"id:"):
                    event = line.decode()[3:].strip()
                elif line.startswith(b"data:"):
                    name = json.loads(line[len("data:"):]).get("name")
                elif not line.strip() and name:
                    yield event, name
                    name = None


class Backend(RequestsBackend):
    """That of Pusher's library, for certificates that nobody signed."""

    def __init__(self, client, **options):
        super().__init__(client, **options)
        self.options["verify"] = self.session.trust_env = False


class Pusher:
    """A WebSocket, established once it is made. Raises one of REFUSED if it is not let in."""

    def __init__(self, entrance, source="127.0.0.1", headers=None):
        address = (entrance.host, entrance.port)
        tcp = socket.create_connection(address, timeout=PATIENCE_SECONDS, source_address=(source, 0))
        with contextlib.ExitStack() as stack:
            stack.callback(tcp.close)
            tls = stack.enter_context(entrance.tls.wrap_socket(tcp, server_hostname=entrance.host))
            url = f"wss://{entrance.host}:{entrance.port}/app/{KEY}?protocol=7"
            self.socket = websocket.create_connection(url, socket=tls, header=headers)
            self.id = json.loads(self.await_event("pusher:connection_established")["data"])["socket_id"]
            stack.pop_all()

    def send(self, event, data, **more):
        self.socket.send(json.dumps({"event": event, "data": data, **more}))

    def receive(self):
        """The next event. Raises `Closed`."""
        opcode, data = self.socket.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise Closed(int.from_bytes(data[:2], "big"), data[2:].decode())
        return json.loads(data)

    def await_event(self, name):
        while (event := self.receive())["event"] != name:
            pass
        return event

    def subscribe(self, channel, user=None):
        data, signed = {"channel": channel}, f"{self.id}:{channel}"
        if user:
            data["channel_data"] = json.dumps({"user_id": user})
            signed += f":{data['channel_data']}"
        if channel.startswith(("private-", "presence-")):
            data["auth"] = f"{KEY}:{hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest()}"
        self.send("pusher:subscribe", data)
        self.await_event("pusher_internal:subscription_succeeded")

    @contextlib.contextmanager
    def sending(self, event, channel):
        """Sends a client event again and again meanwhile: what comes before a node has heard of a subscriber is nobody's."""
        done = threading.Event()

        def send():
            while not done.wait(0.2):
                self.send(event, {}, channel=channel)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            done.set()
            sender.join()

    def close(self):
        self.socket.close()


def websocket_events(entrance, channel):
    """Subscribes: gives nothing once that is done, then the name of each event, until it is told to come back."""
    with contextlib.closing(Pusher(entrance)) as client:
        client.socket.settimeout(None)
        try:
            client.subscribe(channel)
            yield None
            while True:
                yield client.receive()["event"]
        except Closed as closed:
            if closed.args[0] != MOVED:
                raise


def event_stream(entrance, channel):
    """Opens one: gives nothing once it begins, then the name of each message, until its end."""
    return (name for _, name in entrance.events(channel))


class Background:
    """Something that goes on beside the test until that ends. Remembers what went wrong."""

    def __init__(self, test):
        self.failures = []
        self.stopped = threading.Event()
        test.addCleanup(self.stopped.set)
        threading.Thread(target=self.run, daemon=True).start()


class Listener(Background):
    """A client that comes back whenever its connection ends."""

    def __init__(self, test, kind, entrance, channel):
        self.kind, self.entrance, self.channel = kind, entrance, channel
        self.is_here, self.moves, self.received = False, 0, set()
        super().__init__(test)

    def run(self):
        while not self.stopped.is_set():
            try:
                for name in self.kind(self.entrance, self.channel):
                    self.is_here = True
                    self.received.add(name)
                self.moves += 1
            except REFUSED as error:
                self.failures.append(repr(error))
                self.stopped.wait(RETRY_SECONDS)
            self.is_here = False


class Publisher(Background):
    """Publishes again and again over one kept connection."""

    def __init__(self, test, entrance, channel, pace_seconds):
        self.client, self.channel, self.pace_seconds, self.published = entrance.library(), channel, pace_seconds, 0
        super().__init__(test)

    def run(self):
        while not self.stopped.wait(self.pace_seconds):
            try:
                self.client.trigger(self.channel, "tick", {})
                self.published += 1
            except Exception as error:  # Whatever it is, it is told.
                self.failures.append(repr(error))


class Receiver(http.server.ThreadingHTTPServer):
    """Takes webhooks on loopback, after it has refused the first."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.taken = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *reason):
        self.shutdown()
        super().__exit__(*reason)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken += 1
        self.send_response(500 if self.server.taken == 1 else 200)
        self.end_headers()

    def log_message(self, *_):
        pass
