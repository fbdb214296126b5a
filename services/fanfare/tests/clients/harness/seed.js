// The seed file: apps as TOML.

/** A TOML basic string; JSON's escapes are a subset of TOML's, and numbers, flags and lists are the same in both. */
const quoted = JSON.stringify;

function inlineTable(table) {
  const entries = Object.entries(table).map(([key, value]) => `${quoted(key)} = ${quoted(value)}`);
  return `{ ${entries.join(', ')} }`;
}

const assignments = (table) =>
  Object.entries(table)
    .map(([key, value]) => `${key} = ${quoted(value)}\n`)
    .join('');

function keyTable({ key, secret, capability, isRevocable }) {
  return `
[[app.key]]
name = ${quoted(key)}
secret = ${quoted(secret)}
capability = ${inlineTable(capability)}
${isRevocable ? 'revocable_tokens = true\n' : ''}`;
}

const namespaceTable = (namespace) => `\n[[app.namespace]]\n${assignments(namespace)}`;

function webhookTable({ to: [receiver, path], headers, ...rest }, receivers) {
  return `
[[app.webhook]]
url = ${quoted(`${receivers[receiver]}${path}`)}
${assignments(rest)}${headers ? `headers = ${inlineTable(headers)}\n` : ''}`;
}

function appTables({ id, name, enabled, keys, tables, namespaces, webhooks }, receivers) {
  const filled = Object.entries(tables).filter(([, table]) => Object.keys(table).length > 0);
  const targets = webhooks.filter(({ to: [receiver] }) => receiver in receivers);
  return `
[[app]]
id = ${quoted(id)}
name = ${quoted(name)}
enabled = ${enabled}
${keys.map(keyTable).join('')}
${filled.map(([table, content]) => `[app.${table}]\n${assignments(content)}\n`).join('')}
${namespaces.map(namespaceTable).join('')}${targets.map((target) => webhookTable(target, receivers)).join('')}`;
}

/** The seed file for these apps. `receivers` maps their names to where they listen; webhooks to others are left out. */
export const seedFile = (apps, receivers = {}) => apps.map((app) => appTables(app, receivers)).join('');
