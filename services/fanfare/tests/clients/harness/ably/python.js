// The `ably` library for Python as an application uses it.

import { fileURLToPath } from 'node:url';
import { LibraryProcess } from '../library_process.js';
import { python } from '../paths.js';
import { PATIENCE_MS } from '../wait.js';
import { keyOf } from './credentials.js';

/** A busy machine is not to make it give up. */
const PATIENT = {
  http_open_timeout: PATIENCE_MS / 1_000,
  http_request_timeout: PATIENCE_MS / 1_000,
  realtime_request_timeout: PATIENCE_MS,
};

const SCRIPT = fileURLToPath(new URL('python/library.py', import.meta.url));

/** Clients of `app` at `site`, until the test ends; `options` are those of the library. */
export function pythonLibrary(t, site, app, options = {}) {
  const [{ host, port }] = site.edges;
  // The authority that vouches for the server, as the library's HTTP and WebSocket clients look for it.
  const program = ['env', [`SSL_CERT_FILE=${site.authority}`, python(), SCRIPT]];
  return new LibraryProcess(t, ...program, { host, port, key: keyOf(app), options: { ...PATIENT, ...options } });
}
