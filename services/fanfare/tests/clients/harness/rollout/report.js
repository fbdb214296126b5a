// What clients noticed of a rollout, in figures.

/** Of messages that count for an absence, the first were published this long before the connection was lost. */
const BEFORE_MS = 1_000;

const sorted = (values) => [...values].sort((a, b) => a - b);
const at = (ordered, share) => ordered[Math.max(0, Math.ceil(ordered.length * share) - 1)];

/** Median, 99th percentile and maximum of milliseconds. */
export function spread(values) {
  if (values.length === 0) return 'none';
  const ordered = sorted(values);
  return `p50 ${at(ordered, 0.5).toFixed(0)}, p99 ${at(ordered, 0.99).toFixed(0)}, max ${ordered.at(-1).toFixed(0)} ms`;
}

/**
 * The pause that each absence of a listener was: the longest time from the publish of a message to its delivery, of those
 * that were published from a second before the connection was lost until it was back.
 */
export function pauses(listener, load) {
  const delays = listener.arrivals.items.slice(0, -1).map(({ text, at: arrived }) => {
    const begun = load.begunAt(text);
    return { begun, delay: arrived - begun };
  });
  return listener.absences.map(({ lostAt, backAt }) => {
    const concerned = delays.filter(({ begun }) => begun >= lostAt - BEFORE_MS && begun <= backAt);
    return Math.max(0, ...concerned.map(({ delay }) => delay));
  });
}

/** A line for each kind of client. */
export function lines(listeners, load) {
  const kinds = [...new Set(listeners.map(({ kind }) => kind))];
  return kinds.map((kind) => {
    const those = listeners.filter((listener) => listener.kind === kind);
    const absences = those.flatMap((listener) => listener.absences);
    const away = spread(absences.map(({ lostAt, backAt }) => backAt - lostAt));
    const pause = spread(those.flatMap((listener) => pauses(listener, load)));
    return `${those.length} ${kind}, ${absences.length} reconnects: pause ${pause}; without a connection ${away}`;
  });
}

/** How often each of `values` occurs. */
export function tally(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].map(([value, count]) => `${count} × ${value}`).join(', ') || 'none';
}
