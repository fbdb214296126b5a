// How Ably's SDKs are led to a server of one's own.

import { PATIENCE_MS } from '../wait.js';

/** A busy machine is not to make them give up; none of these is what is tested. */
const PATIENT = {
  httpRequestTimeout: PATIENCE_MS,
  realtimeRequestTimeout: PATIENCE_MS,
  webSocketConnectTimeout: PATIENCE_MS,
  webSocketSlowTimeout: PATIENCE_MS,
};

/** `address` has a host and a port: a node or a front door. */
export const address = ({ host, port }) => ({
  endpoint: host,
  port,
  tls: false,
  ...PATIENT,
  // What it logs is what tests provoke; they look at what it does.
  logLevel: 1,
  logHandler: () => {},
});
