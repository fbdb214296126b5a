// What arrived so far, and waiting for what is still to come.

import { PATIENCE_MS, within } from './wait.js';

/** How many of the newest items a failure message shows, and how much of each. */
const SHOWN_ITEMS = 10;
const SHOWN_CHARS = 300;

/** A list that grows as things arrive; nothing that arrived before a wait began is missed by it. */
export class Inbox {
  /** Everything that arrived, oldest first. */
  items = [];
  #watchers = new Set();

  push(item) {
    this.items.push(item);
    for (const look of this.#watchers) look();
  }

  /** Waits until `probe(items)` answers something truthy, and returns that. */
  async until(probe, what, ms = PATIENCE_MS) {
    let look;
    const found = new Promise((resolve, reject) => {
      look = () => {
        try {
          const answer = probe(this.items);
          if (answer) resolve(answer);
        } catch (error) {
          reject(error);
        }
      };
    });
    this.#watchers.add(look);
    look();
    try {
      return await within(found, what, ms);
    } catch (error) {
      error.message += `\n  ${this.items.length} arrived; the newest:\n${this.#newest()}`;
      throw error;
    } finally {
      this.#watchers.delete(look);
    }
  }

  /** The first item that matches. */
  find(matches, what, ms) {
    return this.until((items) => items.find(matches), what, ms);
  }

  /** All items, once there are at least `count`. */
  count(count, what = `${count} items`, ms) {
    return this.until((items) => items.length >= count && items, what, ms);
  }

  #newest() {
    const line = (item) => `    ${(JSON.stringify(item) ?? String(item)).slice(0, SHOWN_CHARS)}`;
    return this.items.slice(-SHOWN_ITEMS).map(line).join('\n') || '    (nothing)';
  }
}
