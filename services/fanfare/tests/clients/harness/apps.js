// The apps that every site is seeded with. A test that counts, lists or limits something takes an app of its own.

import { keepSecret } from './secrets.js';

const EVERYTHING = { '*': ['*'] };

/**
 * `pusher`, `limits` and `quota` are the tables of the seed file, by their keys there. Of `webhooks`, `to` names a
 * receiver (`harness/webhook_receiver.js`) and a path there; the rest is as in the seed file. `revocable` are the keys
 * whose tokens can be revoked.
 */
function app(
  id,
  name,
  { enabled = true, pusher = {}, limits = {}, quota = {}, webhooks = [], namespaces = [], ...rest } = {},
) {
  const { capabilities = { [name]: EVERYTHING }, revocable = [] } = rest;
  const keys = Object.entries(capabilities).map(([key, capability]) => ({
    key,
    // ably-js takes no secret with a dot in it.
    secret: `${key}-secret-${id}`.replaceAll('.', '-'),
    capability,
    isRevocable: revocable.includes(key),
  }));
  keys.forEach(({ key, secret }) => keepSecret(secret, `the secret of ${key}`));
  webhooks.forEach(({ headers = {} }) => {
    Object.values(headers).forEach((value) => keepSecret(value, `a header of a webhook of ${name}`));
  });
  const tables = { pusher: { client_events: true, ...pusher }, limits, quota };
  return { id, name, enabled, tables, webhooks, keys, namespaces, ...credentials(id, keys[0]) };
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

/** The limits of `smallRooms`. */
export const SMALL = { members: 3, userIdChars: 10, userInfoBytes: 50 };
/** After how long `guarded` closes a connection that nobody vouched for: time for that on a busy machine, too. */
export const GUARDED_MS = 10_000;
/** How long `fleeting` keeps the last event of a cache channel: no app can have less. */
export const FLEETING_SECONDS = 60;

/** Quotas of apps below. */
export const RATED_PER_SECOND = 10;
export const ARCHIVE_BYTES = 100;
export const WEBHOOKS_PER_SECOND = 5;

export const apps = {
  /** For whatever needs nothing special. */
  main: app('1001', 'main', {
    pusher: { user_authentication: true },
    namespaces: [{ prefix: 'tick-', tier: 'ephemeral' }],
  }),
  /** Nobody's but the test's that lists channels. */
  listing: app('1002', 'listing'),
  noClientEvents: app('1003', 'no-client-events', { pusher: { client_events: false } }),
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
  smallRooms: app('1006', 'small-rooms', {
    limits: {
      presence_members: SMALL.members,
      presence_user_id_chars: SMALL.userIdChars,
      presence_user_info_bytes: SMALL.userInfoBytes,
    },
  }),
  watching: app('1007', 'watching', { pusher: { user_authentication: true, watchlist: true } }),
  counting: app('1008', 'counting', { pusher: { subscription_count: true } }),
  guarded: app('1009', 'guarded', {
    pusher: {
      user_authentication: true,
      authorized_connections: true,
      authorized_connections_timeout: `${GUARDED_MS / 1_000}s`,
    },
  }),
  noPositions: app('1010', 'no-positions', { pusher: { positions: false } }),
  fleeting: app('1011', 'fleeting', { limits: { cache_ttl: `${FLEETING_SECONDS}s` } }),
  single: app('1012', 'single', { quota: { connections: 1 } }),
  /** At the limit of what it publishes, delivers, occupies, is present in, and stores: each for the one test of that quota. */
  rated: app('1030', 'rated', { quota: { messages_in_per_second: RATED_PER_SECOND } }),
  whispered: app('1031', 'whispered', { quota: { messages_in_per_second: 1 } }),
  loud: app('1032', 'loud', { quota: { messages_out_per_second: 4 } }),
  fewChannels: app('1033', 'few-channels', { quota: { channels: 1 } }),
  fewMembers: app('1034', 'few-members', { quota: { presence_members: 1 } }),
  archive: app('1035', 'archive', {
    quota: { history_bytes: ARCHIVE_BYTES },
    namespaces: [{ prefix: 'log-', tier: 'persistent', retention: '1h' }],
  }),
  /** Tells one receiver, and may do so seldom. */
  patientlyTelling: app('1036', 'patiently-telling', {
    quota: { webhooks_per_second: WEBHOOKS_PER_SECOND },
    webhooks: [{ to: ['steady', '/paced'] }],
  }),
  /** One connection and no more, for the test of that quota's words. */
  lonely: app('1037', 'lonely', { quota: { connections: 1 } }),
  tlsOnly: app('1013', 'tls-only', { pusher: { tls_only: true } }),
  /** Connected to from some web pages only. */
  pages: app('1014', 'pages', { pusher: { allowed_origins: ['https://app.example.com', '*.shop.example'] } }),
  /** Tells one receiver everything, one event a request. */
  telling: app('1020', 'telling', {
    pusher: { user_authentication: true, subscription_count: true },
    webhooks: [{ to: ['steady', '/everything'], headers: { 'X-Token': 'let-me-in' } }],
  }),
  /** Tells several receivers different things. */
  choosy: app('1021', 'choosy', {
    webhooks: [
      { to: ['steady', '/presence'], prefix: 'presence-' },
      { to: ['steady', '/occupied'], events: ['channel_occupied'] },
      { to: ['steady', '/batched'], events: ['channel_occupied', 'client_event'], batch: '500ms' },
    ],
  }),
  /** Tells a receiver whose answers the test decides, and one that is always there. */
  patient: app('1022', 'patient', {
    webhooks: [{ to: ['steady', '/moody'] }, { to: ['steady', '/calm'] }, { to: ['mortal', '/'] }],
  }),
  /** For clients of the Ably protocol, with several keys. */
  ably: app('1050', 'ably', {
    capabilities: {
      '1050.all': { '[*]*': ['*'], '*': ['*'] },
      '1050.revocable': EVERYTHING,
      '1050.listen': { '*': ['subscribe', 'history'] },
      '1050.rooms': { 'room:*': ['subscribe', 'publish'], 'board:*:open': ['subscribe'] },
    },
    revocable: ['1050.revocable'],
    limits: { presence_members: 250 },
    namespaces: [{ prefix: 'kept-', tier: 'persistent', retention: '1h' }],
  }),
  /** The same, nobody's but the test's that counts or lists. */
  ablyCounted: app('1051', 'ably-counted', { capabilities: { '1051.all': { '[*]*': ['*'], '*': ['*'] } } }),
  ablyListed: app('1052', 'ably-listed'),
};

/** Credentials that no app has. */
export const unknownApp = { id: '9999', key: 'unknown', secret: 'unknown-secret' };
