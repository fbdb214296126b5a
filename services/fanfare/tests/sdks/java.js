// Pusher's and Ably's libraries for Java as an application uses them, built by deploy/dev/sdks.sh.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { LibraryProcess } from '../clients/harness/library_process.js';

const BUILT = fileURLToPath(new URL('../../../../target/sdks-java/', import.meta.url));

function library(t, name, settings) {
  if (!existsSync(`${BUILT}classes`)) throw new Error('the Java program is not built: use make test-sdks');
  return new LibraryProcess(t, 'java', ['-cp', `${BUILT}classes:${BUILT}lib/*`, 'sdks.Main', name], settings);
}

/** pusher-http-java. */
export const httpLibrary = (t, { host, port }, { id, key, secret }) =>
  library(t, 'http', { host, port, id, key, secret });

/** pusher-websocket-java, not yet connected. The endpoint is one of `authEndpoint`. */
export function clientLibrary(t, { host, port }, { key }, endpoint, timeouts = {}) {
  const { activityTimeoutMs, pongTimeoutMs } = { activityTimeoutMs: 120_000, pongTimeoutMs: 30_000, ...timeouts };
  const userEndpoint = new URL('user', endpoint).href;
  return library(t, 'client', {
    host,
    port,
    key,
    channelEndpoint: endpoint,
    userEndpoint,
    activityTimeoutMs,
    pongTimeoutMs,
  });
}

/** ably-java, not yet connected. */
export const javaAbly = (t, { host, port }, token, binary) => library(t, 'ably', { host, port, token, binary });
