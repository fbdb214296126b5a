// What a pusher-js receives, put into inboxes: the same whether it runs in this process or in a browser.

import { isDeepStrictEqual } from 'node:util';
import { Inbox } from './inbox.js';
import { eventually } from './wait.js';

/** What arrives on one channel. A subclass answers `present()`: user_info by user_id, as pusher-js knows it. */
export class ReceivedOnChannel {
  /** `{ event, data }` of everything but the library's own events. */
  events = new Inbox();
  /** `{ event, data }` of the library's own events: subscription_succeeded, member_added, subscription_error … */
  notices = new Inbox();

  constructor(name) {
    this.name = name;
  }

  /** Puts an event where it belongs. */
  put(event, data) {
    (event.startsWith('pusher:') ? this.notices : this.events).push({ event, data });
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
    return dataOf(this.events, name);
  }

  /** The data of all notices of this name (without its prefix) so far. */
  noticed(name) {
    return dataOf(this.notices, `pusher:${name}`);
  }

  /** Waits for the notice that a user came. */
  added(userId, ms) {
    return this.#toldOf('added', userId, ms);
  }

  /** Waits for the notice that a user left. */
  removed(userId, ms) {
    return this.#toldOf('removed', userId, ms);
  }

  /** What was told of a user so far: `added` and `removed`, in order. */
  toldOf(userId) {
    const notices = this.notices.items.filter(({ event, data }) => MEMBER.test(event) && data.id === userId);
    return notices.map(({ event }) => event.replace(MEMBER, ''));
  }

  /** Waits until pusher-js knows exactly these: user_info by user_id. */
  async knows(members) {
    const isSo = async () => isDeepStrictEqual(await this.present(), members);
    await eventually(isSo, `${Object.keys(members)} to be present on ${this.name}`).catch(async (error) => {
      error.message += `\n  present are ${JSON.stringify(await this.present())}`;
      throw error;
    });
  }

  async #toldOf(what, userId, ms) {
    const isIt = ({ event, data }) => event === `pusher:member_${what}` && data.id === userId;
    return (await this.notices.find(isIt, `${userId} ${what} on ${this.name}`, ms)).data;
  }
}

const MEMBER = /^pusher:member_/;

const dataOf = (inbox, name) => inbox.items.filter(({ event }) => event === name).map(({ data }) => data);

/** What arrives on one connection, apart from its channels. */
export class ReceivedOnConnection {
  /** What the connection reports as errors, `pusher:error` events and close codes alike. */
  errors = new Inbox();
  /** The states the connection went through. */
  states = new Inbox();
  /** The channel of the signed-in user, each time it was subscribed: from then on, what is sent to the user arrives. */
  signIns = new Inbox();
  /** `{ event, data }` of what was sent to the signed-in user. */
  userEvents = new Inbox();
  /** `{ name, user_ids }` of what became of users on the watchlist. */
  watched = new Inbox();

  /** Looks at every message for the one that confirms the channel of the user. */
  putMessage({ event, channel }) {
    if (event === SUCCEEDED && channel.startsWith(userChannel(''))) this.signIns.push(channel);
  }

  get state() {
    return this.states.items.at(-1);
  }

  /** Waits for the `times`-th connection. */
  connected(times = 1, ms) {
    const reached = (states) => states.filter((state) => state === 'connected').length >= times;
    return this.states.until(reached, `connection number ${times}`, ms);
  }

  /** Waits for the state in which pusher-js does not try again. */
  gaveUp(ms) {
    return this.states.find((state) => state === 'disconnected', 'the state disconnected', ms);
  }

  /** Waits for an error with this code. */
  error(code, ms) {
    return this.errors.find((error) => codeOf(error) === code, `an error with code ${code}`, ms);
  }

  /** Waits until the user is signed in for the `times`-th time. */
  signedIn(times = 1, ms) {
    return this.signIns.count(times, `sign-in number ${times}`, ms);
  }
}

const SUCCEEDED = 'pusher_internal:subscription_succeeded';

/** The channel of what is sent to a user. */
export const userChannel = (id) => `#server-to-user-${id}`;

/** The code in an error as pusher-js reports it: bare, or within the report of a refused connection. */
const codeOf = (error) => error?.data?.code ?? error?.error?.data?.code;
