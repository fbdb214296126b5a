// What happened in the fire, in a few lines.

const sorted = (values) => [...values].sort((a, b) => a - b);
const seconds = (ms) => `${(ms / 1_000).toFixed(1)} s`;

/** Median and maximum. */
function spread(values) {
  const ordered = sorted(values);
  return `p50 ${seconds(ordered[Math.floor((ordered.length - 1) / 2)])}, max ${seconds(ordered.at(-1))}`;
}

export class Report {
  #counts = new Map();
  #lost = new Map();
  /** By fault and what was timed. */
  #times = new Map();
  #others = new Map();

  count(what, times = 1) {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + times);
  }

  /** A connection was lost. */
  lost(how, code) {
    const key = `${how} (${code})`;
    this.#lost.set(key, (this.#lost.get(key) ?? 0) + 1);
  }

  /** A frame that nobody waits for: errors. */
  other({ event, data }) {
    const key = `${event} ${JSON.stringify(data)}`;
    this.#others.set(key, (this.#others.get(key) ?? 0) + 1);
  }

  time(fault, what, ms) {
    const key = `${fault}: ${what}`;
    this.#times.set(key, [...(this.#times.get(key) ?? []), ms]);
  }

  get lines() {
    const list = (map) => [...map].map(([what, count]) => `${count} ${what}`).join(', ');
    return [
      list(this.#counts),
      `lost connections: ${list(this.#lost) || 'none'}`,
      ...(this.#others.size > 0 ? [`errors told: ${list(this.#others)}`] : []),
      ...[...this.#times].map(([what, values]) => `${what}: ${spread(values)} of ${values.length}`),
    ];
  }
}
