// A TCP load balancer in miniature: one address for clients, and a choice of nodes behind it.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class FrontDoor {
  host = '127.0.0.1';
  #server = createServer((client) => this.#forward(client));
  #sockets = new Set();
  #target;

  /** One that sends new connections to `node`, until the test ends. */
  static async open(t, node) {
    const door = new FrontDoor();
    door.leadTo(node);
    door.#server.listen(0, door.host);
    await once(door.#server, 'listening');
    t.after(() => door.#close());
    return door;
  }

  get port() {
    return this.#server.address().port;
  }

  /** Sends connections made from now on to `node`; those that exist stay where they are. */
  leadTo(node) {
    this.#target = node;
  }

  #forward(client) {
    const upstream = connect({ host: this.#target.host, port: this.#target.port });
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ]) {
      this.#sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroySoon();
      });
      socket.pipe(other);
    }
  }

  #close() {
    this.#sockets.forEach((socket) => socket.destroy());
    this.#server.close();
  }
}
