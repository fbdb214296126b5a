// A cluster as the chart makes it: three NATS nodes, edges, control plane and worker apart, each replaced as Kubernetes
// replaces them. `edges` are those that a load balancer knows of.

import { setTimeout as sleep } from 'node:timers/promises';
import { apps } from '../apps.js';
import { NatsCluster } from '../nats_cluster.js';
import { Node } from '../node.js';
import { fanfareBinary } from '../paths.js';
import { seedFile } from '../seed.js';
import { runArguments } from '../settings.js';
import { isKnownAt } from '../signed_request.js';
import { eventually } from '../wait.js';
import { Workspace } from '../workspace.js';
import { EDGES, MIN_READY_MS, SETTINGS } from './settings.js';

export const APP = apps.ably;

const LAST_LINE = /edge has drained.*?\bclosed"?[=:] ?(\d+).*?\bforced"?[=:] ?(\d+)/;

export class RolloutSite {
  name = `${EDGES} edges, control plane and worker over three NATS nodes`;
  edges = [];
  nats;
  #binary;
  #seed;
  #started = 0;
  #others = {};
  #workspace;

  /** `binary()` answers what the whole site begins with. */
  constructor(binary = fanfareBinary) {
    this.#binary = binary;
  }

  async start() {
    this.#workspace = new Workspace();
    this.#seed = this.#workspace.file('seed.toml', seedFile([APP]));
    this.nats = new NatsCluster(this.#workspace);
    await this.nats.start();
    for (const role of ['control', 'worker']) this.#others[role] = await this.#launch(role, this.#binary());
    for (let index = 0; index < EDGES; index += 1) await this.startEdge(this.#binary());
  }

  async stop() {
    await Promise.all([...this.edges, ...Object.values(this.#others)].map((node) => node.kill()));
    await this.nats?.stop();
    this.#workspace?.remove();
  }

  /** Starts one more edge, and waits until it is ready. */
  async startEdge(binary) {
    const edge = await this.#launch('edge', binary);
    await eventually(() => isKnownAt(edge, APP), `${edge.name} to know the app`);
    this.edges.push(edge);
    return edge;
  }

  /**
   * Replaces `old` edges with those of `binary` as the chart has it done, with `maxSurge: 1` and `maxUnavailable: 0`: a new
   * one is ready for a while, then an old one is told to stop; the next new one is started while that still drains.
   * Answers how each ended: `{ node, begun, code, signal, closed, forced }`.
   */
  async rollEdges(old, binary) {
    const ends = [];
    for (const node of old) {
      await this.startEdge(binary);
      // What is scaled down here is a time that the chart waits, too.
      await sleep(MIN_READY_MS);
      ends.push(this.#drain(node));
    }
    return Promise.all(ends);
  }

  /** Replaces the control plane's or the worker's process, the new one first; answers how the old one ended. */
  async roll(role, binary) {
    const old = this.#others[role];
    this.#others[role] = await this.#launch(role, binary);
    return old.drained();
  }

  async #drain(node) {
    const begun = performance.now();
    const end = await node.drained();
    this.edges = this.edges.filter((edge) => edge !== node);
    const [, closed, forced] = node.output.match(LAST_LINE) ?? [];
    return { node, begun, ...end, closed: Number(closed), forced: Number(forced) };
  }

  async #launch(role, binary) {
    this.#started += 1;
    const [nats, seed] = [this.nats.urls, role === 'control' ? this.#seed : undefined];
    const makeArguments = (ports) => runArguments({ ports, roles: [role], nats, seed, settings: SETTINGS });
    const node = await Node.create(`${role} ${this.#started}`, makeArguments, binary);
    await node.start();
    return node;
  }
}
