// What ably-js is given to be let in: keys, and the application's own server in a function.

import { createHmac } from 'node:crypto';
import Ably from 'ably';
import { address } from './address.js';

/** The key as Ably's SDKs take it. */
export const keyOf = ({ key, secret }) => `${key}:${secret}`;

const base64url = (content) => Buffer.from(content).toString('base64url');

/**
 * An Ably JWT for `app`, good for `seconds`. `claims` may hold any others; a capability is an object. `secret` is
 * another one than the key's.
 */
export function jwt(
  app,
  { seconds = 60, capability, clientId, secret = app.secret, keyName = app.key, ...claims } = {},
) {
  const issued = Math.floor(Date.now() / 1000);
  const header = { typ: 'JWT', alg: 'HS256', kid: keyName };
  const payload = {
    iat: issued,
    exp: issued + seconds,
    ...(capability ? { 'x-ably-capability': JSON.stringify(capability) } : {}),
    ...(clientId ? { 'x-ably-clientId': clientId } : {}),
    ...claims,
  };
  const signed = [header, payload].map((part) => base64url(JSON.stringify(part))).join('.');
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

/** A REST client with the app's key, as the application's server has one. */
export const serverOf = (where, app, options = {}) =>
  new Ably.Rest({
    ...address(where),
    ...('authCallback' in options || 'token' in options ? {} : { key: keyOf(app) }),
    ...options,
  });

/**
 * An `authCallback` that answers with what `make()` makes, and counts: `calls` is how often it was asked.
 */
export function callback(make) {
  const authCallback = async (params, answer) => {
    authCallback.calls += 1;
    try {
      answer(null, await make(params));
    } catch (error) {
      answer(error, null);
    }
  };
  authCallback.calls = 0;
  return authCallback;
}
