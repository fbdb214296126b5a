// Long lists of what should have come, and of what came.

import assert from 'node:assert/strict';

/** The numbers below `length`, in order. */
export const sequence = (length) => Array.from({ length }, (_, index) => index);

/** Fails with what surrounds the first difference; the lists are too long to show. */
export function assertSame(actual, expected, what) {
  const index = sequence(Math.max(actual.length, expected.length)).find((index) => actual[index] !== expected[index]);
  if (index === undefined) return;
  const around = (list) => list.slice(Math.max(0, index - 3), index + 10);
  assert.deepEqual(around(actual), around(expected), `${what}, at ${index} of ${expected.length}`);
}
