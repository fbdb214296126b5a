// ably-go as an application uses it, built by deploy/dev/sdks.sh.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { LibraryProcess } from '../clients/harness/library_process.js';

const PROGRAM = fileURLToPath(new URL('../../../../target/sdks-go/sdks', import.meta.url));

/** ably-go, not yet connected. */
export function goAbly(t, { host, port }, token, binary) {
  if (!existsSync(PROGRAM)) throw new Error('the Go program is not built: use make test-sdks');
  return new LibraryProcess(t, PROGRAM, [], { host, port, token, binary });
}
