// A stock pusher-js among the crowd, behind a load balancer: it comes back by itself, and its own idea of who is there
// has to be right, too.

import { memberAuth } from '../auth_endpoint.js';
import { FrontDoor } from '../front_door.js';
import { Subscriber } from '../subscriber.js';
import { MemberList, difference } from './member_list.js';
import { app } from './settings.js';

/** After a refused attempt pusher-js waits 15 s. */
const CONNECT_MS = 180_000;

export class Watcher {
  #fire;
  #door;
  #life;
  #nextLife;
  #subscriber;
  /** `{ span, list, subscription }` by channel. */
  #rooms = new Map();

  /** One on these channels, by way of `life` as long as that is open. */
  static async start(t, fire, user, life, channels) {
    const watcher = new Watcher();
    watcher.#fire = fire;
    watcher.user = user;
    watcher.#door = await FrontDoor.open(t, life.node);
    watcher.#nextLife = life;
    await watcher.#begin(t, channels);
    return watcher;
  }

  get name() {
    return `${this.user} at ${this.#life?.name}`;
  }

  /** Its member lists, while it is subscribed. */
  get lists() {
    return [...this.#rooms.values()].map(({ list }) => list).filter(Boolean);
  }

  get life() {
    return this.#life;
  }

  /** Goes to another edge the next time that it connects. */
  leadTo(life) {
    this.#nextLife = life;
    this.#door.leadTo(life.node);
  }

  /** Loses its connection. */
  cut() {
    this.#end('dropped');
    this.#door.cut();
  }

  /** Waits until it is subscribed to everything. */
  async settled() {
    for (const { subscription } of this.#rooms.values()) {
      const isThere = () => this.#rooms.get(subscription.name).list;
      await subscription.notices.until(isThere, `${this.user} to be back on ${subscription.name}`, CONNECT_MS);
    }
  }

  /** Where pusher-js' own members differ from the truth. */
  async differences() {
    const rooms = [...this.#rooms.values()].map(async ({ subscription }) => {
      const known = Object.keys(await subscription.present());
      const present = this.#fire.truth.present(subscription.name);
      const missing = [...present.keys()].filter((user) => !known.includes(user));
      const excess = known.filter((user) => !present.has(user));
      return difference(`pusher-js of ${this.name} on ${subscription.name}`, missing, excess);
    });
    return (await Promise.all(rooms)).filter(Boolean);
  }

  async #begin(t, channels) {
    const authorize = ({ socketId, channelName }, answer) =>
      answer(null, memberAuth(app, socketId, channelName, { user_id: this.user, user_info: { name: this.user } }));
    const options = { channelAuthorization: { customHandler: authorize } };
    this.#subscriber = new Subscriber(t, this.#door, app, options);
    const { connection } = this.#subscriber.pusher;
    connection.bind('connecting', () => (this.#life = this.#nextLife));
    connection.bind('connected', () => this.#ask());
    connection.bind('state_change', ({ previous }) => {
      if (previous === 'connected') this.#end(this.#life.end?.how ?? 'closed');
    });
    this.#life = this.#nextLife;
    for (const channel of channels) this.#join(channel);
    await this.settled();
  }

  #join(channel) {
    const subscription = this.#subscriber.join(channel);
    const room = { subscription };
    this.#rooms.set(channel, room);
    subscription.channel.bind('pusher:subscription_succeeded', ({ members }) => {
      room.span.confirm();
      const { findings, removed } = this.#fire;
      const listener = { name: this.name, life: this.#life, findings, removed };
      room.list = new MemberList(listener, channel, Object.keys(members));
      // The inbox was looked at before there was a list.
      subscription.notices.push({ event: 'fire:list', data: null });
    });
    subscription.channel.bind('pusher:member_added', ({ id }) => room.list?.added(id));
    subscription.channel.bind('pusher:member_removed', ({ id }) => room.list?.removed(id));
  }

  #ask() {
    for (const [channel, room] of this.#rooms) room.span = this.#fire.truth.ask(this.user, channel, this.#life);
  }

  #end(how) {
    for (const room of this.#rooms.values()) {
      room.span?.end(how);
      room.list = undefined;
    }
  }
}
