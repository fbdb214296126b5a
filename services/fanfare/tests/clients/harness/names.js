// Names that no other test uses.

import { randomBytes } from 'node:crypto';
import { keepName } from './secrets.js';

/** `prefix` and something unique, which no log tells. */
export function unique(prefix) {
  const random = randomBytes(6).toString('hex');
  keepName(random);
  return `${prefix}-${random}`;
}
