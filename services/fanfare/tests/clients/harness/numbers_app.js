// An application whose state is a growing list of numbers, made of the code in docs/recovery.md: its backend, and its
// page in a browser and on node.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { after, before } from 'node:test';
import PusherClient from 'pusher-js';
import { START_MS, launchChromium, newPage } from './browser.js';
import { codeBlock } from './documented.js';
import { Inbox } from './inbox.js';
import { publisher } from './publisher.js';
import { clientOptions } from './subscriber.js';
import { once } from './wait.js';

/** How many numbers a page may be behind. */
const AHEAD = 300;
/** How long a page may be away: after a refused attempt pusher-js waits 15 s, then 30 s. */
export const AWAY_MS = 120_000;
const PUSHER_JS = createRequire(import.meta.url).resolve('pusher-js/dist/web/pusher-with-encryption.js');

const documented = (title, channel = 'ticker') =>
  codeBlock('recovery.md', title).replaceAll('"ticker"', JSON.stringify(channel));

/** One Chromium for the tests of the suite in which this is called. */
export function usePages() {
  const pages = {};
  before(
    async () => {
      pages.chromium = await launchChromium();
    },
    { timeout: START_MS },
  );
  after(() => pages.chromium?.close());
  return pages;
}

/** Publishes numbers on one channel and knows what it has published. */
export class NumbersApp {
  /** The state: every number, in order. */
  numbers = [];
  #t;
  #app;
  #channel;
  #pusher;
  #backend;

  /** Publishes and reads at `edge`. */
  constructor(t, edge, app, channel) {
    this.#t = t;
    this.#app = app;
    this.#channel = channel;
    this.#pusher = publisher(t, edge, app);
    const backend = `${documented('backend.js')}\nreturn { history, stateOf };`;
    this.#backend = new Function('pusher', 'loadState', backend)(this.#pusher, async () => [...this.numbers]);
  }

  /** Publishes the next numbers together. */
  async publish(count = 1) {
    const batch = Array.from({ length: count }, (_, index) => {
      const number = this.numbers.length + index;
      return { channel: this.#channel, name: 'price', data: { number } };
    });
    this.numbers.push(...batch.map(({ data }) => data.number));
    if (count === 1) await this.#pusher.trigger(this.#channel, 'price', batch[0].data);
    else await this.#pusher.triggerBatch(batch);
  }

  /**
   * Publishes one after the other, some of them together, until the returned function is called and its answer there.
   * While pages are away it stops so far ahead of them that nothing they have missed is forgotten.
   */
  stream(viewers) {
    let stopped = false;
    const published = (async () => {
      for (let round = 1; !stopped; round += 1) {
        await this.publish(1 + (round % 3));
        await Promise.all(viewers.map((viewer) => viewer.shows(this.numbers.length - AHEAD, AWAY_MS)));
      }
    })();
    published.catch(() => {});
    this.#t.after(() => {
      stopped = true;
    });
    return () => {
      stopped = true;
      return published;
    };
  }

  /** What the page is rendered with. */
  rendered() {
    return this.#backend.stateOf(this.#channel);
  }

  /**
   * Opens the page in Chromium, connected to `address`. `rendered` is its state and position, if not the present ones;
   * with `isRefused`, it cannot learn what it missed.
   */
  async openInBrowser({ chromium: browser }, address, { rendered, options, isRefused } = {}) {
    const viewer = await this.#viewer('page', rendered, isRefused);
    const page = await newPage(browser);
    this.#t.after(() => page.close());
    await page.exposeFunction('tell', (kind, content) => viewer.take(kind, content));
    const setting = [this.#app.key, { ...clientOptions(address), ...options }, viewer.positions];
    await page.addInitScript((words) => {
      window.setting = words;
    }, setting);
    await page.goto(`${viewer.url}/`);
    viewer.leave = () => page.evaluate((name) => pusher.unsubscribe(name), this.#channel);
    viewer.join = () => page.evaluate((name) => void pusher.subscribe(name).bind('price', show), this.#channel);
    viewer.rejoin = () =>
      page.evaluate((name) => {
        pusher.unsubscribe(name);
        pusher.subscribe(name).bind('price', show);
      }, this.#channel);
    return viewer;
  }

  /** Does on node what the page does: the same as `openInBrowser`. */
  async openOnNode(address, { rendered, options, isRefused } = {}) {
    const viewer = await this.#viewer('node', rendered, isRefused);
    const pusher = new PusherClient(this.#app.key, { ...clientOptions(address), ...options });
    this.#t.after(() => pusher.disconnect());
    const tell = (kind, content) => viewer.take(kind, content);
    const helpers = {
      pusher,
      positions: viewer.positions,
      show: (data) => tell('show', data),
      showAll: (state) => tell('showAll', state),
      fetch: (path, ...rest) => fetch(`${viewer.url}${path}`, ...rest),
    };
    const code = `${documented('catch-up.js')}\n${documented('page.js', this.#channel)}`;
    new Function(...Object.keys(helpers), code)(...Object.values(helpers));
    listenIn(pusher, tell);
    viewer.leave = () => pusher.unsubscribe(this.#channel);
    viewer.join = () => pusher.subscribe(this.#channel).bind('price', helpers.show);
    viewer.rejoin = () => {
      viewer.leave();
      viewer.join();
    };
    return viewer;
  }

  async #viewer(name, rendered, isRefused) {
    const { state, position } = rendered ?? (await this.rendered());
    const viewer = new Viewer(name, this.#channel, position);
    viewer.take('showAll', state);
    if (isRefused) viewer.refuse();
    const server = createServer(({ url }, outgoing) => this.#answer(viewer, new URL(url, viewer.url), outgoing));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    viewer.url = `http://127.0.0.1:${server.address().port}`;
    this.#t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    return viewer;
  }

  async #answer(viewer, { pathname, searchParams }, outgoing) {
    const channel = searchParams.get('channel');
    const files = {
      '/': () => ['text/html', PAGE],
      '/pusher.js': () => ['text/javascript', readFileSync(PUSHER_JS)],
      '/catch-up.js': () => ['text/javascript', documented('catch-up.js')],
      '/page.js': () => ['text/javascript', documented('page.js', this.#channel)],
      '/missed': () => viewer.asks(() => this.#backend.history(channel, searchParams.get('after'))),
      '/state': async () => ['application/json', JSON.stringify(await this.#backend.stateOf(channel))],
    };
    try {
      const [type, content] = (await files[pathname]?.()) ?? ['text/plain', ''];
      if (pathname === '/missed') outgoing.on('finish', () => viewer.answered.push(pathname));
      outgoing.writeHead(200, { 'content-type': type }).end(content);
    } catch (error) {
      outgoing.writeHead(500).end(String(error));
    }
  }
}

/** Tells of each event that arrives on the connection, whatever becomes of it. Runs in the page, too. */
function listenIn(pusher, tell) {
  pusher.connection.bind('connected', () => {
    pusher.connection.connection.transport.bind('message', ({ data }) => tell('arrived', JSON.parse(data).event));
  });
}

const PAGE = `<!doctype html>
<meta charset="utf-8" />
<script src="pusher.js"></script>
<script src="catch-up.js"></script>
<script>
  const [key, options, positions] = setting;
  const show = (data) => tell("show", data);
  const showAll = (state) => tell("showAll", state);
  const pusher = new Pusher(key, options);
  (${listenIn})(pusher, tell);
</script>
<script src="page.js"></script>
`;

/** What a page shows. */
class Viewer {
  /** `{ kind, content }`: `show` of an event's data, `showAll` of a state. */
  told = new Inbox();
  /** The names of all events that arrived on its connection. */
  arrived = new Inbox();
  /** The answers to the question what it missed. */
  answers = new Inbox();
  /** One item for each of them that was sent. */
  answered = new Inbox();
  #gate = Promise.resolve();

  constructor(name, channel, position) {
    this.name = name;
    this.positions = { [channel]: position };
  }

  take(kind, content) {
    if (kind === 'arrived') this.arrived.push(content);
    else this.told.push({ kind, content });
  }

  /** The numbers on it: since the state was last shown as a whole, each event adds one. */
  get shown() {
    const whole = this.told.items.findLastIndex(({ kind }) => kind === 'showAll');
    const events = this.told.items.slice(whole + 1);
    return [...this.told.items[whole].content, ...events.map(({ content }) => content.number)];
  }

  /** How often the whole state was shown after the page was opened. */
  get reloads() {
    return this.told.items.filter(({ kind }) => kind === 'showAll').length - 1;
  }

  /** How many events came from the history rather than live. */
  get caughtUp() {
    return this.answers.items.reduce((sum, { events }) => sum + events.length, 0);
  }

  /** Waits until it shows this many numbers. */
  async shows(count, ms) {
    await this.told.until(() => this.shown.length >= count, `${count} numbers on the ${this.name}`, ms);
  }

  /** Waits until it has asked that often. */
  async hasAsked(times, ms) {
    await this.answers.count(times, `question ${times} of the ${this.name}`, ms);
  }

  /** Waits until that many numbers have arrived live. */
  async hears(count) {
    const isNumber = (event) => event === 'price';
    const heard = (items) => items.filter(isNumber).length >= count;
    await this.arrived.until(heard, `${count} live numbers on the ${this.name}`);
  }

  /** Answers to questions that come from now on wait until the returned function is called. */
  hold() {
    let release;
    this.#gate = new Promise((resolve) => {
      release = resolve;
    });
    return release;
  }

  /** Questions from now on cannot be answered. */
  refuse() {
    this.#gate = Promise.reject(new Error('the backend is down'));
    this.#gate.catch(() => {});
  }

  async asks(history) {
    const gate = this.#gate;
    const answer = await history();
    this.answers.push(answer);
    await gate;
    return ['application/json', JSON.stringify(answer)];
  }
}
