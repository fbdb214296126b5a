// One fanfare process: start, drain, kill, start again on the same ports.

import { request } from './http.js';
import { fanfareBinary } from './paths.js';
import { freePorts } from './ports.js';
import { ServerProcess } from './server_process.js';
import { nodeEnvironment } from './settings.js';

/** Creating the streams and buckets of a new cluster takes the longest. */
const START_MS = 180_000;
/** More than a drain is set to take. */
const DRAIN_MS = 120_000;

/** Every node of this process, also those that have ended. */
const nodes = [];

/** Secrets that the logs of any node tell, in words. */
export const leaks = () => nodes.flatMap((node) => node.leaks);

export class Node {
  #arguments;
  #binary;
  #server;
  /** Every process that it has been. */
  #servers = [];

  /** `makeArguments(ports)` answers the command line of `binary`. */
  static async create(name, makeArguments, binary = fanfareBinary()) {
    const [client, control, admin] = await freePorts(3);
    return new Node(name, { client, control, admin }, makeArguments, binary);
  }

  constructor(name, ports, makeArguments, binary) {
    this.name = name;
    this.ports = ports;
    this.#arguments = makeArguments(ports);
    this.#binary = binary;
    nodes.push(this);
  }

  host = '127.0.0.1';

  /** The port for clients and publishers. */
  get port() {
    return this.ports.client;
  }

  async start() {
    this.#server = new ServerProcess(this.name, this.#binary, this.#arguments, nodeEnvironment());
    this.#servers.push(this.#server);
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

  /** The last lines that it wrote. */
  get output() {
    return this.#server.outputSince();
  }

  /** Secrets that its logs tell, in words. */
  get leaks() {
    return this.#servers.flatMap(({ leaks }) => leaks);
  }

  /** `kill -9`. */
  async kill() {
    await this.#server?.kill();
  }
}
