"""The `ably` library for Python, driven from outside: one call a line on stdin, one answer a line on stdout, as JSON.

The first line holds the host, the TLS port, the key and the options of the clients. A call is {"method", "args"}; its
answer {"result"}, or {"error": the exception's class, "message", with Ably's code in front}. What comes by itself is
{"happened": {"kind", …}}. Bytes travel as {"bytes": base64}."""

import asyncio
import base64
import json
import sys

from ably import AblyRealtime, AblyRest
from ably.types.message import Message
from ably.util.exceptions import AblyException


def tell(line):
    print(json.dumps(line, default=lambda data: {"bytes": base64.b64encode(bytes(data)).decode()}), flush=True)


def read(data):
    return base64.b64decode(data["bytes"]) if isinstance(data, dict) and "bytes" in data else data


def shown(message):
    return {"name": message.name, "data": message.data, "client_id": message.client_id}


class Library:
    def __init__(self, host, port, key, options):
        self.rest = AblyRest(key=key, endpoint=host, tls_port=port, **options)
        # Its WebSocket takes no port but the one of TLS, unless that stands in the host.
        self.realtime = AblyRealtime(key=key, endpoint=f"{host}:{port}", auto_connect=False, **options)

    async def time(self):
        return await self.rest.time()

    async def token(self, **params):
        details = await self.rest.auth.request_token(params)
        return {"client_id": details.client_id, "issued": details.issued, "expires": details.expires}

    async def rest_publish(self, channel, name, data):
        await self.rest.channels.get(channel).publish(name, read(data))

    async def rest_publish_all(self, channel, messages):
        await self.rest.channels.get(channel).publish([Message(name, read(data)) for name, data in messages])

    async def history(self, channel, limit):
        items, page = [], await self.rest.channels.get(channel).history(direction="forwards", limit=limit)
        while True:
            items += page.items
            if not page.has_next():
                return [shown(item) for item in items]
            page = await page.next()

    async def members(self, channel):
        return [item.client_id for item in (await self.rest.channels.get(channel).presence.get()).items]

    async def connect(self):
        self.realtime.connect()
        await asyncio.wait_for(self.realtime.connection.once_async("connected"), 60)
        return self.realtime.connection.connection_details.client_id

    async def subscribe(self, channel):
        channel = self.realtime.channels.get(channel)
        await channel.subscribe(lambda message: tell({"happened": {"kind": "message", **shown(message)}}))

    async def publish(self, channel, name, data):
        await self.realtime.channels.get(channel).publish(name, read(data))

    async def watch(self, channel):
        def told(event):
            tell({"happened": {"kind": "presence", "action": int(event.action), "client_id": event.client_id}})

        await self.realtime.channels.get(channel).presence.subscribe(told)

    async def enter(self, channel, data):
        await self.realtime.channels.get(channel).presence.enter(data)

    async def present(self, channel):
        return sorted(member.client_id for member in await self.realtime.channels.get(channel).presence.get())

    async def ping(self):
        return await self.realtime.connection.ping()

    async def close(self):
        await self.realtime.close()


async def answer(library, call):
    try:
        tell({"result": await getattr(library, call["method"])(*call["args"])})
    except AblyException as error:
        tell({"error": "AblyException", "message": f"{error.code} {error.message}"})
    except Exception as error:  # whatever the library raises is an answer
        tell({"error": type(error).__name__, "message": str(error)})


async def main():
    loop = asyncio.get_running_loop()

    async def line():
        return await loop.run_in_executor(None, sys.stdin.readline)

    library = Library(**json.loads(await line()))
    while text := await line():
        await answer(library, json.loads(text))


asyncio.run(main())
