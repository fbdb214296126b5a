"""A bit of everything that a site has to do, over TLS: Pusher clients, an event stream that comes back, publishes, and a
receiver of webhooks."""

import base64
import hashlib
import hmac
import http.client
import http.server
import json
import os
import socket
import ssl
import threading

from support import KEY, SECRET

PATIENCE_SECONDS = 30


class Pusher:
    """A connection, established once it is made. On one thread: libraries that read and write on two lose what Python's
    TLS does not guard, now and then."""

    def __init__(self, address, context):
        tcp = socket.create_connection((address, 6001), PATIENCE_SECONDS)
        self.socket = context.wrap_socket(tcp, server_hostname=address)
        self.input = self.socket.makefile("rb")
        self.socket.sendall((f"GET /app/{KEY}?protocol=7 HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n"
                             "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                             f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n").encode())
        status = self.input.readline()
        assert b" 101 " in status, status
        while self.input.readline() != b"\r\n":
            pass
        self.id = json.loads(self.await_event("pusher:connection_established")["data"])["socket_id"]

    def send(self, event, data, **more):
        body = json.dumps({"event": event, "data": data, **more}).encode()
        length = bytes([0x80 | len(body)]) if len(body) < 126 else bytes([0x80 | 126]) + len(body).to_bytes(2, "big")
        # Masked with zeros.
        self.socket.sendall(b"\x81" + length + bytes(4) + body)

    def receive(self):
        """The next event: servers send them in one frame each, and no ping as soon as this."""
        first, length = self.input.read(2)
        length = int.from_bytes(self.input.read({126: 2, 127: 8}[length]), "big") if length > 125 else length
        body = self.input.read(length)
        assert first == 0x81, (first, body)
        return json.loads(body)

    def await_event(self, name):
        while (event := self.receive())["event"] != name:
            pass
        return event

    def close(self):
        self.input.close()
        self.socket.close()

    def subscribe(self, channel, user=None):
        data, signed = {"channel": channel}, f"{self.id}:{channel}"
        if user:
            data["channel_data"] = json.dumps({"user_id": user})
            signed += f":{data['channel_data']}"
        if "-" in channel:
            data["auth"] = f"{KEY}:{hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest()}"
        self.send("pusher:subscribe", data)
        self.await_event("pusher_internal:subscription_succeeded")


def https(address, context):
    return http.client.HTTPSConnection(address, 6001, timeout=PATIENCE_SECONDS, context=context)


def publish(address, context, channel, credentials=f"{KEY}:{SECRET}"):
    """Over the REST API of Ably. Gives the status."""
    connection = https(address, context)
    token = base64.b64encode(credentials.encode()).decode()
    connection.request("POST", f"/channels/{channel}/messages", '{"name":"n","data":"d"}',
                       {"Content-Type": "application/json", "Authorization": f"Basic {token}"})
    status = connection.getresponse().status
    connection.close()
    return status


def next_event(address, context, channel, last="", meanwhile=lambda: None):
    """Opens an event stream, behind an event or at the present, and gives the identifier of the next event."""
    connection = https(address, context)
    connection.request("GET", f"/event-stream?v=1.2&channels={channel}&key={KEY}:{SECRET}",
                       headers={"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {}))
    response = connection.getresponse()
    assert response.status == 200, response.read()
    meanwhile()
    for line in response:
        if line.startswith(b"id:"):
            connection.close()
            return line.decode()[3:].strip()
    raise AssertionError("the stream ended")


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


def trust(folder):
    return ssl.create_default_context(cafile=folder / "ca.pem")
