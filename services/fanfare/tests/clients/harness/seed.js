// The seed file: apps as TOML.

/** A TOML basic string; JSON's escapes are a subset of TOML's. */
const quoted = JSON.stringify;

function inlineTable(capability) {
  const entries = Object.entries(capability).map(
    ([channels, operations]) => `${quoted(channels)} = ${quoted(operations)}`,
  );
  return `{ ${entries.join(', ')} }`;
}

function keyTable({ key, secret, capability }) {
  return `
[[app.key]]
name = ${quoted(key)}
secret = ${quoted(secret)}
capability = ${inlineTable(capability)}
`;
}

function namespaceTable({ prefix, tier }) {
  return `
[[app.namespace]]
prefix = ${quoted(prefix)}
tier = ${quoted(tier)}
`;
}

function appTables({ id, name, enabled, clientEvents, keys, namespaces }) {
  return `
[[app]]
id = ${quoted(id)}
name = ${quoted(name)}
enabled = ${enabled}
${keys.map(keyTable).join('')}
[app.pusher]
client_events = ${clientEvents}
${namespaces.map(namespaceTable).join('')}`;
}

/** The seed file for these apps. */
export const seedFile = (apps) => apps.map(appTables).join('');
