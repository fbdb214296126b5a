// pusher-js as an application on node uses it.

import Pusher from 'pusher-js';
import { Inbox } from './inbox.js';
import { ReceivedOnChannel, ReceivedOnConnection } from './received.js';

/** The options of a self-hosted pusher-js. `address` has a host and a port: a node or a front door. */
export const clientOptions = (address) => ({
  cluster: 'self-hosted',
  wsHost: address.host,
  wsPort: address.port,
  forceTLS: false,
  enabledTransports: ['ws'],
});

/** What lets it use these transports, those of the HTTP fallback among them. */
export const fallbackOptions = (address, transports) => ({
  httpHost: address.host,
  httpPort: address.port,
  enabledTransports: transports,
});

/** One channel of a subscriber. */
class Subscription extends ReceivedOnChannel {
  constructor(channel) {
    super(channel.name);
    this.channel = channel;
    // The members in a notice live on and change; what is kept is what they were.
    channel.bind_global((event, data) => this.put(event, event.startsWith('pusher:') ? structuredClone(data) : data));
  }

  /** Sends a client event. */
  trigger(event, data) {
    this.channel.trigger(event, data);
  }

  /** An inbox for `{ data, metadata }` of the events of this name. */
  withMetadata(event) {
    const inbox = new Inbox();
    this.channel.bind(event, (data, metadata) => inbox.push({ data, metadata }));
    return inbox;
  }

  async present() {
    return { ...this.channel.members.members };
  }
}

export class Subscriber extends ReceivedOnConnection {
  /** Starts connecting; the connection ends with the test `t`. */
  constructor(t, address, app, options = {}) {
    super();
    this.pusher = new Pusher(app.key, { ...clientOptions(address), ...options });
    t.after(() => this.pusher.disconnect());
    const { connection, user } = this.pusher;
    connection.bind('error', (error) => this.errors.push(error));
    connection.bind('state_change', ({ current }) => this.states.push(current));
    connection.bind('message', (message) => this.putMessage(message));
    user.bind_global((event, data) => this.userEvents.push({ event, data }));
    user.watchlist.bind_global((_, change) => this.watched.push(change));
  }

  /** A subscriber that is connected. */
  static async connect(t, address, app, options) {
    const subscriber = new Subscriber(t, address, app, options);
    await subscriber.connected();
    return subscriber;
  }

  get socketId() {
    return this.pusher.connection.socket_id;
  }

  get state() {
    return this.pusher.connection.state;
  }

  /** Begins to subscribe. */
  join(channel) {
    return new Subscription(this.pusher.subscribe(channel));
  }

  /** Subscribes, and waits until the server has confirmed it. */
  async subscribe(channel) {
    const subscription = this.join(channel);
    await subscription.notice('pusher:subscription_succeeded');
    return subscription;
  }

  unsubscribe(channel) {
    this.pusher.unsubscribe(channel);
  }

  /** Closes the connection with a close frame. */
  disconnect() {
    this.pusher.disconnect();
  }

  /** Signs in, and waits until what is sent to the user arrives here. */
  async signIn() {
    this.pusher.signin();
    await this.signedIn();
  }
}
