// A WebSocket client that shows every frame as it came, and sends whatever it is told to.

import WebSocket from 'ws';
import { memberAuth, userAuth } from './auth_endpoint.js';
import { Inbox } from './inbox.js';

const SUCCEEDED = 'pusher_internal:subscription_succeeded';

/** The path that pusher-js would ask for; with protocol null, without that parameter. */
export function clientPath(key, { protocol = 7 } = {}) {
  const version = protocol === null ? '' : `protocol=${protocol}&`;
  return `/app/${encodeURIComponent(key)}?${version}client=js&version=8.6.0&flash=false`;
}

export class RawSocket {
  /**
   * Everything that happened, in order: `{ upgraded }` with the headers of the answer; each frame parsed, with the text
   * itself as `text`; `{ failure }`; `{ closed, reason }` with the code.
   */
  happened = new Inbox();

  /** Opens `path` at `edge`; the connection ends with the test `t`. */
  constructor(t, edge, path, { subprotocols = [], ...options } = {}) {
    this.ws = new WebSocket(`ws://${edge.host}:${edge.port}${path}`, subprotocols, {
      perMessageDeflate: false,
      ...options,
    });
    t.after(() => this.ws.terminate());
    this.ws.on('upgrade', ({ headers }) => this.happened.push({ upgraded: headers }));
    this.ws.on('message', (data) => this.happened.push(parsed(data.toString('utf8'))));
    this.ws.on('error', (error) => this.happened.push({ failure: error.message }));
    this.ws.on('close', (code, reason) => this.happened.push({ closed: code, reason: reason.toString('utf8') }));
  }

  /** A socket that has been greeted. */
  static async connect(t, edge, app, { protocol, ...options } = {}) {
    const socket = new RawSocket(t, edge, clientPath(app.key, { protocol }), options);
    await socket.greeting();
    return socket;
  }

  /** Waits for the answer to the upgrade: its headers say what was agreed. */
  async upgraded() {
    return (await this.happened.find((item) => item.upgraded, 'the upgrade to WebSocket')).upgraded;
  }

  /** Waits for the end: `{ closed: code, reason }`. */
  closed(ms) {
    return this.happened.find((item) => item.closed !== undefined, 'the connection to close', ms);
  }

  /** Waits for the greeting: `{ socket_id, activity_timeout }`. */
  async greeting() {
    const frame = await this.event('pusher:connection_established');
    return JSON.parse(frame.data);
  }

  async socketId() {
    return (await this.greeting()).socket_id;
  }

  /** Waits for the first frame of this event for which `matches` holds. */
  event(name, matches = () => true, ms) {
    return this.happened.find((frame) => frame.event === name && matches(frame), `a frame ${name}`, ms);
  }

  /** Waits until there are `count` frames of this event, and returns them. */
  events(name, count, ms) {
    const enough = () => this.all(name).length >= count && this.all(name);
    return this.happened.until(enough, `${count} frames ${name}`, ms);
  }

  /** All frames of this event so far. */
  all(name) {
    return this.frames.filter((frame) => frame.event === name);
  }

  /** All frames so far. */
  get frames() {
    return this.happened.items.filter((item) => item.text !== undefined);
  }

  /** Sends one frame: a string or a Buffer goes out as it is, anything else as JSON. */
  send(frame, options) {
    const raw = typeof frame === 'string' || Buffer.isBuffer(frame);
    this.ws.send(raw ? frame : JSON.stringify(frame), options);
  }

  /** Subscribes, and waits until the server has confirmed it. */
  async subscribe(channel, auth = '') {
    this.send({ event: 'pusher:subscribe', data: { channel, auth } });
    await this.event(SUCCEEDED, (frame) => frame.channel === channel);
  }

  /** Joins a presence channel as `member`, and returns who is said to be there: `{ ids, hash, count }`. */
  async join(app, channel, member) {
    await this.beginJoin(app, channel, member);
    const { data } = await this.event(SUCCEEDED, (frame) => frame.channel === channel);
    return JSON.parse(data).presence;
  }

  /** Asks to join a presence channel as `member`. */
  async beginJoin(app, channel, member) {
    const proof = memberAuth(app, await this.socketId(), channel, member);
    this.send({ event: 'pusher:subscribe', data: { channel, ...proof } });
  }

  /** Waits for the refusal of a subscription: `{ type, error, status }`. */
  async refusalOf(channel) {
    const { data } = await this.event('pusher:subscription_error', (frame) => frame.channel === channel);
    return data;
  }

  /** Begins to sign in as `user`. */
  async beginSignIn(app, user) {
    this.send({ event: 'pusher:signin', data: userAuth(app, await this.socketId(), user) });
  }

  /** Signs in as `user`, and returns the `user_data` that is confirmed. */
  async signIn(app, user) {
    await this.beginSignIn(app, user);
    const { data } = await this.event('pusher:signin_success');
    // Documented as an object; a string that holds it is seen, too.
    return (typeof data === 'string' ? JSON.parse(data) : data).user_data;
  }

  /** Asks for a pong and waits for it: whatever was sent before has been looked at by then. */
  async ping() {
    const asked = this.all('pusher:pong').length + 1;
    this.send({ event: 'pusher:ping', data: {} });
    await this.events('pusher:pong', asked);
  }
}

function parsed(text) {
  try {
    return { ...JSON.parse(text), text };
  } catch {
    return { failure: 'not JSON', text };
  }
}
