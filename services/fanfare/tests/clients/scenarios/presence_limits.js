// How many members a presence channel takes, and how large they may be.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SMALL, apps } from '../harness/apps.js';
import { unique } from '../harness/names.js';
import { RawSocket } from '../harness/raw_socket.js';
import { signedGet } from '../harness/signed_request.js';
import { eventually } from '../harness/wait.js';

/** The statuses of refusals. */
const FULL = 4004;
const TOO_LARGE = 413;
/** Documented. */
const MEMBERS = 100;
const USER_ID_CHARS = 128;
const USER_INFO_BYTES = 1024;

/** `user_info` whose JSON is so long. */
const infoOf = (bytes) => 'x'.repeat(bytes - 2);

export function presenceLimits(route) {
  const connect = (t, app, edge = route.subscribeEdge) => RawSocket.connect(t, edge, app);

  async function refusal(t, app, channel, member, expected) {
    const socket = await connect(t, app);
    await socket.beginJoin(app, channel, member);
    const { type, status, error } = await socket.refusalOf(channel);
    assert.deepEqual([type, status], ['LimitReached', expected], error);
    assert.ok(error.length > 0, 'an explanation');
    return socket;
  }

  describe('limits of presence', () => {
    for (const [app, most] of [
      [apps.main, MEMBERS],
      [apps.smallRooms, SMALL.members],
    ]) {
      test(`§6 ${app.name}: ${most} users and no more, but more connections of theirs`, async (t) => {
        const channel = unique('presence-room');
        const edges = [route.subscribeEdge, route.publishEdge];
        const sockets = await Promise.all(
          Array.from({ length: most }, async (_, index) => {
            const socket = await connect(t, app, edges[index % 2]);
            await socket.join(app, channel, { user_id: `u${index}` });
            return socket;
          }),
        );
        const isFull = async () => {
          const query = { info: 'user_count' };
          const answer = await signedGet(route.subscribeEdge, app, `/channels/${channel}`, { query });
          return answer.json().user_count === most;
        };
        await eventually(isFull, `${most} users`);
        const refused = await refusal(t, app, channel, { user_id: 'one-more' }, FULL);
        const { count } = await (await connect(t, app)).join(app, channel, { user_id: 'u0' });
        assert.equal(count, most);
        sockets[1].send({ event: 'pusher:unsubscribe', data: { channel } });
        await sockets[0].event('pusher_internal:member_removed');
        const isIn = async () => {
          const attempt = await connect(t, app);
          await attempt.beginJoin(app, channel, { user_id: 'one-more' });
          const { event } = await attempt.happened.find((frame) => frame.channel === channel, 'an answer');
          return event === 'pusher_internal:subscription_succeeded';
        };
        await eventually(isIn, 'room for another user');
        await refused.ping();
      });
    }

    for (const [app, chars, bytes] of [
      [apps.main, USER_ID_CHARS, USER_INFO_BYTES],
      [apps.smallRooms, SMALL.userIdChars, SMALL.userInfoBytes],
    ]) {
      test(`§16 ${app.name}: a user_id of ${chars} characters and ${bytes} bytes of user_info`, async (t) => {
        const channel = unique('presence-room');
        const largest = { user_id: 'é'.repeat(chars), user_info: infoOf(bytes) };
        const { hash } = await (await connect(t, app)).join(app, channel, largest);
        assert.equal(hash[largest.user_id], largest.user_info);
        await refusal(t, app, channel, { ...largest, user_id: 'x'.repeat(chars + 1) }, TOO_LARGE);
        await refusal(t, app, channel, { user_id: 'bob', user_info: infoOf(bytes + 1) }, TOO_LARGE);
      });
    }
  });
}
