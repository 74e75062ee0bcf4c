// Socket.IO in `madang serve`: its documented events lead to the rooms of everyone else.

import assert from "node:assert/strict";
import { io } from "socket.io-client";
import WebSocket from "ws";
import { join } from "node:path";
import { sleep, test, until } from "./lib/harness.mjs";
import { stateFolder } from "./lib/server.mjs";

export async function connect(t, server, options = {}) {
  const socket = io(server.url, { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 100, ...options });
  t.after(() => socket.close());
  const welcome = new Promise((done) => socket.once("welcome", done));
  await new Promise((done, fail) => {
    socket.once("connect", done);
    socket.once("connect_error", fail);
  });
  return [socket, await welcome];
}

const got = (socket, event, count = 1) => new Promise((done) => {
  const list = [];
  socket.on(event, function one(message) {
    list.push(message);
    if (list.length === count) {
      socket.off(event, one);
      done(list);
    }
  });
});

async function plain(t, server, room) {
  const ws = new WebSocket(`${server.url.replace("http", "ws")}/ws/chat`, "madang.v1");
  t.after(() => ws.terminate());
  const units = [];
  const waiters = [];
  ws.on("message", (data) => {
    const unit = JSON.parse(data);
    const i = waiters.findIndex((w) => w.match(unit));
    if (i >= 0) waiters.splice(i, 1)[0].done(unit);
    else units.push(unit);
  });
  const next = (match) => {
    const i = units.findIndex(match);
    return i >= 0 ? Promise.resolve(units.splice(i, 1)[0]) : new Promise((done) => waiters.push({ match, done }));
  };
  await new Promise((done) => ws.once("open", done));
  ws.send(JSON.stringify({ type: "join", room, id: 1 }));
  await next((u) => u.type === "joined");
  return { send: (o) => ws.send(JSON.stringify(o)), next };
}

for (const transports of [["polling"], ["websocket"], ["polling", "websocket"]]) {
  test(`over ${transports.join(" and ")} a client is in the rooms of WebSocket clients`, async (t) => {
    const server = await t.server();
    const ws = await plain(t, server, "lobby");
    const [socket, welcome] = await connect(t, server, { transports });
    assert.equal(welcome.user.guest, true);
    const joined = await socket.emitWithAck("join", { room: "lobby" });
    assert.equal(joined.room, "lobby");
    assert.equal(joined.count, 2);
    const heard = got(socket, "message");
    ws.send({ type: "publish", room: "lobby", text: "from ws" });
    const [message] = await heard;
    assert.deepEqual([message.room, message.text, message.from.guest], ["lobby", "from ws", true]);
    const ack = await socket.emitWithAck("publish", { room: "lobby", text: "from sio" });
    assert.equal(ack.seq, message.seq + 1);
    const there = await ws.next((u) => u.type === "message" && u.text === "from sio");
    assert.equal(there.from.name, welcome.user.name);
    await socket.emitWithAck("publish", { room: "lobby", data: Buffer.from([1, 2, 3]) });
    assert.equal((await ws.next((u) => u.type === "message" && u.base64)).base64, "AQID");
    const history = await socket.emitWithAck("history", { room: "lobby", limit: 10 });
    assert.deepEqual(history.messages.map((m) => m.text ?? m.base64), ["from ws", "from sio", "AQID"]);
    assert.equal((await socket.emitWithAck("presence", { room: "lobby" })).count, 2);
    assert.deepEqual(await socket.emitWithAck("leave", { room: "lobby" }), { room: "lobby" });
    assert.equal((await socket.emitWithAck("publish", { room: "lobby", text: "x" })).error.code, "not_joined");
    assert.equal((await socket.emitWithAck("join", { room: "" })).error.code, "room_invalid");
    assert.equal((await socket.emitWithAck("nonsense", 1)).error.code, "unknown_type");
  });
}

async function dropped(socket) {
  const down = new Promise((done) => socket.once("disconnect", done));
  socket.io.engine.close();
  await down;
}

test("a client that was away gets what it missed, once each, and knows it", async (t) => {
  const server = await t.server();
  const ws = await plain(t, server, "lobby");
  const [socket] = await connect(t, server);
  const id = socket.id;
  const texts = [];
  socket.on("message", (m) => texts.push(m.text));
  await socket.emitWithAck("join", { room: "lobby" });
  for (let round = 0; round < 5; round++) {
    ws.send({ type: "publish", room: "lobby", text: `${round} before` });
    await new Promise((done) => { const look = () => (texts.at(-1) === `${round} before` ? done() : setTimeout(look, 5)); look(); });
    const up = new Promise((done) => socket.once("connect", done));
    await dropped(socket);
    for (let i = 0; i < 20; i++) ws.send({ type: "publish", room: "lobby", text: `${round} missed ${i}` });
    await up;
    assert.equal(socket.recovered, true);
    assert.equal(socket.id, id);
  }
  await sleep(300);
  const wanted = [];
  for (let round = 0; round < 5; round++) wanted.push(`${round} before`, ...Array.from({ length: 20 }, (_, i) => `${round} missed ${i}`));
  assert.deepEqual(texts, wanted);
});

test("a client that had received nothing yet recovers too", async (t) => {
  const server = await t.server();
  const [socket] = await connect(t, server);
  await sleep(20);
  const up = new Promise((done) => socket.once("connect", done));
  await dropped(socket);
  await up;
  assert.equal(socket.recovered, true);
});

test("where the memory does not reach, recovery says no", async (t) => {
  const server = await t.server();
  const ws = await plain(t, server, "lobby");
  const [socket] = await connect(t, server, { reconnectionDelay: 1500, reconnectionDelayMax: 1600 });
  await socket.emitWithAck("join", { room: "lobby" });
  const heard = got(socket, "message");
  ws.send({ type: "publish", room: "lobby", text: "first" });
  await heard;
  const up = new Promise((done) => socket.once("connect", done));
  await dropped(socket);
  for (let i = 0; i < 600; i++) ws.send({ type: "publish", room: "lobby", text: `missed ${i}` });
  await up;
  assert.equal(socket.recovered, false);
});

for (const signal of ["SIGTERM", "SIGKILL"]) {
  test(`with a store, a client recovers after the server was restarted by ${signal}`, async (t) => {
    const state = stateFolder(t);
    const args = ["--store", join(state, "rooms.db")];
    const first = await t.server({ state, args });
    const [socket] = await connect(t, first);
    const texts = [];
    socket.on("message", (m) => texts.push(m.text));
    await socket.emitWithAck("join", { room: "lobby" });
    await socket.emitWithAck("join", { room: "other" });
    for (let i = 0; i < 100; i++) {
      await socket.emitWithAck("publish", { room: i % 2 ? "lobby" : "other", text: `before ${i}` });
      if (signal === "SIGKILL") await sleep(2); // between rooms, a crash leaves the order of time alone
    }
    await until("everything arrived", () => texts.length === 100);
    await sleep(150);
    const down = new Promise((done) => socket.once("disconnect", done));
    await first.program.end(signal);
    await down;
    const again = new Promise((done) => socket.once("connect", done));
    const second = await first.restart(t);
    const ws = await plain(t, second, "lobby");
    await again;
    assert.equal(socket.recovered, true);
    ws.send({ type: "publish", room: "lobby", text: "after" });
    await until("the message after it", () => texts.at(-1) === "after");
    assert.deepEqual(texts, [...Array.from({ length: 100 }, (_, i) => `before ${i}`), "after"]);
  });
}

test("who has gone is not shown as present while he could come back", async (t) => {
  const server = await t.server();
  const ws = await plain(t, server, "lobby");
  const [socket] = await connect(t, server, { reconnectionDelay: 900, reconnectionDelayMax: 1000 });
  await socket.emitWithAck("join", { room: "lobby" });
  await ws.next((u) => u.type === "presence" && u.count === 2);
  await dropped(socket);
  await ws.next((u) => u.type === "presence" && u.count === 1);
  await ws.next((u) => u.type === "presence" && u.count === 2);
  assert.equal(socket.recovered, true);
});

test("Engine.IO alone carries madang.v1", async (t) => {
  const { Socket } = await import("engine.io-client");
  const server = await t.server();
  const ws = await plain(t, server, "lobby");
  for (const transports of [["polling"], ["websocket"], ["polling", "websocket"]]) {
    const socket = new Socket(server.url, { transports });
    t.after(() => socket.close());
    const heard = [];
    socket.on("message", (data) => heard.push(JSON.parse(data)));
    await until("the welcome", () => heard[0]?.type === "welcome");
    socket.send(JSON.stringify({ type: "join", room: "lobby", id: 1 }));
    await until("the room", () => heard.some((u) => u.type === "joined"));
    ws.send({ type: "publish", room: "lobby", text: transports.join() });
    await until("the message", () => heard.some((u) => u.type === "message" && u.text === transports.join()));
  }
});
