// Members of one channel by both protocols, and an observer of each, who is told of everyone who comes or goes.

import { AblyClient } from '../ably/client.js';
import { memberAuth } from '../auth_endpoint.js';
import { Subscriber } from '../subscriber.js';
import { eventually } from '../wait.js';
import { MEMBERS } from './settings.js';
import { APP } from './site.js';

const OBSERVER = 'observer';

const ids = (kind) => Array.from({ length: MEMBERS }, (_, index) => `${kind}-${index}`);

/** By Pusher's protocol, as `user_id`. */
async function joinByPusher(t, door, channel, id) {
  const authorize = ({ socketId, channelName }, answer) =>
    answer(null, memberAuth(APP, socketId, channelName, { user_id: id, user_info: { name: id } }));
  const subscriber = await Subscriber.connect(t, door, APP, { channelAuthorization: { customHandler: authorize } });
  return subscriber.subscribe(channel);
}

/** By Ably's, as `clientId`. */
async function joinByAbly(t, door, channel, id) {
  const client = await AblyClient.connect(t, door, APP, { clientId: id });
  const joined = client.channel(channel);
  await joined.channel.presence.enter({ name: id });
  return joined;
}

/** Notes at which connections a client is present; answers at how many. */
function note(known, action, clientId, connectionId) {
  const connections = known.get(clientId) ?? new Set();
  known.set(clientId, connections);
  if (action === 'leave') connections.delete(connectionId);
  else connections.add(connectionId);
  return connections.size;
}

export class Members {
  #all;
  #pusher;
  #ably;
  /** How much the observers had been told when everybody was there. */
  #before;

  /** Everybody joins, and both observers know. */
  static async join(t, balancer, channel) {
    const members = new Members();
    const [pushers, ablys] = [ids('pusher'), ids('ably')];
    members.#all = [...pushers, ...ablys, OBSERVER].sort();
    members.#pusher = await joinByPusher(t, await balancer.door(t), channel, OBSERVER);
    const observer = await AblyClient.connect(t, await balancer.door(t), APP);
    members.#ably = await observer.channel(channel).watch();
    await Promise.all([
      ...pushers.map(async (id) => joinByPusher(t, await balancer.door(t), channel, id)),
      ...ablys.map(async (id) => joinByAbly(t, await balancer.door(t), channel, id)),
    ]);
    await members.everybodyIsThere();
    members.#before = { pusher: members.#pusher.notices.items.length, ably: members.#ably.presence.items.length };
    return members;
  }

  /** Waits until both observers know exactly everybody. */
  async everybodyIsThere(ms) {
    const isWhole = (known) => known.length === this.#all.length && known.every((id, index) => id === this.#all[index]);
    await eventually(
      async () => isWhole(Object.keys(await this.#pusher.present()).sort()),
      'pusher-js to know everybody',
      ms,
    );
    await eventually(
      async () => isWhole([...new Set((await this.#ably.members()).map(([id]) => id))].sort()),
      'ably-js to know everybody',
      ms,
    );
  }

  /** What the observers were told since then that nobody did: comings, goings, and lists that lack somebody. */
  get rumours() {
    const notices = this.#pusher.notices.items.slice(this.#before.pusher);
    const presence = this.#ably.presence.items.slice(this.#before.ably);
    return [
      ...notices
        .filter(({ event }) => event.startsWith('pusher:member_'))
        .map(({ event, data }) => `pusher-js: ${event} ${data.id}`),
      ...notices
        .filter(({ event }) => event === 'pusher:subscription_succeeded')
        .flatMap(({ data }) => this.#missingIn(data)),
      ...this.#rumoursOf(presence),
    ];
  }

  /**
   * To Ably's protocol a member is a client at a connection. One that speaks it keeps its connection; one of Pusher's has a
   * new one, and is seen at both until the old one is forgotten, but never at none.
   */
  #rumoursOf(events) {
    const known = new Map();
    for (const { action, clientId, connectionId } of this.#ably.presence.items.slice(0, this.#before.ably)) {
      note(known, action, clientId, connectionId);
    }
    return events
      .filter(({ action, clientId, connectionId }) => {
        if (!clientId.startsWith('ably')) return note(known, action, clientId, connectionId) === 0;
        return ['enter', 'leave'].includes(action);
      })
      .map(({ action, clientId, connectionId }) => `ably-js: ${action} ${clientId} ${connectionId}`);
  }

  #missingIn({ members }) {
    return this.#all.filter((id) => !(id in members)).map((id) => `pusher-js: a list without ${id}`);
  }
}
