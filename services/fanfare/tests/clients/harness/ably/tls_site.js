// One fanfare that speaks nothing but TLS to clients: what some of Ably's SDKs insist on.

import { execFileSync } from 'node:child_process';
import { apps } from '../apps.js';
import { Node } from '../node.js';
import { seedFile } from '../seed.js';
import { devArguments } from '../settings.js';
import { Workspace } from '../workspace.js';

/** Days for which a certificate is good. */
const DAYS = '2';

export class TlsSite {
  name = 'one fanfare dev with TLS';
  edges = [];
  /** The PEM file with the certificate that vouches for the server. */
  authority;
  #workspace;

  async start() {
    this.#workspace = new Workspace();
    const [cert, key] = this.#certificate();
    this.authority = cert;
    const seed = this.#workspace.file('seed.toml', seedFile(Object.values(apps)));
    const tls = ['--set', `tls.cert_file=${cert}`, '--set', `tls.key_file=${key}`];
    const node = await Node.create('dev', (ports) => [...devArguments({ ports, seed }), ...tls]);
    this.edges.push(node);
    await node.start();
  }

  async stop() {
    await Promise.all(this.edges.map((edge) => edge.kill()));
    this.#workspace?.remove();
  }

  /** A certificate for 127.0.0.1 that signs itself. */
  #certificate() {
    const [cert, key] = ['cert.pem', 'key.pem'].map((name) => this.#workspace.file(name, ''));
    const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const kind = ['-x509', '-newkey', 'rsa:2048', '-noenc', '-days', DAYS];
    execFileSync('openssl', ['req', ...kind, ...subject, '-keyout', key, '-out', cert], { stdio: 'pipe' });
    return [cert, key];
  }
}
