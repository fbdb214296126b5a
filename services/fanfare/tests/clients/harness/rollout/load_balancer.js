// What stands before the edges: a door for each client, all leading to the edges that say they are ready, as a service of
// Kubernetes does.

import { FrontDoor } from '../front_door.js';
import { PROBE_MS } from './settings.js';

export class LoadBalancer {
  #site;
  #doors = [];
  #opened = 0;
  #ready;
  #timer;

  /** One for the edges of `site` as they come and go, until the test ends. */
  static start(t, site) {
    const balancer = new LoadBalancer(site);
    t.after(() => clearInterval(balancer.#timer));
    return balancer;
  }

  constructor(site) {
    this.#site = site;
    this.#ready = [...site.edges];
    this.#timer = setInterval(() => this.#probe(), PROBE_MS);
  }

  /** A door, of which each begins with another edge. */
  async door(t) {
    const index = this.#opened++;
    const door = await FrontDoor.open(t, ...this.#beginningWith(index));
    this.#doors.push(door);
    return door;
  }

  #beginningWith(index) {
    const first = index % this.#ready.length;
    return [...this.#ready.slice(first), ...this.#ready.slice(0, first)];
  }

  async #probe() {
    const edges = [...this.#site.edges];
    const answers = await Promise.all(edges.map((edge) => edge.isReady().catch(() => false)));
    const ready = edges.filter((_, index) => answers[index]);
    const isSame = ready.length === this.#ready.length && ready.every((edge, index) => edge === this.#ready[index]);
    if (isSame || ready.length === 0) return;
    this.#ready = ready;
    this.#doors.forEach((door, index) => door.leadTo(...this.#beginningWith(index)));
  }
}
