// Signed HTTP requests made by hand, so that every part of them can be wrong.

import { createHash, createHmac } from 'node:crypto';
import { request } from './http.js';

const md5 = (body) => createHash('md5').update(body).digest('hex');
const hmac = (secret, text) => createHmac('sha256', secret).update(text).digest('hex');
export const now = () => Math.floor(Date.now() / 1000);

/**
 * The path with a signed query. `query` overrides or adds parameters before signing (undefined removes one);
 * `signature` replaces the right one.
 */
export function signedPath(app, { method = 'GET', path, body, query = {}, signature }) {
  const parameters = {
    auth_key: app.key,
    auth_timestamp: now(),
    auth_version: '1.0',
    ...(body === undefined ? {} : { body_md5: md5(body) }),
    ...query,
  };
  const text = Object.entries(parameters)
    .filter(([, value]) => value !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
  const right = hmac(app.secret, `${method}\n${path}\n${text}`);
  return `${path}?${text}&auth_signature=${signature ?? right}`;
}

const appPath = (app, path) => `/apps/${app.id}${path}`;

/** A signed GET; `path` is below `/apps/{id}`. */
export function signedGet(edge, app, path, options = {}) {
  return request({ port: edge.port, path: signedPath(app, { path: appPath(app, path), ...options }) });
}

/** A signed POST of `content`: a string or a Buffer goes out as it is, anything else as JSON. */
export function signedPost(edge, app, path, content, options = {}) {
  const isRaw = typeof content === 'string' || Buffer.isBuffer(content);
  const body = isRaw ? content : JSON.stringify(content);
  const target = signedPath(app, { method: 'POST', path: appPath(app, path), body, ...options });
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  return request({ port: edge.port, method: 'POST', path: target, headers, body });
}

/** Whether a node accepts the app's signature. */
export async function isKnownAt(edge, app) {
  return (await signedGet(edge, app, '/channels')).status === 200;
}
