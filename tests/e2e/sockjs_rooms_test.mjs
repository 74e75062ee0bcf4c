// SockJS, text lines and WebSocket clients of `madang serve` in one room, on one worker and on two.

import assert from "node:assert/strict";
import net from "node:net";
import SockJS from "sockjs-client";
import WebSocket from "ws";
import { test, until } from "./lib/harness.mjs";

function sockjs(t, server, transport) {
  return new Promise((done, fail) => {
    const socket = new SockJS(`${server.url}/sockjs`, null, { transports: transport });
    t.after(() => socket.close());
    socket.units = [];
    socket.onopen = () => done(socket);
    socket.onclose = (e) => fail(new Error(`${transport} closed with ${e.code} ${e.reason}`));
    socket.onmessage = (e) => socket.units.push(JSON.parse(e.data));
  });
}

function websocket(t, server) {
  return new Promise((done, fail) => {
    const socket = new WebSocket(`${server.url.replace("http", "ws")}/ws/chat`, "madang.v1");
    t.after(() => socket.terminate());
    socket.units = [];
    socket.on("open", () => done(socket));
    socket.on("error", fail);
    socket.on("message", (data) => socket.units.push(JSON.parse(data)));
  });
}

function lines(t, server) {
  const socket = net.connect(server.port, "127.0.0.1");
  t.after(() => socket.destroy());
  socket.text = "";
  socket.on("data", (data) => (socket.text += data));
  return socket;
}

const texts = (socket) => socket.units.filter((u) => u.type === "message").map((u) => u.text);

test("every SockJS transport is in the room that sockets and typed lines are in", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const members = await Promise.all(["websocket", "xhr-streaming", "eventsource", "xhr-polling"].map((tr) => sockjs(t, server, tr)));
  members.push(await websocket(t, server));
  for (const m of members) m.send('{"type":"join","room":"lobby","id":1}');
  await until("all are in", () => members.every((m) => m.units.some((u) => u.type === "joined")));
  const typed = lines(t, server);
  typed.write("hello from nc\n");
  await until("the line reaches all", () => members.every((m) => texts(m).length === 1));
  const sent = ["hello from nc"];
  for (const [i, m] of members.entries()) {
    for (let n = 0; n < 10; n++) m.send(JSON.stringify({ type: "publish", room: "lobby", id: n, text: `${i}.${n}` }));
    await until("ten acknowledgements", () => m.units.filter((u) => u.type === "ack").length === 10);
    for (let n = 0; n < 10; n++) sent.push(`${i}.${n}`);
  }
  await until("all reach all", () => members.every((m) => texts(m).length === sent.length));
  for (const m of members) assert.deepEqual(texts(m), sent);
  await until("the person has read all", () => typed.text.includes("4.9"));
  const read = typed.text.split("\n").filter((l) => l.startsWith("[lobby]")).map((l) => l.slice(l.indexOf(": ") + 2));
  assert.deepEqual(read, sent);
});

test("a SockJS session that vanishes leaves the room", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const stays = await websocket(t, server);
  stays.send('{"type":"join","room":"lobby"}');
  const goes = await sockjs(t, server, "xhr-streaming");
  goes.onclose = () => {};
  goes.send('{"type":"join","room":"lobby"}');
  const counts = () => stays.units.filter((u) => u.type === "presence").map((u) => u.count);
  await until("two are there", () => counts().includes(2));
  goes.close();
  await until("one is left", () => counts().at(-1) === 1, 15);
});

test("binary reaches SockJS as base64", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const reader = await sockjs(t, server, "xhr-polling");
  const writer = await websocket(t, server);
  for (const m of [reader, writer]) m.send('{"type":"join","room":"lobby"}');
  await until("both are in", () => [reader, writer].every((m) => m.units.some((u) => u.type === "joined")));
  writer.send('{"type":"publish","room":"lobby","base64":"AAEC/w=="}');
  await until("the bytes", () => reader.units.some((u) => u.base64 === "AAEC/w=="));
});

test("nc and its options", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const { execFile } = await import("node:child_process");
  const piped = (input) => new Promise((done) => {
    const nc = execFile("nc", ["-N", "127.0.0.1", String(server.port)], { timeout: 10_000 }, (_, out) => done(out));
    nc.stdin.end(input);
  });
  const out = await piped("/nick ben\n/join games\nchess?\n/history\n/quit\n");
  assert.match(out, /^\* you are ben$/m);
  assert.match(out, /^\* \[games\] you are in, 1 here: ~ben; \/resume games [0-9a-f]{16}:0 continues from here$/m);
  assert.match(out, /^\* bye$/m);
  const json = await piped('{"type":"join","room":"games","history":5}\n');
  assert.match(json, /^{"type":"welcome"/);
  assert.match(json, /"text":"chess\?"/);
});

test("a session knows who is signed in, and trusts a cookie only with its Origin", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const login = await fetch(`${server.url}/chat/login`, { method: "POST", headers: { Origin: server.url }, body: '{"name":"ann"}' });
  const cookie = login.headers.get("set-cookie").split(";")[0];
  const post = (end, headers) => fetch(`${server.url}/sockjs/000/one/${end}`, { method: "POST", headers: { Cookie: cookie, ...headers } });
  assert.equal((await post("xhr", {})).status, 403);
  assert.equal((await post("xhr", { Origin: "http://evil.example" })).status, 403);
  const own = { Origin: server.url };
  assert.equal(await (await post("xhr", own)).text(), "o\n");
  const welcome = JSON.parse(JSON.parse((await (await post("xhr", own)).text()).slice(1))[0]);
  assert.deepEqual(welcome.user, { name: "ann", guest: false });
});
