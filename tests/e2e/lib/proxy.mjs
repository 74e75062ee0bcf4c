// A TCP proxy that breaks connections in the ways a network does.

import net from "node:net";

export async function startProxy(t, targetPort) {
  const pairs = new Set();
  const proxy = { cut, refuse: false, mute: false, targetPort };
  const server = net.createServer((client) => {
    if (proxy.refuse) {
      client.destroy();
      return;
    }
    const upstream = net.connect(proxy.targetPort, "127.0.0.1");
    const pair = [client, upstream];
    pairs.add(pair);
    const pass = (from, to) => {
      // "mute": what the server says is lost, what it is told still arrives.
      from.on("data", (data) => { if (!proxy.mute || from === client) to.write(data); });
      from.on("end", () => to.end());
      from.on("error", () => to.destroy());
      from.on("close", () => { to.destroy(); pairs.delete(pair); });
    };
    pass(client, upstream);
    pass(upstream, client);
  });

  /** Every connection ends at once, as if a cable was pulled. */
  function cut() {
    for (const pair of pairs) for (const socket of pair) socket.resetAndDestroy();
  }
  t.after(() => { cut(); return new Promise((done) => server.close(done)); });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  proxy.port = server.address().port;
  return proxy;
}
