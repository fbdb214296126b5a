// Drives the stock pusher-js of this page, and tells the test what it receives. `report` is given by the test.

const plain = (value) => JSON.parse(JSON.stringify(value ?? null));

window.client = {
  pusher: undefined,

  start(key, options) {
    this.pusher = new Pusher(key, options);
    const { connection, user } = this.pusher;
    connection.bind('state_change', ({ current }) => report('state', { current, socketId: connection.socket_id }));
    connection.bind('error', (error) => report('error', plain(error)));
    connection.bind('message', ({ event, channel }) => report('message', { event, channel }));
    user.bind_global((event, data) => report('userEvent', { event, data: plain(data) }));
    user.watchlist.bind_global((_, change) => report('watched', plain(change)));
  },

  subscribe(name) {
    this.pusher.subscribe(name).bind_global((event, data) => report('channel', { name, event, data: plain(data) }));
  },

  bindWithMetadata(name, event) {
    this.pusher.channel(name).bind(event, (data, metadata) => report('metadata', { name, event, data, metadata }));
  },

  trigger: (name, event, data) => client.pusher.channel(name).trigger(event, data),
  present: (name) => plain(client.pusher.channel(name).members.members),
};
