// pusher-js as an application uses it, with what it receives put into inboxes.

import Pusher from 'pusher-js';
import { Inbox } from './inbox.js';

/** The options of a self-hosted pusher-js. `address` has a host and a port: a node or a front door. */
export const clientOptions = (address) => ({
  cluster: 'self-hosted',
  wsHost: address.host,
  wsPort: address.port,
  forceTLS: false,
  enabledTransports: ['ws'],
});

/** One channel of a subscriber. */
class Subscription {
  /** `{ event, data }` of everything but the library's own events. */
  events = new Inbox();
  /** `{ event, data }` of the library's own events: subscription_succeeded, subscription_error … */
  notices = new Inbox();

  constructor(channel) {
    this.channel = channel;
    channel.bind_global((event, data) => {
      const inbox = event.startsWith('pusher:') ? this.notices : this.events;
      inbox.push({ event, data });
    });
  }

  get name() {
    return this.channel.name;
  }

  /** Waits for a notice. */
  notice(event, ms) {
    return this.notices.find((notice) => notice.event === event, `${event} on ${this.name}`, ms);
  }

  /** Waits for the first event of this name and returns it. */
  event(name, ms) {
    return this.events.find(({ event }) => event === name, `the event ${name} on ${this.name}`, ms);
  }

  /** The data of all events of this name so far. */
  dataOf(name) {
    return this.events.items.filter(({ event }) => event === name).map(({ data }) => data);
  }
}

export class Subscriber {
  /** What the connection reports as errors, `pusher:error` events and close codes alike. */
  errors = new Inbox();
  /** The states the connection went through. */
  states = new Inbox();

  /** Starts connecting; the connection ends with the test `t`. */
  constructor(t, address, app, options = {}) {
    this.pusher = new Pusher(app.key, { ...clientOptions(address), ...options });
    t.after(() => this.pusher.disconnect());
    this.pusher.connection.bind('error', (error) => this.errors.push(error));
    this.pusher.connection.bind('state_change', ({ current }) => this.states.push(current));
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

  /** Waits for the `times`-th connection. */
  connected(times = 1, ms) {
    const reached = (states) => states.filter((state) => state === 'connected').length >= times;
    return this.states.until(reached, `connection number ${times}`, ms);
  }

  /** Waits for an error with this code. */
  error(code, ms) {
    return this.errors.find((error) => codeOf(error) === code, `an error with code ${code}`, ms);
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
}

/** The code in an error as pusher-js reports it: bare, or within the report of a refused connection. */
const codeOf = (error) => error?.data?.code ?? error?.error?.data?.code;
