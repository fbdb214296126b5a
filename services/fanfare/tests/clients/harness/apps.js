// The apps that every site is seeded with. A test that counts, lists or limits something takes an app of its own.

const EVERYTHING = { '*': ['*'] };

function app(
  id,
  name,
  { enabled = true, clientEvents = true, capabilities = { [name]: EVERYTHING }, namespaces = [] } = {},
) {
  const keys = Object.entries(capabilities).map(([key, capability]) => ({
    key,
    secret: `${key}-secret-${id}`,
    capability,
  }));
  return { id, name, enabled, clientEvents, keys, namespaces, ...credentials(id, keys[0]) };
}

const credentials = (id, { key, secret }) => ({ id, key, secret });

/** The same app by another of its keys. */
export const withKey = (app, key) => ({
  ...app,
  ...credentials(
    app.id,
    app.keys.find((candidate) => candidate.key === key),
  ),
});

export const apps = {
  /** For whatever needs nothing special. */
  main: app('1001', 'main', { namespaces: [{ prefix: 'tick-', tier: 'ephemeral' }] }),
  /** Nobody's but the test's that lists channels. */
  listing: app('1002', 'listing'),
  noClientEvents: app('1003', 'no-client-events', { clientEvents: false }),
  disabled: app('1004', 'disabled', { enabled: false }),
  /** Several keys, each allowed something else. */
  restricted: app('1005', 'restricted', {
    capabilities: {
      'restricted-all': EVERYTHING,
      'restricted-publish': { '*': ['publish'] },
      'restricted-subscribe': { '*': ['subscribe'] },
      'restricted-news': { news: ['publish', 'subscribe'] },
    },
  }),
};

/** Credentials that no app has. */
export const unknownApp = { id: '9999', key: 'unknown', secret: 'unknown-secret' };
