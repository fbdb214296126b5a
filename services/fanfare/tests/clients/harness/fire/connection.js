// A connection that speaks just enough Pusher to come, go and keep member lists, hundreds of them in one process. Tells
// the truth what becomes of it.

import WebSocket from 'ws';
import { memberAuth } from '../auth_endpoint.js';
import { clientPath } from '../raw_socket.js';
import { MemberList } from './member_list.js';
import { app } from './settings.js';

/** How long an answer may take: an edge may be paused for half a minute, or NATS be electing. */
const ANSWER_MS = 120_000;

const PING = { event: 'pusher:ping', data: {} };
const PONG = { event: 'pusher:pong', data: {} };

/** The close code of an edge that drains. */
const SENT_AWAY = 4200;
/** Close codes that say: come back. An edge that waits in vain for NATS uses them, too. */
const RECONNECT = /^4[12]\d\d$/;

/** Of a channel: asked for, confirmed, or left but perhaps not yet at the server. */
const JOINING = 'joining';
const JOINED = 'joined';
const LEAVING = 'leaving';

export class Connection {
  #fire;
  #ws;
  #socketId;
  /** `{ state, span, list, answered, farewell }` by channel; `answered(isConfirmed)` ends the wait. */
  #channels = new Map();
  #pongs = [];
  /** It has parted by itself; what still comes does not matter. */
  #parted = false;
  #lost;

  /** `lost(how, code)` is called when it ends without having been told to. */
  constructor(fire, life, user, lost) {
    this.#fire = fire;
    this.life = life;
    this.user = user;
    this.#lost = lost;
  }

  get name() {
    return `${this.user} (${this.#socketId}) at ${this.life.name}`;
  }

  /** The channels that it is subscribed to. */
  get channels() {
    return [...this.#channels].filter(([, { state }]) => state === JOINED).map(([channel]) => channel);
  }

  /** Its member lists. */
  get lists() {
    return [...this.#channels.values()].filter(({ state }) => state === JOINED).map(({ list }) => list);
  }

  /** Connects; whether that succeeded. */
  open() {
    const { host, port } = this.life.node;
    this.#ws = new WebSocket(`ws://${host}:${port}${clientPath(app.key)}`, { perMessageDeflate: false });
    this.#fire.sockets.add(this.#ws);
    const greeted = new Promise((resolve) => {
      this.#ws.on('message', (data) => this.#take(JSON.parse(data), resolve));
      this.#ws.on('error', () => {});
      this.#ws.on('close', (code) => {
        this.#fire.sockets.delete(this.#ws);
        resolve(false);
        this.#ended(code);
      });
    });
    return this.#answer(greeted, 'a greeting');
  }

  /** Subscribes; whether that was confirmed. */
  join(channel) {
    const span = this.#fire.truth.ask(this.user, channel, this.life);
    const confirmed = new Promise((answered) => this.#channels.set(channel, { state: JOINING, span, answered }));
    const member = { user_id: this.user, user_info: { name: this.user } };
    const proof = memberAuth(app, this.#socketId, channel, member);
    this.#send({ event: 'pusher:subscribe', data: { channel, ...proof } });
    return this.#answer(confirmed, `the confirmation of ${channel}`);
  }

  /** Unsubscribes; whether the server has taken note. */
  leave(channel) {
    const left = this.#channels.get(channel);
    // Who leaves before the confirmation is owed it all the same, perhaps after the pong: pusher-js would wait for it.
    const owed = left.state === JOINING && new Promise((resolve) => (left.farewell = resolve));
    left.state = LEAVING;
    left.span.end('left');
    left.answered(false);
    this.#send({ event: 'pusher:unsubscribe', data: { channel } });
    const noted = new Promise((resolve) => this.#pongs.push(resolve));
    this.#send(PING);
    return this.#answer(
      Promise.all([noted, owed]).then(([answer]) => {
        this.#channels.delete(channel);
        return answer;
      }),
      `a pong after leaving ${channel}`,
    );
  }

  /** Parts with a close frame. */
  close() {
    this.#part('left');
    this.#ws.close(1000);
  }

  /** Parts without a word, with a reset or not. */
  drop(isReset) {
    this.#part('dropped');
    if (isReset) this.#ws._socket?.resetAndDestroy();
    this.#ws.terminate();
  }

  /** Is cut off, which its owner learns like any other loss. */
  cut() {
    this.drop(false);
    this.#lost('cut', 1006);
  }

  #take(frame, greeted) {
    if (this.#parted) return;
    switch (frame.event) {
      case 'pusher:connection_established':
        this.#socketId = JSON.parse(frame.data).socket_id;
        return greeted(true);
      case 'pusher_internal:subscription_succeeded':
        return this.#confirmed(frame.channel, JSON.parse(frame.data).presence.ids);
      case 'pusher_internal:member_added':
        return this.#listOf(frame)?.added(JSON.parse(frame.data).user_id);
      case 'pusher_internal:member_removed':
        return this.#listOf(frame)?.removed(JSON.parse(frame.data).user_id);
      case 'pusher:ping':
        return this.#send(PONG);
      case 'pusher:pong':
        return this.#pongs.shift()?.(true);
      default:
        this.#fire.report.other(frame);
    }
  }

  #confirmed(channel, users) {
    const joined = this.#channels.get(channel);
    if (joined?.state === LEAVING) return joined.farewell?.();
    if (joined?.state !== JOINING) return this.#fire.findings.add(this.name, `${channel} confirmed unasked`);
    joined.span.confirm();
    joined.state = JOINED;
    const { findings } = this.#fire;
    const listener = { name: this.name, life: this.life, findings, removed: this.#fire.removed };
    joined.list = new MemberList(listener, channel, users);
    if (new Set(users).size !== users.length) findings.add(joined.list.name, 'somebody twice in the snapshot');
    if (!users.includes(this.user)) findings.add(joined.list.name, 'the snapshot lacks the one who joined');
    joined.answered(true);
  }

  /** The list that a frame is about, if it still matters. */
  #listOf({ channel, event }) {
    const joined = this.#channels.get(channel);
    if (joined?.state === LEAVING) return undefined;
    if (!joined?.list) this.#fire.findings.add(this.name, `${event} on ${channel} without a confirmed subscription`);
    return joined?.list;
  }

  #send(frame) {
    if (this.#ws.readyState === WebSocket.OPEN) this.#ws.send(JSON.stringify(frame));
  }

  #part(how) {
    if (this.#parted) return;
    this.#parted = true;
    for (const { span } of this.#channels.values()) span.end(how);
    this.#giveUp();
  }

  /** Ended by its edge, or with it. An edge that drains says so. */
  #ended(code) {
    if (this.#parted) return;
    const { end } = this.life;
    const isSentAway = code === SENT_AWAY;
    const how = end?.how === 'killed' || (end?.how === 'drained' && isSentAway) ? end.how : 'closed';
    const isExplained = how !== 'closed' || RECONNECT.test(code) || !this.#socketId;
    if (!isExplained) this.#fire.findings.add(this.name, `closed with ${code}`);
    this.#part(how);
    this.#lost(how, code);
  }

  /** Nothing is answered any more. */
  #giveUp() {
    for (const { answered, farewell } of this.#channels.values()) {
      answered(false);
      farewell?.();
    }
    this.#channels.clear();
    this.#pongs.splice(0).forEach((answer) => answer(false));
  }

  /** The answer, if it comes in time; else the connection is dropped. */
  async #answer(answer, what) {
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(() => {
        if (!this.#parted) {
          this.#fire.findings.add(this.name, `waited ${ANSWER_MS} ms in vain for ${what}`);
          this.cut();
        }
        resolve(false);
      }, ANSWER_MS);
    });
    const answered = await Promise.race([answer, late]);
    clearTimeout(timer);
    return answered;
  }
}
