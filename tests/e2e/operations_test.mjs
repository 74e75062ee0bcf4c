// What an operator looks at: health, metrics, logs, the page's headers.

import assert from "node:assert/strict";
import { test, until } from "./lib/harness.mjs";
import { openTcp, openV1 } from "./lib/clients.mjs";

test("health, readiness and metrics answer", async (t) => {
  const server = await t.server();
  assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
  assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
  const client = await openV1(t, server.ws);
  await client.join("lobby");
  await client.publish("lobby", "counted");
  const metrics = await fetch(`${server.url}/metrics`);
  assert.match(metrics.headers.get("content-type"), /^text\/plain; version=0\.0\.4/);
  const text = await metrics.text();
  for (const line of text.trim().split("\n")) {
    assert.match(line, /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+)$/, line);
  }
  assert.match(text, /^madang_/m);
});

test("the page comes compressed, tagged, cached by its name, and locked down", async (t) => {
  const server = await t.server();
  const page = await fetch(`${server.url}/chat`);
  assert.equal(page.status, 200);
  assert.match(page.headers.get("content-type"), /^text\/html; charset=utf-8/);
  const policy = page.headers.get("content-security-policy");
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
  const html = await page.text();
  const script = /src="(chat\/[^"]+\.js)"/.exec(html)[1];
  const asset = await fetch(`${server.url}/${script}`);
  assert.equal(asset.status, 200);
  assert.equal(asset.headers.get("content-encoding"), "gzip");
  assert.match(asset.headers.get("cache-control"), /immutable/);
  assert.match(asset.headers.get("vary"), /accept-encoding/i);
  const tag = page.headers.get("etag");
  const same = await fetch(`${server.url}/chat`, { headers: { "If-None-Match": tag } });
  assert.equal(same.status, 304);
  const plain = await fetch(`${server.url}/${script}`, { headers: { "Accept-Encoding": "identity" } });
  assert.equal(plain.headers.get("content-encoding"), null);
});

test("logs are logfmt or JSON, a line an event", { once: true }, async (t) => {
  const server = await t.server({ args: ["--log-format", "json", "--log-level", "debug"] });
  await openV1(t, server.ws);
  await server.stop();
  const lines = server.output.split("\n").filter((l) => l.startsWith("{"));
  assert.ok(lines.length > 0, server.output);
  for (const line of lines) JSON.parse(line);
});

const CROWD = 250; // more than two steps of a hundred

async function crowd(t, server) {
  const clients = [];
  for (let i = 0; i < CROWD; i++) clients.push(await openV1(t, server.ws));
  return clients;
}

/** Milliseconds between the first and the last close, and every code that came. */
async function farewell(clients) {
  const ends = await Promise.all(clients.map((c) => c.closed.then(({ code }) => ({ code, at: performance.now() }))));
  const times = ends.map((e) => e.at).sort((a, b) => a - b);
  return { spread_ms: times.at(-1) - times[0], codes: [...new Set(ends.map((e) => e.code))] };
}

test("SIGTERM: a crowd is told to go a part at a time; lines, parked polls and the idle end with it", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const poll = fetch(`${server.url}/poll?room=nobody&wait=30`);
  const clients = await crowd(t, server);
  const typist = await openTcp(t, server.port);
  typist.socket.write("/who\n");
  await until("the greeting", () => typist.received.includes("Welcome"));
  const ended = server.stop();
  const { spread_ms, codes } = await farewell(clients);
  assert.deepEqual(codes, [1001]);
  assert.ok(spread_ms >= 150, `all were told within ${spread_ms} ms`);
  assert.equal((await poll).status, 200);
  await typist.closed;
  const begin = performance.now();
  assert.deepEqual(await ended, { code: 0, signal: null });
  assert.ok(performance.now() - begin < 2000, "it does not wait for the rest of the drain time");
});

test("SIGTERM with --shutdown-drain-s 0: everybody is told at once", { timeout: 60 }, async (t) => {
  const server = await t.server({ args: ["--shutdown-drain-s", "0"] });
  const clients = await crowd(t, server);
  const ended = server.stop();
  const { spread_ms, codes } = await farewell(clients);
  assert.deepEqual(codes, [1001]);
  assert.ok(spread_ms < 150, `the last was told ${spread_ms} ms after the first`);
  assert.deepEqual(await ended, { code: 0, signal: null });
});

test("a second SIGTERM ends the server in the middle of its goodbyes", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const clients = await crowd(t, server);
  server.program.signal("SIGTERM");
  await clients[0].closed.then(() => {}, () => {});
  server.program.signal("SIGTERM");
  const { codes } = await farewell(clients);
  assert.ok(codes.includes(1006), `${codes}: those who were not told yet are cut off`);
  assert.deepEqual(await server.program.exited, { code: 0, signal: null });
});
