// How Ably's SDKs are led to a server of one's own.

/** `address` has a host and a port: a node or a front door. */
export const address = ({ host, port }) => ({
  endpoint: host,
  port,
  tls: false,
  // What it logs is what tests provoke; they look at what it does.
  logLevel: 1,
  logHandler: () => {},
});
