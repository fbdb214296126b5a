// The `pusher` server library for Python as an application uses it.

import { fileURLToPath } from 'node:url';
import { ENCRYPTION_KEY } from './auth_endpoint.js';
import { LibraryProcess } from './library_process.js';
import { python } from './paths.js';
import { PATIENCE_MS } from './wait.js';

const SCRIPT = fileURLToPath(new URL('python/library.py', import.meta.url));

/** One for `app` at `edge`, until the test ends; its methods are called by name. */
export const pythonLibrary = (t, edge, app) =>
  new LibraryProcess(t, python(), [SCRIPT], {
    app_id: app.id,
    key: app.key,
    secret: app.secret,
    host: edge.host,
    port: edge.port,
    ssl: false,
    timeout: PATIENCE_MS / 1_000,
    encryption_master_key_base64: ENCRYPTION_KEY,
  });
