// A TCP load balancer in miniature: one address for clients, and a choice of nodes behind it.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { Inbox } from './inbox.js';

export class FrontDoor {
  host = '127.0.0.1';
  #server = createServer((client) => this.#forward(client));
  /** `{ client, upstream, isStranded }` of each connection. */
  #pairs = new Set();
  #targets;
  #target;
  #next = 0;
  #tap;

  /** One that sends new connections to `nodes`, to each in turn, until the test ends. */
  static async open(t, ...nodes) {
    const door = new FrontDoor();
    door.leadTo(...nodes);
    door.#server.listen(0, door.host);
    await once(door.#server, 'listening');
    t.after(() => door.#close());
    return door;
  }

  get port() {
    return this.#server.address().port;
  }

  /** Sends connections made from now on to `nodes`, to each in turn; those that exist stay where they are. */
  leadTo(...nodes) {
    this.#targets = nodes;
  }

  /** The node that the newest connection goes to. */
  get target() {
    return this.#target;
  }

  /** Ends every connection without a word, to both sides. */
  cut() {
    for (const { client, upstream } of this.#pairs) {
      client.destroy();
      upstream.destroy();
    }
  }

  /** Ends every connection for its client; the node does not learn of it before the returned function is called. */
  strand() {
    const stranded = [...this.#pairs];
    for (const pair of stranded) {
      pair.isStranded = true;
      pair.client.destroy();
    }
    return () => stranded.forEach(({ upstream }) => upstream.destroy());
  }

  /** An inbox for all that nodes send from now on, as text in pieces. */
  tap() {
    this.#tap ??= new Inbox();
    return this.#tap;
  }

  #forward(client) {
    this.#target = this.#targets[this.#next++ % this.#targets.length];
    const { host, port } = this.#target;
    const upstream = connect({ host, port });
    upstream.on('data', (piece) => this.#tap?.push(piece.toString('latin1')));
    const pair = { client, upstream, isStranded: false };
    this.#pairs.add(pair);
    upstream.on('close', () => this.#pairs.delete(pair));
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ]) {
      socket.on('error', () => other.destroy());
      socket.on('close', () => pair.isStranded || other.destroySoon());
      socket.pipe(other);
    }
  }

  #close() {
    this.cut();
    this.#server.close();
  }
}
