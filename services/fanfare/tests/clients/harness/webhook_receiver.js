// The application's server for webhooks: it keeps every request, and answers as the test wants.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { Inbox } from './inbox.js';
import { freePort } from './ports.js';

/** Ways to answer, for `answering`. */
export const ACCEPT = (outgoing) => outgoing.writeHead(200).end();
export const fail = (status) => (outgoing) => outgoing.writeHead(status).end();
/** Never answers. */
export const HANG = () => {};
export const redirectTo = (location) => (outgoing) => outgoing.writeHead(307, { location }).end();
/** Answers after a while. */
export const slowly = (ms) => (outgoing) => setTimeout(() => ACCEPT(outgoing), ms);

/** The requests to one path. */
class Target {
  /** Each request: `{ headers, rawHeaders, body, events, time, at, accepted }`. */
  requests = new Inbox();
  /** Each event of each accepted request, in order: as in the request, and with the request as `request`. */
  events = new Inbox();
  #answer = ACCEPT;

  /** Answers in this way from now on. */
  answering(answer) {
    this.#answer = answer;
  }

  take(request, outgoing) {
    this.requests.push(request);
    outgoing.on('finish', () => {
      request.accepted = outgoing.statusCode === 200;
      if (request.accepted) for (const event of request.events) this.events.push({ ...event, request });
    });
    this.#answer(outgoing);
  }

  /** Waits for the first accepted event with these members. */
  event(members, ms) {
    return this.events.find(has(members), `the webhook ${JSON.stringify(members)}`, ms);
  }

  /** Waits until `count` accepted events have these members, and returns them. */
  eventCount(members, count, ms) {
    const enough = () => this.all(members).length >= count && this.all(members);
    return this.events.until(enough, `${count} webhooks ${JSON.stringify(members)}`, ms);
  }

  /** The accepted events with these members so far. */
  all(members) {
    return this.events.items.filter(has(members));
  }

  /** The requests so far that told, among others, of an event with these members. */
  attempts(members) {
    return this.requests.items.filter(({ events }) => events.some(has(members)));
  }
}

const has = (members) => (event) => Object.entries(members).every(([name, value]) => event[name] === value);

export class WebhookReceiver {
  #targets = new Map();
  #port;
  #server;

  /** Listens; after `stop`, on the same port again. */
  async start() {
    this.#port ??= await freePort();
    this.#server = createServer((incoming, outgoing) => this.#take(incoming, outgoing));
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  /** Refuses connections and ends those that there are. */
  async stop() {
    if (!this.#server) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
    this.#server = undefined;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** The requests to `path`. */
  at(path) {
    if (!this.#targets.has(path)) this.#targets.set(path, new Target());
    return this.#targets.get(path);
  }

  async #take(incoming, outgoing) {
    let body = '';
    try {
      for await (const chunk of incoming.setEncoding('utf8')) body += chunk;
    } catch {
      // The sender is gone before it has told everything.
      return;
    }
    const { method, headers, rawHeaders, url } = incoming;
    const { events, time_ms: time } = JSON.parse(body);
    this.at(url).take({ method, headers, rawHeaders, body, events, time, at: performance.now() }, outgoing);
  }
}
