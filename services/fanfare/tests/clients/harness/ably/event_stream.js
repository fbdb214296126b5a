// Server-sent events as a page reads them, and the bare stream for what an EventSource hides.

import { EventSource } from 'eventsource';
import { Inbox } from '../inbox.js';
import { keyOf } from './credentials.js';

/** The path of a stream. `params` may hold credentials; without any it has the app's key. */
export function streamPath(app, channels, { path = '/sse', ...params } = {}) {
  const hasCredentials = 'key' in params || 'accessToken' in params;
  const query = {
    v: '1.2',
    channels: [channels].flat().join(','),
    ...(hasCredentials ? {} : { key: keyOf(app) }),
    ...params,
  };
  return `${path}?${new URLSearchParams(query)}`;
}

/** An EventSource with everything that it tells in inboxes. */
export class EventReader {
  /** The objects in the events `message`, with the event's `lastEventId` beside. */
  messages = new Inbox();
  /** The same of the events `presence`. */
  presence = new Inbox();
  /** The objects in the events `error` that the server sent. */
  errors = new Inbox();
  /** `open` and `error` of the connection. */
  states = new Inbox();

  /** One that connects; it ends with the test `t`. `params` are those of the query. */
  constructor(t, { host, port }, app, channels, params = {}) {
    this.source = new EventSource(`http://${host}:${port}${streamPath(app, channels, params)}`);
    t.after(() => this.source.close());
    const isEnveloped = params.enveloped !== 'false';
    const read = ({ data }) => (isEnveloped ? JSON.parse(data) : data);
    this.source.addEventListener('message', (event) =>
      this.messages.push({ id: event.lastEventId, message: read(event) }),
    );
    this.source.addEventListener('presence', (event) =>
      this.presence.push({ id: event.lastEventId, event: JSON.parse(event.data) }),
    );
    this.source.addEventListener('open', () => this.states.push('open'));
    this.source.addEventListener('error', (event) => {
      if (event.data) this.errors.push(JSON.parse(event.data));
      else this.states.push('error');
    });
  }

  /** One that is connected. */
  static async open(t, address, app, channels, params) {
    const reader = new EventReader(t, address, app, channels, params);
    await reader.opened();
    return reader;
  }

  /** Waits for the `times`-th time that it is connected. */
  opened(times = 1) {
    const reached = (states) => states.filter((state) => state === 'open').length >= times;
    return this.states.until(reached, `the stream to be open for time ${times}`);
  }

  /** Waits for `count` messages and answers them. */
  async received(count) {
    return (await this.messages.count(count, `${count} messages`)).map(({ message }) => message);
  }

  /** Waits for the message of this name. */
  async message(name) {
    const isIt = ({ message }) => message.name === name;
    return (await this.messages.find(isIt, `the message ${name} in the stream`)).message;
  }

  /** The data of all messages of this name so far. */
  data(name) {
    const wanted = this.messages.items.filter(({ message }) => message.name === name);
    return wanted.map(({ message }) => message.data);
  }

  /** The id of the last message. */
  get lastId() {
    return this.messages.items.at(-1)?.id;
  }
}

/** The bare stream: its headers, and its pieces of text in an inbox. */
export async function bareStream(t, { host, port }, path, headers = {}) {
  const ended = new AbortController();
  t.after(() => ended.abort());
  const response = await fetch(`http://${host}:${port}${path}`, { headers, signal: ended.signal });
  const pieces = new Inbox();
  const reading = (async () => {
    const decoder = new TextDecoder();
    try {
      for await (const piece of response.body) pieces.push(decoder.decode(piece, { stream: true }));
    } catch (error) {
      if (!ended.signal.aborted) pieces.push(`\n${error}\n`);
    }
    return 'ended';
  })();
  const text = () => pieces.items.join('');
  const until = (probe, what, ms) => pieces.until(() => probe(text()), what, ms);
  return { status: response.status, headers: response.headers, text, until, ended: reading };
}
