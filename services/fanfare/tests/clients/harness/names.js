// Names that no other test uses.

import { randomBytes } from 'node:crypto';

/** `prefix` and something unique. */
export const unique = (prefix) => `${prefix}-${randomBytes(6).toString('hex')}`;
