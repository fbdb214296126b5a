// `fanfare admin` as an operator runs it.

import { execFile } from 'node:child_process';
import { fanfareBinary } from './paths.js';
import { JSON_OUTPUT, adminEnvironment } from './settings.js';
import { PATIENCE_MS } from './wait.js';

/** Runs one command against the control plane of `node`: `{ code, stdout, stderr }`. */
export function runAdmin(node, words, { token } = {}) {
  const options = {
    env: { PATH: process.env.PATH, ...adminEnvironment(node.ports.control, token) },
    timeout: PATIENCE_MS,
    killSignal: 'SIGKILL',
  };
  return new Promise((resolve) => {
    execFile(fanfareBinary(), ['admin', ...words, ...JSON_OUTPUT], options, (error, stdout, stderr) => {
      resolve({ code: error ? error.code : 0, stdout, stderr });
    });
  });
}

/** Runs a command that must succeed, and answers its JSON. */
async function admin(node, words) {
  const { code, stdout, stderr } = await runAdmin(node, words);
  if (code !== 0) throw new Error(`fanfare admin ${words.join(' ')} failed with ${code}: ${stderr}`);
  return stdout.trim() === '' ? undefined : JSON.parse(stdout);
}

/** Creates an app and answers it: `{ id, name, … }`. */
export async function createApp(node, name) {
  const answer = await admin(node, ['app', 'create', '--name', name]);
  return answer.app ?? answer;
}

/** All apps. */
export async function listApps(node) {
  const answer = await admin(node, ['app', 'list']);
  return answer.apps ?? answer;
}

/** Creates a key and answers the app's credentials with it. */
export async function createKey(node, appId) {
  const { key, secret } = await admin(node, ['key', 'create', appId]);
  return { id: appId, key: key.name, secret };
}

/** Revokes the key with which these credentials sign. */
export const revokeKey = (node, { id, key }) => admin(node, ['key', 'revoke', id, key]);
