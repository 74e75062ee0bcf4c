// Rooms over plain HTTP: curl, EventSource (npm's and Chromium's) and polls are members like anyone
// else, see the same order, and miss nothing when the line breaks.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import net from "node:net";
import { EventSource } from "eventsource";
import { test, until, sleep } from "./lib/harness.mjs";
import { openV1, openTcp } from "./lib/clients.mjs";
import { startProxy } from "./lib/proxy.mjs";
import { visitor } from "./lib/browser.mjs";

async function publish(server, room, text) {
  const response = await fetch(`${server.url}/publish`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ room, text }),
  });
  assert.equal(response.status, 200);
  return response.json();
}

async function poll(url, room, query = "", headers = {}) {
  const response = await fetch(`${url}/poll?room=${room}${query}`, { headers });
  return { status: response.status, etag: response.headers.get("etag"), ...(response.status === 200 ? await response.json() : {}) };
}

/** curl -N: everything it printed so far. */
function curl(t, ...args) {
  const child = spawn("curl", ["-sN", ...args]);
  const state = { text: "", child };
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (data) => { state.text += data; });
  state.exited = new Promise((done) => child.on("close", done));
  t.after(() => child.kill());
  return state;
}

const textsOfLines = (text) => text.split("\n").filter((l) => l.startsWith("{")).map((l) => JSON.parse(l))
  .filter((u) => u.type === "message").map((u) => u.text);
const textsOfEvents = (text) => textsOfLines(text.replaceAll(/^data: /gm, ""));
const numbered = (n, from = 0) => Array.from({ length: n }, (_, i) => `m${from + i}`);

/** An EventSource that keeps the texts it got. */
function listen(t, url) {
  const source = new EventSource(url);
  const state = { source, texts: [], joined: [], ids: [] };
  source.addEventListener("message", (event) => {
    state.texts.push(JSON.parse(event.data).text);
    state.ids.push(event.lastEventId);
  });
  source.addEventListener("joined", (event) => state.joined.push(JSON.parse(event.data)));
  t.after(() => source.close());
  return state;
}

test("curl, EventSource, polls and WebSockets in one room see each message once, in one order", async (t) => {
  const server = await t.server();
  const ws = await openV1(t, server.ws);
  await ws.join("all");
  const sse = curl(t, `${server.url}/sse?room=all`);
  const stream = curl(t, `${server.url}/stream?room=all`);
  const old = curl(t, "--http1.0", `${server.url}/stream?room=all`);
  const source = listen(t, `${server.url}/sse?room=all`);
  const parked = [];
  let cursor = (await poll(server.url, "all")).cursor;
  const poller = (async () => {
    while (parked.length < 60) {
      const got = await poll(server.url, "all", `&after=${cursor}&wait=5`);
      cursor = got.cursor;
      parked.push(...got.messages.map((m) => m.text));
    }
  })();
  await until("everyone is in", () => sse.text.includes("joined") && stream.text.includes("joined")
    && old.text.includes("joined") && source.joined.length === 1);
  for (let i = 0; i < 30; i++) {
    await Promise.all([publish(server, "all", `h${i}`), ws.publish("all", `w${i}`)]);
  }
  await poller;
  const order = parked;
  assert.deepEqual([...order].sort(), [...Array.from({ length: 30 }, (_, i) => [`h${i}`, `w${i}`]).flat()].sort());
  await until("all came", () => textsOfEvents(sse.text).length >= 60 && textsOfLines(stream.text).length >= 60
    && textsOfLines(old.text).length >= 60 && source.texts.length >= 60);
  assert.deepEqual(textsOfEvents(sse.text), order);
  assert.deepEqual(textsOfLines(stream.text), order);
  assert.deepEqual(textsOfLines(old.text), order);
  assert.deepEqual(source.texts, order);
  assert.equal((await poll(server.url, "all", "&history=60")).messages.length, 60);
});

test("an EventSource comes back by itself and misses nothing", async (t) => {
  const server = await t.server();
  const proxy = await startProxy(t, server.port);
  const source = listen(t, `http://127.0.0.1:${proxy.port}/sse?room=r&history=0`);
  await until("joined", () => source.joined.length === 1);
  let sent = 0;
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 5; i++) await publish(server, "r", `m${sent++}`);
    await until("they came", () => source.texts.length === sent);
    proxy.cut();
    for (let i = 0; i < 5; i++) await publish(server, "r", `m${sent++}`);
    await until("back again", () => source.texts.length >= sent, 15);
    assert.equal(source.joined.at(-1).recovered, true);
  }
  assert.deepEqual(source.texts, numbered(30));
});

test("an EventSource that is cut before its first message misses nothing either", async (t) => {
  const server = await t.server();
  const proxy = await startProxy(t, server.port);
  const source = listen(t, `http://127.0.0.1:${proxy.port}/sse?room=quiet&history=0`);
  await until("joined", () => source.joined.length === 1);
  proxy.cut();
  for (let i = 0; i < 3; i++) await publish(server, "quiet", `m${i}`);
  await until("they came", () => source.texts.length >= 3, 15);
  assert.deepEqual(source.texts, numbered(3));
});

test("Chromium's EventSource reconnects and resumes, also over TLS", { timeout: 60 }, async (t) => {
  for (const args of [[], ["--tls-dev"]]) {
    const server = await t.server({ args: [...args, "--allowed-origins", "*"] });
    const proxy = await startProxy(t, server.port);
    const page = await visitor(t, { ignoreHTTPSErrors: true });
    const base = `${args.length > 0 ? "https" : "http"}://127.0.0.1:${proxy.port}`;
    await page.goto(`${base}/healthz`);
    await page.evaluate(() => {
      window.texts = [];
      window.joined = 0;
      const source = new EventSource("/sse?room=r&history=0");
      source.addEventListener("joined", () => { window.joined += 1; });
      source.addEventListener("message", (event) => window.texts.push(JSON.parse(event.data).text));
    });
    const ws = await openV1(t, `${args.length > 0 ? "wss" : "ws"}://127.0.0.1:${server.port}/ws/chat`, { rejectUnauthorized: false });
    await ws.join("r");
    await page.waitForFunction(() => window.joined === 1);
    await ws.publish("r", "m0");
    await page.waitForFunction(() => window.texts.length === 1);
    proxy.cut();
    await ws.publish("r", "m1");
    await ws.publish("r", "m2");
    await page.waitForFunction(() => window.texts.length >= 3, undefined, { timeout: 20_000 });
    assert.deepEqual(await page.evaluate(() => window.texts), numbered(3));
  }
});

test("several rooms on one event stream resume by one token", async (t) => {
  const server = await t.server();
  const proxy = await startProxy(t, server.port);
  const source = listen(t, `http://127.0.0.1:${proxy.port}/sse?room=a&room=b%20c&history=0`);
  await until("joined", () => source.joined.length === 2);
  await publish(server, "a", "a1");
  await publish(server, "b c", "b1");
  await until("they came", () => source.texts.length === 2);
  proxy.cut();
  await publish(server, "b c", "b2");
  await publish(server, "a", "a2");
  await until("back again", () => source.texts.length >= 4, 15);
  assert.deepEqual([...source.texts].sort(), ["a1", "a2", "b1", "b2"]);
});

test("no message is lost between two polls, however they fall", async (t) => {
  const server = await t.server();
  let { cursor } = await poll(server.url, "p");
  const got = [];
  let publishing = true;
  const publisher = (async () => {
    for (let i = 0; i < 150; i++) {
      await publish(server, "p", `m${i}`);
      if (i % 7 === 0) await sleep(5);
    }
    publishing = false;
  })();
  while (publishing || got.length < 150) {
    const wait = Math.random() < 0.5 ? "&wait=2" : "";
    const answer = await poll(server.url, "p", `&after=${cursor}${wait}`);
    assert.equal(answer.recovered, true);
    got.push(...answer.messages.map((m) => m.text));
    cursor = answer.cursor;
  }
  await publisher;
  assert.deepEqual(got, numbered(150));
});

test("polls: an empty list, ETag and 304, waiting, and a hole that is told", async (t) => {
  const server = await t.server({ args: ["--room-log-count-max", "5"] });
  const first = await poll(server.url, "e");
  assert.deepEqual(first.messages, []);
  const again = await poll(server.url, "e", `&after=${first.cursor}`, { "If-None-Match": first.etag });
  assert.equal(again.status, 304);
  const start = Date.now();
  const waited = await poll(server.url, "e", `&after=${first.cursor}&wait=1`);
  assert.deepEqual(waited.messages, []);
  assert.equal(waited.cursor, first.cursor);
  assert.ok(Date.now() - start >= 950);
  for (let i = 0; i < 12; i++) await publish(server, "e", `m${i}`);
  const behind = await poll(server.url, "e", `&after=${first.cursor}&wait=5`);
  assert.equal(behind.recovered, false);
  assert.deepEqual(behind.missing, [1, 7]);
  assert.deepEqual(behind.messages.map((m) => m.text), numbered(5, 7));
  const stranger = await poll(server.url, "e", "&after=0123456789abcdef:3");
  assert.equal(stranger.recovered, false);
  assert.equal(stranger.missing, null);
  for (const bad of ["&after=x", "&after=1:2", "&wait=-1", "&history=many"]) {
    assert.equal((await poll(server.url, "e", bad)).status, 400, bad);
  }
  assert.equal((await poll(server.url, "%00")).status, 400);
  assert.equal((await fetch(`${server.url}/poll?room=e`, { method: "POST" })).status, 405);
});

test("a token of an order that is over is told, and what there is comes", async (t) => {
  const server = await t.server();
  for (let i = 0; i < 3; i++) await publish(server, "e", `m${i}`);
  const stranger = "0123456789abcdef:3";
  assert.deepEqual((await poll(server.url, "e", `&after=${stranger}`)).messages.map((m) => m.text), numbered(3));
  const stream = curl(t, `${server.url}/stream?room=e&after=${stranger}`);
  const sse = curl(t, "-H", `Last-Event-ID: ${stranger}`, `${server.url}/sse?room=e`);
  const ws = await openV1(t, server.ws);
  const joined = await ws.join("e", { history: 2, resume: { epoch: stranger.slice(0, 16), seq: 3 } });
  assert.equal(joined.recovered, false);
  for (const text of numbered(2, 1)) assert.equal((await ws.want("message")).text, text);
  await until("what there is", () => textsOfLines(stream.text).length === 3 && textsOfEvents(sse.text).length === 3);
  assert.deepEqual(textsOfLines(stream.text), numbered(3));
  assert.match(stream.text, /"recovered":false/);
  assert.match(sse.text, /"recovered":false/);
  const tcp = await openTcp(t, server.port);
  tcp.socket.write(`/resume e ${stranger}\n`);
  await until("lines too", () => /not recovered, missing: unknown;.*\n(\[e\] .*\n){3}/.test(tcp.received.toString()));
});

test("one poll may wait in several rooms, with one cursor", async (t) => {
  const server = await t.server();
  const ask = async (query) => (await fetch(`${server.url}/poll?room=a&room=b%20c%2C&room=d${query}`)).json();
  await publish(server, "a", "a1");
  let got = await ask("");
  assert.deepEqual(got.messages.map((m) => m.text), ["a1"]);
  assert.deepEqual(got.rooms, [{ room: "a" }, { room: "b c,", }, { room: "d" }]);
  for (const [room, text] of [["b c,", "b1"], ["d", "d1"], ["a", "a2"], ["d", "d2"]]) {
    const parked = ask(`&wait=5&after=${encodeURIComponent(got.cursor)}`);
    await sleep(50);
    await publish(server, room, text);
    got = await parked;
    assert.deepEqual(got.messages.map((m) => [m.room, m.text]), [[room, text]]);
    assert.ok(got.rooms.every((r) => r.recovered === true));
  }
  await publish(server, "a", "a3");
  await publish(server, "d", "d3");
  got = await ask(`&after=${encodeURIComponent(got.cursor)}`);
  assert.deepEqual(got.messages.map((m) => m.text).sort(), ["a3", "d3"]);
  const lost = await ask(`&after=${encodeURIComponent(got.cursor.replace(/^a@[0-9a-f]{16}/, "a@0123456789abcdef"))}`);
  assert.deepEqual(lost.rooms.map((r) => r.recovered), [false, true, true]);
});

test("a poll that goes away frees its place", async (t) => {
  const server = await t.server();
  const { cursor } = await poll(server.url, "gone");
  const clients = [];
  for (let i = 0; i < 200; i++) {
    const tcp = await openTcp(t, server.port);
    tcp.socket.write(`GET /poll?room=gone&after=${cursor}&wait=100 HTTP/1.1\r\nHost: a\r\n\r\n`);
    clients.push(tcp);
  }
  const connections = async () => Number(/^madang_connections(?:\{[^}]*\})? (\d+)/m.exec(await (await fetch(`${server.url}/metrics`)).text())?.[1]);
  await until("all are parked", async () => (await connections()) >= 200);
  for (const [i, tcp] of clients.entries()) {
    if (i % 2) tcp.socket.end(); // half-closed, as a browser leaves
    else tcp.socket.resetAndDestroy();
  }
  await until("all are gone", async () => (await connections()) < 50);
  // And the room still works for who is left.
  const waiting = poll(server.url, "gone", `&after=${cursor}&wait=5`);
  await sleep(100);
  await publish(server, "gone", "m0");
  assert.deepEqual((await waiting).messages.map((m) => m.text), ["m0"]);
});

test("a parked poll is answered when the server stops", async (t) => {
  const server = await t.server();
  const { cursor } = await poll(server.url, "s");
  const waiting = poll(server.url, "s", `&after=${cursor}&wait=60`);
  await sleep(200);
  const { code } = await server.stop();
  assert.equal(code, 0);
  assert.equal((await waiting).status, 200);
});

test("publish takes JSON, forms, text and bytes, and says what is wrong", async (t) => {
  const server = await t.server();
  const ws = await openV1(t, server.ws);
  await ws.join("up");
  const send = (type, body, room = "up") => fetch(`${server.url}/publish?room=${room}`, {
    method: "POST", body, headers: type ? { "Content-Type": type } : {},
  });
  const good = [
    ["application/json", '{"text":"a","id":"x"}', { text: "a" }],
    ["application/json; charset=utf-8", '{"room":"up","data":{"b":[1]},"event":"e"}', { data: { b: [1] }, event: "e" }],
    ["application/json", '{"base64":"AAEC"}', { base64: "AAEC" }],
    ["text/plain", "안녕: {not json}", { text: "안녕: {not json}" }],
    ["application/x-www-form-urlencoded", "text=c+%26%20d", { text: "c & d" }],
    ["application/x-www-form-urlencoded", '{"text":"from curl -d"}', { text: "from curl -d" }],
    ["application/octet-stream", Buffer.from([0, 255]), { base64: "AP8=" }],
  ];
  let seq = 0;
  for (const [type, body, wanted] of good) {
    const response = await send(type, body);
    assert.equal(response.status, 200, `${type} ${body}`);
    const ack = await response.json();
    assert.equal(ack.seq, ++seq);
    const unit = await ws.want("message");
    for (const [key, value] of Object.entries(wanted)) assert.deepEqual(unit[key], value);
  }
  const bad = [
    ["application/json", "{", 400], ["application/json", '{"text":1}', 400], ["application/json", "{}", 400],
    ["application/json", '{"text":"a","data":1}', 400], ["text/plain", Buffer.from([0xff]), 400], ["image/png", "x", 415],
  ];
  for (const [type, body, status] of bad) assert.equal((await send(type, body)).status, status, `${type} ${body}`);
  assert.equal((await send("text/plain", "x", "%00")).status, 400);
  assert.equal((await send("text/plain", "x".repeat(1_100_000))).status, 413);
  const foreign = await fetch(`${server.url}/publish`, { method: "POST", body: "x", headers: { Origin: "https://evil.example", "Content-Type": "text/plain" } });
  assert.equal(foreign.status, 403);
});

test("streams carry what proxies need, and heartbeats", { once: true, timeout: 60 }, async (t) => {
  const server = await t.server();
  for (const [path, type] of [["/sse", "text/event-stream"], ["/stream", "application/x-ndjson"]]) {
    const abort = new AbortController();
    const response = await fetch(`${server.url}${path}?room=h`, { signal: abort.signal });
    assert.equal(response.headers.get("content-type"), type);
    assert.equal(response.headers.get("x-accel-buffering"), "no");
    assert.match(response.headers.get("cache-control"), /no-store.*no-transform/);
    abort.abort();
  }
  const head = await fetch(`${server.url}/sse?room=h`, { method: "HEAD" });
  assert.deepEqual([head.status, head.headers.get("content-type")], [200, "text/event-stream"]);
  const socket = net.connect(server.port, "127.0.0.1");
  t.after(() => socket.destroy());
  let text = "";
  socket.on("data", (data) => { text += data; });
  socket.write("GET /sse?room=h HTTP/1.1\r\nHost: a\r\n\r\n");
  await until("a heartbeat", () => text.includes("\r\n3\r\n:\n\n\r\n"), 30);
});
