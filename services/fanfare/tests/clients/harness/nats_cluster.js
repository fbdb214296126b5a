// A real NATS JetStream cluster on loopback.

import { join } from 'node:path';
import { request } from './http.js';
import { natsServer } from './paths.js';
import { freePorts } from './ports.js';
import { ServerProcess } from './server_process.js';
import { within } from './wait.js';

const NODES = 3;
/** Electing the first leader takes a few seconds, more on a busy machine. */
const START_MS = 120_000;

/** How long a server in lame duck mode hands over what it leads, and takes to send its clients away; NATS allows no less. */
const [LAME_DUCK_GRACE, LAME_DUCK] = ['1s', '30s'];
/** It ends sooner if it has few clients: one is sent away in a second. */
const LAME_DUCK_MS = 120_000;

const loopback = (port) => `127.0.0.1:${port}`;

function configuration({ name, ports, routes, store }) {
  return `
server_name: ${name}
listen: "${loopback(ports.client)}"
http: "${loopback(ports.monitor)}"
jetstream { store_dir: "${store}" }
lame_duck_grace_period: "${LAME_DUCK_GRACE}"
lame_duck_duration: "${LAME_DUCK}"
cluster {
  name: fanfare-clients
  listen: "${loopback(ports.route)}"
  routes: [${routes.map((route) => `"nats://${loopback(route)}"`).join(', ')}]
}
`;
}

export class NatsCluster {
  #workspace;
  #nodes = [];

  constructor(workspace) {
    this.#workspace = workspace;
  }

  /** What fanfare's `--nats` wants. */
  get urls() {
    return this.#nodes.map((node) => `nats://${loopback(node.ports.client)}`).join(',');
  }

  async start() {
    const ports = await freePorts(3 * NODES);
    this.#nodes = Array.from({ length: NODES }, (_, index) => {
      const [client, route, monitor] = ports.slice(3 * index, 3 * index + 3);
      return { name: `nats-${index + 1}`, ports: { client, route, monitor } };
    });
    for (const node of this.#nodes) node.server = this.#launch(node);
    await Promise.all(this.#nodes.map(ready));
  }

  /** All nodes, whether they run or not. */
  get nodes() {
    return this.#nodes;
  }

  /** The node that leads the most streams whose names begin so. */
  async leaderOfMost(prefix) {
    const counts = await Promise.all(this.#nodes.map((node) => countLed(node, prefix)));
    const most = Math.max(...counts);
    if (most === 0) throw new Error(`no node leads a stream named ${prefix}…`);
    return this.#nodes[counts.indexOf(most)];
  }

  /** `kill -9`. */
  kill(node) {
    return node.server.kill();
  }

  /** SIGTERM, and waits for its end. */
  terminate(node) {
    return node.server.terminate();
  }

  /** Starts a node that has ended, and waits until it has caught up. */
  async restart(node) {
    node.server = this.#launch(node);
    await ready(node);
  }

  /** Replaces a node as production does: lame duck mode, its end, a new start, and then all of them are healthy. */
  async roll(node) {
    node.server.signal('SIGUSR2');
    await within(node.server.exited, `the end of ${node.name} after lame duck mode`, LAME_DUCK_MS);
    await this.restart(node);
    await Promise.all(this.#nodes.map(ready));
  }

  async stop() {
    await Promise.all(this.#nodes.map((node) => node.server?.kill()));
  }

  #launch({ name, ports }) {
    const routes = this.#nodes.map((node) => node.ports.route).filter((route) => route !== ports.route);
    const store = this.#workspace.directory(join('jetstream', name));
    const config = this.#workspace.file(`${name}.conf`, configuration({ name, ports, routes, store }));
    return new ServerProcess(name, natsServer(), ['--config', config]);
  }
}

const ready = (node) => node.server.ready(() => isReady(node), `${node.name} to be ready`, START_MS);

/** How many streams whose names begin so a node leads, by its own account. */
async function countLed({ name, ports }, prefix) {
  const { account_details: accounts } = (await request({ port: ports.monitor, path: '/jsz?streams=true' })).json();
  const streams = accounts.flatMap(({ stream_detail: details }) => details);
  return streams.filter((stream) => stream.name.startsWith(prefix) && stream.cluster.leader === name).length;
}

/** Whether a node is healthy and knows a leader; the leader, whether every other node follows it. */
async function isReady({ name, ports }) {
  const health = await request({ port: ports.monitor, path: '/healthz' });
  if (health.status !== 200) return false;
  const { meta_cluster: meta } = (await request({ port: ports.monitor, path: '/jsz' })).json();
  if (!meta?.leader || meta.cluster_size !== NODES) return false;
  return meta.leader !== name || meta.replicas.every((replica) => replica.current);
}
