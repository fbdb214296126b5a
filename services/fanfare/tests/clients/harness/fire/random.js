// Chance that can be repeated: everybody draws from a sequence of their own, which the seed and a name decide.

/** A 32-bit hash of a text (FNV-1a). */
function hash(text) {
  return [...Buffer.from(text)].reduce((sum, byte) => Math.imul(sum ^ byte, 0x01000193) >>> 0, 0x811c9dc5);
}

export class Random {
  #state;

  constructor(seed, name) {
    this.#state = hash(`${seed}/${name}`);
  }

  /** A number from 0 to below 1 (mulberry32). */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** Whether something of this probability happens. */
  happens(probability) {
    return this.next() < probability;
  }

  between(low, high) {
    return low + this.next() * (high - low);
  }

  /** An exponentially distributed wait. */
  around(mean) {
    return -Math.log(1 - this.next()) * mean;
  }

  pick(items) {
    return items[Math.floor(this.next() * items.length)];
  }

  /** One of the names in `weights`, each as likely as its weight says. */
  weighted(weights) {
    const entries = Object.entries(weights);
    let left = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    return entries.find(([, weight]) => (left -= weight) < 0)[0];
  }

  /** The items in another order. */
  shuffled(items) {
    return items
      .map((item) => ({ item, place: this.next() }))
      .sort((a, b) => a.place - b.place)
      .map(({ item }) => item);
  }
}
