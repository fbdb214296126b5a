// ably-js as an application on node uses it, with everything that it tells in inboxes.

import * as vcdiff from '@ably/vcdiff-decoder';
import Ably from 'ably';
import { Inbox } from '../inbox.js';
import { eventually } from '../wait.js';
import { address } from './address.js';
import { keyOf } from './credentials.js';

/** Soon enough for tests; what comes back at once does so anyway. */
const RETRY_MS = 500;

/** One channel of a client. */
export class AblyChannel {
  /** Messages in the order in which they arrived. */
  messages = new Inbox();
  /** Presence events in the order in which they arrived. */
  presence = new Inbox();
  /** Changes of its state, updates among them. */
  changes = new Inbox();

  constructor(channel) {
    this.channel = channel;
    channel.on((change) => this.changes.push(change));
  }

  get name() {
    return this.channel.name;
  }

  /** Begins to listen for messages, and waits until it is attached. */
  async subscribe() {
    await this.channel.subscribe((message) => this.messages.push(message));
    return this;
  }

  /** Begins to listen for presence, and waits until it is attached. */
  async watch() {
    await this.channel.presence.subscribe((event) => this.presence.push(event));
    return this;
  }

  /** Waits for the first message of this name. */
  message(name, ms) {
    return this.messages.find((message) => message.name === name, `the message ${name} on ${this.name}`, ms);
  }

  /** The data of all messages so far, of this name if one is given. */
  data(name) {
    const wanted = this.messages.items.filter((message) => name === undefined || message.name === name);
    return wanted.map(({ data }) => data);
  }

  /** Waits for `count` messages and answers their data. */
  async received(count, ms) {
    await this.messages.count(count, `${count} messages on ${this.name}`, ms);
    return this.data();
  }

  /** Waits for a presence event. */
  event(action, clientId, ms) {
    const isIt = (event) => event.action === action && event.clientId === clientId;
    return this.presence.find(isIt, `${action} of ${clientId} on ${this.name}`, ms);
  }

  /** Waits for the `times`-th change to a state, or of another kind (`update`). */
  async became(state, times = 1, ms) {
    const isIt = (change) => (state === 'update' ? change.current === change.previous : change.current === state);
    const reached = (changes) => changes.filter(isIt)[times - 1];
    return this.changes.until(reached, `change number ${times} to ${state} of ${this.name}`, ms);
  }

  /** The members that it knows once it is in sync: `clientId` and data of each, sorted. */
  async members() {
    const members = await this.channel.presence.get();
    return members.map(({ clientId, data }) => [clientId, data]).sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** Waits until the members are these: data by clientId. */
  async knows(members, ms) {
    const expected = JSON.stringify(Object.entries(members).sort(([a], [b]) => (a < b ? -1 : 1)));
    const isSo = async () => JSON.stringify(await this.members()) === expected;
    await eventually(isSo, `${expected} to be present on ${this.name}`, ms).catch(async (error) => {
      error.message += `\n  present are ${JSON.stringify(await this.members())}`;
      throw error;
    });
  }
}

/** A realtime client. */
export class AblyClient {
  /** Changes of the connection's state. */
  changes = new Inbox();
  #channels = new Map();

  /** One that connects; its connection ends with the test `t`. Without credentials in `options` it has the app's key. */
  constructor(t, where, app, options = {}) {
    /** Where it connects to: a node, or a front door that can be told to cut it off. */
    this.door = where;
    const { plugins, ...rest } = options;
    const hasCredentials = ['key', 'token', 'authCallback', 'authUrl', 'tokenDetails'].some((name) => name in rest);
    this.realtime = new Ably.Realtime({
      ...address(where),
      ...(hasCredentials ? {} : { key: keyOf(app) }),
      disconnectedRetryTimeout: RETRY_MS,
      suspendedRetryTimeout: RETRY_MS,
      channelRetryTimeout: RETRY_MS,
      plugins: { vcdiff, ...plugins },
      ...rest,
    });
    t.after(() => this.realtime.close());
    this.realtime.connection.on((change) => this.changes.push(change));
  }

  /** One that is connected. */
  static async connect(t, where, app, options) {
    const client = new AblyClient(t, where, app, options);
    await client.became('connected');
    return client;
  }

  get connection() {
    return this.realtime.connection;
  }

  /** The id of the connection. */
  get id() {
    return this.connection.id;
  }

  /** Waits for the `times`-th change to a state, or of another kind (`update`). */
  async became(state, times = 1, ms) {
    const isIt = ({ current, previous }) =>
      state === 'update' ? current === previous : current === state && previous !== state;
    const reached = (changes) => {
      const change = changes.filter(isIt)[times - 1];
      const last = changes.at(-1);
      if (!change && last?.current === 'failed') throw new Error(`the connection failed: ${last.reason}`);
      return change;
    };
    return this.changes.until(reached, `change number ${times} of the connection to ${state}`, ms);
  }

  /** One of its channels. */
  channel(name, options) {
    if (!this.#channels.has(name)) this.#channels.set(name, new AblyChannel(this.realtime.channels.get(name, options)));
    return this.#channels.get(name);
  }

  /** A channel that it is subscribed to. */
  subscribe(name, options) {
    return this.channel(name, options).subscribe();
  }

  close() {
    this.realtime.close();
    return this.became('closed');
  }
}

/** The error that `promise` ends with. */
export async function failure(promise) {
  const error = await promise.then(
    () => undefined,
    (error) => error,
  );
  if (error === undefined) throw new Error('it was not refused');
  return error;
}

/** Nobody can tell what became of a request: NATS did not answer in time. */
export const UNKNOWN_OUTCOME = 50003;

/** What `ask()` answers or ends with, asked again while that is left open. */
export async function answerOf(ask) {
  const settled = async () => {
    const outcome = await ask().then(
      (answer) => ({ answer }),
      (error) => ({ error }),
    );
    return outcome.error?.code === UNKNOWN_OUTCOME ? undefined : outcome;
  };
  const { answer, error } = await eventually(settled, 'an answer that says what became of a request');
  if (error) throw error;
  return answer;
}
