// Clients that listen to one channel each, as their documentation says: pusher-js with the helper of docs/recovery.md,
// ably-js and EventSource with what they do by themselves.

import { codeBlock } from '../documented.js';
import { AblyClient } from '../ably/client.js';
import { EventReader } from '../ably/event_stream.js';
import { FORMATS } from '../ably/ways.js';
import { Inbox } from '../inbox.js';
import { publisher } from '../publisher.js';
import { Subscriber } from '../subscriber.js';
import { LAST, describe } from './load.js';
import { LISTENERS } from './settings.js';
import { APP } from './site.js';

/** What ably-js takes when nothing is said; the tests' own client is more hasty. */
const STOCK = { disconnectedRetryTimeout: 15_000, suspendedRetryTimeout: 30_000, channelRetryTimeout: 15_000 };

const catchUp = new Function(`${codeBlock('recovery.md', 'catch-up.js')}\nreturn catchUp;`)();
const documentedBackend = new Function(
  'pusher',
  'loadState',
  `${codeBlock('recovery.md', 'backend.js')}\nreturn { history, stateOf };`,
);

export class Listener {
  /** `{ text, at }` of each message, in order. */
  arrivals = new Inbox();
  /** `{ node, code, lostAt, backAt }` of each time without a connection. */
  absences = [];
  /** What must not be told: that messages are missing. */
  complaints = [];
  /** Why the backend did not answer, if so; the helper asks again. */
  failures = [];

  constructor(kind, name, channel, door) {
    Object.assign(this, { kind, name, channel, door });
  }

  arrived(text) {
    this.arrivals.push({ text, at: performance.now() });
  }

  lost(code) {
    this.absences.push({ node: this.door.target, code, lostAt: performance.now() });
  }

  /** Why the connection was lost, if that is told before or after the fact. */
  because(code) {
    const absence = this.absences.at(-1);
    if (absence && absence.backAt === undefined) absence.code ??= code;
  }

  back() {
    const absence = this.absences.at(-1);
    if (absence) absence.backAt ??= performance.now();
  }

  /** Waits for the last message. */
  async finished(ms) {
    const isLast = ({ text }) => text === LAST;
    await this.arrivals.find(isLast, `the end of ${this.channel} at ${this.name}`, ms).catch((error) => {
      error.message += `\n  absences: ${JSON.stringify(this.absences.map(({ node, ...rest }) => ({ node: node.name, ...rest })))}`;
      throw error;
    });
  }

  /** The messages, without the last one. */
  get seen() {
    return this.arrivals.items.map(({ text }) => text).filter((text) => text !== LAST);
  }
}

/**
 * Opens all of them: `LISTENERS` of each kind, over all `channels`. The backend of pusher-js keeps its connections or not.
 */
export async function listeners(t, balancer, channels, { keepAlive }) {
  const pusher = publisher(t, await balancer.door(t), APP, { keepAlive });
  const { history, stateOf } = documentedBackend(pusher, async () => undefined);
  const begins = Object.fromEntries(
    await Promise.all(channels.map(async (channel) => [channel, (await stateOf(channel)).position])),
  );
  const openers = {
    'pusher-js': (listener) => openPusher(t, listener, history, begins[listener.channel]),
    'ably-js': (listener, index) => openAbly(t, listener, index),
    EventSource: (listener) => openStream(t, listener),
  };
  const opened = Object.entries(LISTENERS).flatMap(([kind, count]) =>
    Array.from({ length: count }, async (_, index) => {
      const listener = new Listener(
        kind,
        `${kind} ${index}`,
        channels[index % channels.length],
        await balancer.door(t),
      );
      await openers[kind](listener, index);
      return listener;
    }),
  );
  return Promise.all(opened);
}

async function openPusher(t, listener, history, position) {
  const { channel } = listener;
  const subscriber = new Subscriber(t, listener.door, APP);
  const { connection } = subscriber.pusher;
  const lost = (name) => listener.complaints.push(`${name} was lost: ${listener.failures}`);
  const missed = (...question) =>
    history(...question).catch((error) => {
      listener.failures.push(describe(error));
      throw error;
    });
  catchUp(subscriber.pusher, { positions: { [channel]: position }, missed, lost });
  connection.bind('state_change', ({ previous }) => previous === 'connected' && listener.lost(listener.told));
  connection.bind('error', ({ data, error }) => {
    listener.told = data?.code ?? error?.data?.code ?? error?.type;
    listener.because(listener.told);
  });
  const subscription = subscriber.join(channel);
  subscription.channel.bind('pusher:subscription_succeeded', () => {
    listener.told = undefined;
    listener.back();
  });
  subscription.channel.bind('number', (text) => listener.arrived(text));
  await subscription.notice('pusher:subscription_succeeded');
}

async function openAbly(t, listener, index) {
  const format = Object.values(FORMATS)[index % 2];
  const client = new AblyClient(t, listener.door, APP, { ...format, ...STOCK });
  client.connection.on(
    'disconnected',
    ({ previous, reason }) => previous === 'connected' && listener.lost(reason?.code),
  );
  const channel = client.channel(listener.channel);
  channel.channel.on(({ current, resumed, reason }) => {
    if (current !== 'attached') return;
    if (listener.absences.length > 0 && !resumed) listener.complaints.push(`attached without continuity: ${reason}`);
    listener.back();
  });
  await channel.channel.subscribe(({ data }) => listener.arrived(data));
}

async function openStream(t, listener) {
  const reader = new EventReader(t, listener.door, APP, listener.channel);
  const { source } = reader;
  let told;
  source.addEventListener('error', ({ data }) => {
    const code = data && JSON.parse(data).code;
    if (code) told = code;
    // The library says so once more for each attempt in vain.
    else if (listener.absences.at(-1)?.backAt !== undefined || listener.absences.length === 0) listener.lost(told);
  });
  source.addEventListener('open', () => {
    told = undefined;
    listener.back();
  });
  source.addEventListener('message', ({ data }) => listener.arrived(JSON.parse(data).data));
  await reader.opened();
}
