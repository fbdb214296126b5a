"""The load balancers of docs/operations/balancers.md as they stand there: only addresses, ports and the places of files are
replaced. What the page leaves to the machine (modules, temporary files) is added from outside, as far as a program can be
told so."""

import json
import os
import pathlib
import re
import socket

from clients import REFUSED, Entrance, Pusher
from machines import address
from ports import free_port
from support import ROOT, program

PAGE = ROOT / "docs" / "operations" / "balancers.md"
# Where deploy/dev/ops.sh puts Debian's packages.
UNPACKED = ROOT / ".tools" / "balancers"


def examples(way):
    """The first code in each language of a section of the page."""
    section = re.search(rf"^## {way}.*?(?=^## |\Z)", PAGE.read_text(), re.M | re.S)[0]
    return dict(reversed(re.findall(r"^```(\w+)\n(.*?)^```", section, re.M | re.S)))


# How edges are told of clients, as the page's headings begin.
BY_PROXY, BY_HEADERS = "By the PROXY protocol", "By headers"
# The edges that are told in each way.
PAIRS = {BY_PROXY: ("edge-1", "edge-2"), BY_HEADERS: ("edge-3", "edge-4")}


def settings(way):
    """What makes the file of the edge role one of the page."""
    told = examples(way)["toml"].replace("10.0.0.0/8", "127.0.0.1")
    assert told.startswith("[edge]\n"), told

    def change(text):
        text = text.replace("[edge]\n", told)
        # Balancers that pass bytes on leave TLS to edges, and others end it.
        return text if way == BY_PROXY else text.partition("[tls]")[0]

    return change


class Balancer:
    """One that the page shows, at a port of loopback, before a pair of edges. There is TLS on the way either way."""

    # As the page calls the language of its configuration.
    language = ""
    # Whether it asks edges how they are.
    has_checks = True

    def __init__(self, site, way):
        self.site, self.edges = site, [address(name) for name in PAIRS[way]]
        self.name = f"{self.language}, {way.lower()}"
        self.folder = site.folder / self.name.replace(" ", "-").replace(",", "")
        self.folder.mkdir()
        self.entrance = Entrance("localhost", free_port())
        self.file = self.folder / "conf"
        self.file.write_text(self.placed(examples(way)[self.language]))
        name = type(self).__name__.lower()
        self.program = program(name.upper(), name, f".tools/balancers/usr/sbin/{name}", f".tools/balancers/usr/bin/{name}")
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder),
                            "LD_LIBRARY_PATH": ":".join(map(str, UNPACKED.glob("usr/lib/*-linux-gnu")))}
        self.check, command = self.commands()
        site.start(self.folder.name, *command, env=self.environment)
        site.eventually(self.serves, lambda: f"{self.name}, serves")

    def placed(self, text):
        """The page's text with the addresses, ports and files of this machine."""
        for theirs, its in zip(("10.0.0.11:", "10.0.0.12:"), self.edges):
            text = text.replace(theirs, f"{its}:")
        text = text.replace("rt.example.com", f"localhost:{self.entrance.port}")
        text = re.sub(r"(bind |listen ):?443", rf"\g<1>127.0.0.1:{self.entrance.port}", text)
        text = re.sub(r"/etc/(haproxy|nginx)/", f"{self.site.folder}/", text)
        assert "10.0.0." not in text, text
        return text

    def commands(self):
        """What checks its configuration, and what runs it in the foreground."""
        raise NotImplementedError

    def serves(self):
        try:
            Pusher(self.entrance).close()
            return True
        except REFUSED:
            return False


class HAProxy(Balancer):
    language = "haproxy"

    def commands(self):
        self.watch, aside = self.folder / "socket", self.folder / "aside"
        aside.write_text(f"global\n    stats socket {self.watch}\n")
        # A warning is a failure.
        common = [self.program, "-dW", "-f", str(self.file)]
        return [*common, "-c"], [*common, "-db", "-f", str(aside)]

    def health(self):
        """Whether each edge is up, None before it was asked."""
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(str(self.watch))
            asked.sendall(b"show stat json\n")
            answer = b"".join(iter(lambda: asked.recv(65536), b""))
        rows = [{cell["field"]["name"]: cell["value"]["value"] for cell in row} for row in json.loads(answer)]
        servers = {row["svname"]: row for row in rows}
        return [servers[name]["status"] != "DOWN" and ("check_code" in servers[name] or None) for name in ("edge1", "edge2")]


class Nginx(Balancer):
    language = "nginx"
    has_checks = False

    def commands(self):
        kinds = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
        temporary = " ".join([f"{kind}_temp_path {self.folder}/{kind};" for kind in kinds])
        self.file.write_text(self.file.read_text().replace("http {", f"http {{ access_log off; {temporary}", 1))
        asides = [f"pid {self.folder}/pid; error_log stderr;"]
        if os.geteuid() == 0:
            asides.append("user root;")
        if "stream {" in self.file.read_text():
            # Debian has it in a package of its own, others inside.
            places = [folder / "usr/lib/nginx/modules/ngx_stream_module.so" for folder in (UNPACKED, pathlib.Path("/"))]
            asides += [f"load_module {place};" for place in places if place.exists()][:1]
        common = [self.program, "-e", "stderr", "-p", str(self.folder), "-c", str(self.file), "-g"]
        return [*common, " ".join(asides), "-t"], [*common, " ".join(["daemon off;", *asides])]


class Caddy(Balancer):
    language = "caddyfile"

    def commands(self):
        aside = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n\tdefault_bind 127.0.0.1\n}\n"
        self.file.write_text(aside + self.file.read_text())
        common = ["--config", str(self.file), "--adapter", "caddyfile"]
        return [self.program, "validate", *common], [self.program, "run", *common]

    def health(self):
        """Whether each edge is up, as its log tells: its metrics are renewed every ten seconds."""
        log = self.site.log(self.folder.name)
        return [f'"status code out of tolerances","status_code":503,"host":"{host}:' not in log for host in self.edges]


# All that the page shows.
SHOWN = [(way, kind) for way in (BY_PROXY, BY_HEADERS) for kind in (HAProxy, Nginx, Caddy) if kind.language in examples(way)]
