// ably-js and EventSource as a page in headless Chromium uses them: stock builds, on a page of another origin.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { after, before } from 'node:test';
import { START_MS, launchChromium, newPage } from '../browser.js';
import { Inbox } from '../inbox.js';

const { resolve } = createRequire(import.meta.url);
const library = (name) => readFileSync(resolve(name));

const FILES = {
  '/': [
    'text/html',
    '<!doctype html><meta charset="utf-8"><script src="ably.js"></script><script src="vcdiff.js"></script>',
  ],
  '/ably.js': ['text/javascript', () => readFileSync(resolve('ably').replace('ably-node.js', 'ably.min.js'))],
  '/vcdiff.js': ['text/javascript', () => library('@ably/vcdiff-decoder/dist/vcdiff-decoder.min.js')],
};

/** One Chromium for the tests of the suite in which this is called. */
export function usePages() {
  const pages = new Pages();
  before(() => pages.start(), { timeout: START_MS });
  after(() => pages.stop());
  return pages;
}

class Pages {
  #chromium;
  #server = createServer((incoming, outgoing) => {
    const [type, content] = FILES[incoming.url] ?? ['text/plain', ''];
    outgoing.setHeader('content-type', type);
    outgoing.end(typeof content === 'function' ? content() : content);
  });

  async start() {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#chromium = await launchChromium();
  }

  async stop() {
    await this.#chromium?.close();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /**
   * A page that runs `script(settings)`, closed with the test `t`. What the script gives to `report(kind, content)` is in
   * the inbox `reports` as `{ kind, content }`; what it puts into `window.page` can be called.
   */
  async open(t, script, settings) {
    const tab = await newPage(this.#chromium);
    t.after(() => tab.close());
    const page = new Page(tab);
    await tab.exposeFunction('report', (kind, content) => page.reports.push({ kind, content }));
    tab.on('pageerror', (error) => page.reports.push({ kind: 'pageerror', content: error.message }));
    await tab.goto(`http://127.0.0.1:${this.#server.address().port}/`);
    await tab.evaluate(script, settings);
    return page;
  }
}

class Page {
  reports = new Inbox();
  #tab;

  constructor(tab) {
    this.#tab = tab;
  }

  /** All of one kind so far. */
  of(kind) {
    return this.reports.items.filter((report) => report.kind === kind).map(({ content }) => content);
  }

  /** All of one kind, once there are `count`. */
  async count(kind, count) {
    await this.reports.until(() => this.of(kind).length >= count, `${count} times ${kind} from the page`);
    return this.of(kind);
  }

  /** Calls a function of `window.page`. */
  call(name, ...args) {
    return this.#tab.evaluate(([name, args]) => page[name](...args), [name, args]);
  }
}
