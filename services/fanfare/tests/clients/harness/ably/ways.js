// How clients of the Ably protocol get to a site, and in which format they speak.

import { describe } from 'node:test';
import { FrontDoor } from '../front_door.js';
import { onSite } from '../suite.js';
import { AblyClient } from './client.js';
import { serverOf } from './credentials.js';

export const FORMATS = {
  JSON: { useBinaryProtocol: false },
  MessagePack: { useBinaryProtocol: true },
};

/** Tests that run at the same time: most of them wait most of the time. */
const AT_ONCE = 6;

/**
 * A way to a site. Where it has several edges, each new connection gets to another one, so that publishing, subscribing,
 * REST and resuming meet on different nodes.
 */
export class Way {
  #doors = 0;

  constructor(site, format) {
    this.site = site;
    this.format = format;
    this.options = FORMATS[format];
  }

  /** A front door to all edges, until the test ends. Of several doors each begins with another edge. */
  door(t) {
    const { edges } = this.site;
    const first = this.#doors++ % edges.length;
    return FrontDoor.open(t, ...edges.slice(first), ...edges.slice(0, first));
  }

  /** A client that is connected, by a front door of its own. */
  async connect(t, app, options = {}, door = undefined) {
    return AblyClient.connect(t, door ?? (await this.door(t)), app, { ...this.options, ...options });
  }

  /** A client that is connecting. */
  async begin(t, app, options = {}) {
    return new AblyClient(t, await this.door(t), app, { ...this.options, ...options });
  }

  /** A REST client, with the app's key unless told otherwise. */
  async rest(t, app, options = {}) {
    return serverOf(await this.door(t), app, { ...this.options, ...options });
  }
}

/** Every scenario on a site in both formats. */
export function inBothFormats(site, scenarios) {
  onSite(site, () => {
    for (const format of Object.keys(FORMATS)) {
      const way = new Way(site, format);
      describe(format, { concurrency: AT_ONCE }, () => scenarios.forEach((scenario) => scenario(way)));
    }
  });
}
