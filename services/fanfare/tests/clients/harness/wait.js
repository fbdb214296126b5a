// Waiting, always for an event and never longer than a bound.

/** How long a wait may take before it fails: generous, since it is only spent when something is broken. */
export const PATIENCE_MS = Number(process.env.FANFARE_TEST_PATIENCE_MS ?? 60_000);

const POLL_MS = 25;

/** The outcome of `promise`, or an error that names `what` after `ms`. */
export async function within(promise, what, ms = PATIENCE_MS) {
  let timer;
  const expired = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms in vain for ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The first truthy answer of `probe`, asked again and again. The one sanctioned retry, for things that announce no
 * event. An error of the probe counts as "not yet" and is told when the bound is reached.
 */
export async function eventually(probe, what, ms = PATIENCE_MS) {
  const deadline = Date.now() + ms;
  for (;;) {
    let last;
    try {
      const answer = await probe();
      if (answer) return answer;
      last = `last answer: ${JSON.stringify(answer)}`;
    } catch (error) {
      last = `last error: ${error.message ?? error}`;
    }
    if (Date.now() >= deadline) throw new Error(`waited ${ms} ms in vain for ${what} (${last})`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** The first `event` of an emitter (anything with `once`). */
export function once(emitter, event, what = `the event ${event}`, ms = PATIENCE_MS) {
  return within(new Promise((resolve) => emitter.once(event, resolve)), what, ms);
}

/** How often something may take too long before that is no longer the machine's fault. */
const ATTEMPTS = 10;

/**
 * What `act()` answers, as `{ tookMs, … }`, once that took less than `ms`: for clients who have to be back in time to
 * be promised anything, and for what has to be fast. If the machine stands still for a moment, it begins anew.
 */
export async function inTime(ms, what, act) {
  const took = [];
  while (took.length < ATTEMPTS) {
    const outcome = await act();
    if (outcome.tookMs < ms) return outcome;
    took.push(Math.round(outcome.tookMs));
  }
  throw new Error(`${what} took more than ${ms} ms each time: ${took}`);
}
