// One fanfare process: start, drain, kill, start again on the same ports.

import { request } from './http.js';
import { fanfareBinary } from './paths.js';
import { freePorts } from './ports.js';
import { ServerProcess } from './server_process.js';
import { nodeEnvironment } from './settings.js';

/** Creating the streams and buckets of a new cluster takes the longest. */
const START_MS = 60_000;
/** More than a drain is set to take. */
const DRAIN_MS = 30_000;

export class Node {
  #arguments;
  #server;

  /** `makeArguments(ports)` answers the command line. */
  static async create(name, makeArguments) {
    const [client, control, admin] = await freePorts(3);
    return new Node(name, { client, control, admin }, makeArguments);
  }

  constructor(name, ports, makeArguments) {
    this.name = name;
    this.ports = ports;
    this.#arguments = makeArguments(ports);
  }

  host = '127.0.0.1';

  /** The port for clients and publishers. */
  get port() {
    return this.ports.client;
  }

  async start() {
    this.#server = new ServerProcess(this.name, fanfareBinary(), this.#arguments, nodeEnvironment());
    await this.#server.ready(() => this.isReady(), `${this.name} to answer /readyz with 200`, START_MS);
  }

  /** Whether it asks for new clients. */
  async isReady() {
    return (await request({ port: this.ports.admin, path: '/readyz' })).status === 200;
  }

  /** Tells it to stop, without waiting. */
  beginDrain() {
    this.#server.signal('SIGTERM');
  }

  /** Waits for the end of a node told to stop; answers `{ code, signal }`. */
  drained() {
    return this.#server.terminate(DRAIN_MS);
  }

  /** `kill -9`. */
  async kill() {
    await this.#server?.kill();
  }
}
