// A library of another language in a process of its own: calls go in and answers come out, a line of JSON each.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { Inbox } from './inbox.js';

export class LibraryProcess {
  /** What the library told by itself. */
  happened = new Inbox();
  #child;
  #answers = new Inbox();
  #complaints = '';
  #calls = 0;

  /** Starts the program with these settings, until the test ends. */
  constructor(t, command, args, settings) {
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    t.after(() => this.#child.kill());
    this.#child.stderr.setEncoding('utf8').on('data', (text) => (this.#complaints += text));
    this.#child.once('error', ({ message }) => this.#ended(message));
    this.#child.once('exit', () => this.#ended(this.#complaints));
    // What cannot be written is told by its end.
    this.#child.stdin.on('error', () => {});
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#take(JSON.parse(line)));
    this.#write(settings);
  }

  /** Calls a method of the library and returns its result; what it raises is an error named as the exception's class. */
  async call(method, ...args) {
    this.#write({ method, args });
    const number = (this.#calls += 1);
    const { result, error, message } = (await this.#answers.count(number, `the answer to ${method}`))[number - 1];
    if (error !== undefined) throw Object.assign(new Error(message), { name: error });
    return result;
  }

  #take(line) {
    if ('happened' in line) this.happened.push(line.happened);
    else this.#answers.push(line);
  }

  #ended(message) {
    this.#answers.push({ error: 'ProcessEnded', message });
  }

  #write(line) {
    this.#child.stdin.write(`${JSON.stringify(line)}\n`);
  }
}
