// Rooms, broadcast operators, acknowledgements from everyone and recovery, with the published
// client against target_sio_rooms.

import assert from "node:assert/strict";
import { io } from "socket.io-client";
import WebSocket from "ws";
import { sleep, test, until } from "./lib/harness.mjs";
import { join } from "node:path";
import { stateFolder } from "./lib/server.mjs";
import { startProgram, startTarget } from "./lib/targets.mjs";

const start = (t) => startTarget(t, "target_sio_rooms");

async function connect(t, target, { nsp = "", ...options } = {}) {
  const socket = io(target.url + nsp, { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 150, ...options });
  t.after(() => socket.close());
  socket.said = [];
  socket.on("said", (...args) => socket.said.push(args));
  await new Promise((done, fail) => { socket.once("connect", done); socket.once("connect_error", fail); });
  return socket;
}

async function dropAndReturn(socket, meanwhile = () => {}) {
  const down = new Promise((done) => socket.once("disconnect", done));
  const up = new Promise((done) => socket.once("connect", done));
  socket.io.engine.close();
  await down;
  await meanwhile();
  await up;
}

const first = (socket) => socket.said.map((args) => args[0]);

test("to, except, unions and single sockets reach whom they name, once", async (t) => {
  const target = await start(t);
  const [a, b, c, d] = await Promise.all([1, 2, 3, 4].map(() => connect(t, target)));
  await a.emitWithAck("join", "red");
  await b.emitWithAck("join", "red");
  await b.emitWithAck("join", "blue");
  await c.emitWithAck("join", "blue");
  await sleep(100);
  const emit = (socket, order) => socket.emitWithAck("emit", order);
  await emit(d, { args: [1] });
  await emit(d, { to: ["red"], args: [2] });
  await emit(d, { to: ["red", "blue"], args: [3] });
  await emit(d, { to: ["red", "blue"], except: ["blue"], args: [4] });
  await emit(b, { to: ["red"], broadcast: true, args: [5] });
  await emit(d, { to: [a.id], args: [6] });
  await emit(d, { except: [a.id], args: [7] });
  await emit(d, { args: [99] });
  await until("the last one arrived", () => [a, b, c, d].every((s) => first(s).includes(99) ));
  await sleep(100);
  assert.deepEqual([a, b, c, d].map((s) => first(s).sort((x, y) => x - y)),
    [[1, 2, 3, 4, 5, 6, 99], [1, 2, 3, 7, 99], [1, 3, 7, 99], [1, 7, 99]]);
});

test("acknowledgements from everyone, or from those who answered in time", async (t) => {
  const target = await start(t);
  const sockets = await Promise.all([1, 2, 3].map(() => connect(t, target)));
  sockets.forEach((s, i) => s.on("asked", (x, answer) => answer(x + i)));
  const [err, expected, answers] = await new Promise((done) => sockets[0].emit("ask", { args: [10] }, (...all) => done(all)));
  assert.deepEqual([err, expected, answers.flat().sort()], [0, 3, [10, 11, 12]]);
  sockets[2].off("asked");
  const late = await new Promise((done) => sockets[0].emit("ask", { args: [1] }, (...all) => done(all)));
  assert.deepEqual([late[0], late[1], late[2].flat().sort()], [-1010, 3, [1, 2]]);
});

test("who speaks another protocol hears what a room is asked, and nobody waits for him", async (t) => {
  const target = await start(t);
  const ws = new WebSocket(`${target.ws}/red`);
  t.after(() => ws.terminate());
  const heard = [];
  ws.on("message", (data) => heard.push(JSON.parse(data)));
  await new Promise((done) => ws.once("open", done));
  const [a, b] = await Promise.all([1, 2].map(() => connect(t, target)));
  const asked = [];
  a.on("asked", (x, answer) => { asked.push(x); answer("here"); });
  await a.emitWithAck("join", "red");
  await sleep(50);
  const [err, expected, answers] = await new Promise((done) => b.emit("ask", { to: ["red"], args: [7] }, (...all) => done(all)));
  assert.deepEqual([err, expected, answers], [0, 1, [["here"]]]);
  await until("the other one heard it", () => heard.length === 1);
  assert.deepEqual(heard, [[7]]);
  await dropAndReturn(a); // the room's log has the question: it is not asked again
  assert.equal(a.recovered, true);
  await b.emitWithAck("emit", { to: ["red"], args: ["after"] });
  await until("what came then", () => a.said.length === 1);
  assert.deepEqual(asked, [7]);
});

test("sockets are fetched, moved and sent away together", async (t) => {
  const target = await start(t);
  const [a, b] = await Promise.all([1, 2].map(() => connect(t, target)));
  await a.emitWithAck("set_data", { name: "ann" });
  const list = await a.emitWithAck("fetch", {});
  assert.deepEqual(list.map((s) => s.id).sort(), [a.id, b.id].sort());
  assert.deepEqual(list.find((s) => s.id === a.id).data, { name: "ann" });
  await a.emitWithAck("all_join", {});
  await sleep(100);
  assert.equal((await a.emitWithAck("fetch", { to: ["all"] })).length, 2);
  await a.emitWithAck("all_leave", { to: [b.id] });
  await sleep(100);
  assert.deepEqual((await a.emitWithAck("fetch", { to: ["all"] })).map((s) => s.id), [a.id]);
  const out = new Promise((done) => b.once("disconnect", done));
  a.emit("all_out", { to: [b.id] });
  assert.equal(await out, "io server disconnect");
});

test("the reason of a disconnection, with the rooms still there", async (t) => {
  const target = await start(t);
  const watch = await connect(t, target);
  await watch.emitWithAck("join", "watch");
  const reasons = [];
  watch.on("gone", (reason, seen) => reasons.push([reason, seen]));
  for (const leave of [(s) => s.disconnect(), (s) => s.io.engine.transport.ws.terminate()]) {
    const s = await connect(t, target, { transports: ["websocket"], reconnection: false });
    await s.emitWithAck("join", "seen");
    leave(s);
    const before = reasons.length;
    await until("somebody went", () => reasons.length > before);
  }
  assert.deepEqual(reasons, [["client namespace disconnect", true], ["transport close", true]]);
});

test("who is lost without a goodbye is missed after the heartbeat", async (t) => {
  const target = await startTarget(t, "target_sio_rooms", ["--ping-interval", "200", "--ping-timeout", "200"]);
  const watch = await connect(t, target);
  await watch.emitWithAck("join", "watch");
  const gone = new Promise((done) => watch.once("gone", (reason) => done(reason)));
  const ws = new WebSocket(`${target.ws}/socket.io/?EIO=4&transport=websocket`);
  t.after(() => ws.terminate());
  await new Promise((done) => ws.once("message", done));
  ws.send("40");
  await new Promise((done) => ws.once("message", done));
  ws.pause(); // it reads no ping, and its end of the line stays open
  assert.equal(await gone, "ping timeout");
});

test("a dynamic namespace is made when somebody comes", async (t) => {
  const target = await start(t);
  const a = await connect(t, target, { nsp: "/dynamic-1" });
  assert.equal(await a.emitWithAck("join", "red"), true);
  await assert.rejects(connect(t, target, { nsp: "/other", reconnection: false }), /Invalid namespace/);
});

test("what a client misses comes after it, once: private, to rooms, except, unions, volatile not", async (t) => {
  const target = await start(t);
  const [a, b] = await Promise.all([1, 2].map(() => connect(t, target)));
  await a.emitWithAck("join", "red");
  await a.emitWithAck("join", "blue");
  await a.emitWithAck("set_data", { n: 1 });
  await sleep(50);
  const id = a.id;
  await b.emitWithAck("emit", { to: ["red"], args: ["before"] });
  await until("it is there", () => a.said.length === 1);
  await dropAndReturn(a, async () => {
    await sleep(30);
    const emit = (order) => b.emitWithAck("emit", order);
    await emit({ to: ["red"], args: ["room"] });
    await emit({ to: ["red", "blue"], args: ["union"] });
    await emit({ to: ["blue"], volatile: true, args: ["volatile"] });
    await emit({ to: ["red"], except: ["blue"], args: ["not for me"] });
    await emit({ to: [id], args: ["private"] });
    await emit({ args: ["everyone", "a string at the end"] });
  });
  assert.equal(a.recovered, true);
  assert.equal(a.id, id);
  await sleep(200);
  assert.deepEqual(first(a).sort(), ["before", "everyone", "private", "room", "union"]);
  const [data, rooms, recovered] = await new Promise((done) => a.emit("state", (...all) => done(all)));
  assert.deepEqual([data, rooms.sort(), recovered], [{ n: 1 }, ["blue", "red"], true]);
});

for (const signal of ["SIGTERM", "SIGKILL"]) {
  test(`private events, except and unions are in the store when ${signal} ends the server`, async (t) => {
    const state = stateFolder(t);
    const args = ["--state", state, "--store", join(state, "rooms.db")];
    const before = await startTarget(t, "target_sio_rooms", args);
    const a = await connect(t, before);
    const b = await connect(t, before, { reconnection: false });
    const id = a.id;
    for (const room of ["red", "blue"]) await a.emitWithAck("join", room);
    await a.emitWithAck("set_data", { n: 1 });
    await sleep(50);
    await b.emitWithAck("emit", { to: [id], args: ["first, private"] });
    await until("it is there", () => a.said.length === 1);
    a.io.reconnection(false);
    const down = new Promise((done) => a.once("disconnect", done));
    a.io.engine.close();
    await down;
    await sleep(30);
    const orders = [
      { to: ["red"], args: ["room"] },
      { to: [id], args: ["private 1", "a string at the end"] },
      { to: ["red", "blue"], args: ["union"] },
      { to: ["red"], except: ["blue"], args: ["not for me"] },
      { to: [id], args: ["private 2"] },
      { to: ["blue"], volatile: true, args: ["volatile"] },
      { args: ["everyone"] },
      { to: [id], args: ["private 3"] },
    ];
    await b.emitWithAck("join", "red"); // it hears what is for red: then it has its place among the private ones
    for (const order of orders) {
      await b.emitWithAck("emit", order);
      const heard = !order.volatile && !order.to?.includes(id);
      await until("it is delivered", () => !heard || first(b).includes(order.args[0]));
      await sleep(20);
    }
    await sleep(100); // what is private is written behind the acknowledgement,
    await b.emitWithAck("join", "disk"); // and a room's message is delivered when all before it is on disk
    await b.emitWithAck("emit", { to: ["disk"], args: ["safe"] });
    await until("it is on disk", () => first(b).includes("safe"));
    await before.stop(signal);
    await startTarget(t, "target_sio_rooms", [...args, "--port", String(before.port)]);
    a.io.reconnection(true);
    a.connect();
    await new Promise((done) => a.once("connect", done));
    assert.equal(a.recovered, true);
    assert.equal(a.id, id);
    await until("the last of them", () => first(a).at(-1) === "private 3");
    assert.deepEqual(first(a), ["first, private", "room", "private 1", "union", "private 2", "everyone", "private 3"]);
    const [data, rooms, recovered] = await new Promise((done) => a.emit("state", (...all) => done(all)));
    assert.deepEqual([data, rooms.sort(), recovered], [{ n: 1 }, ["blue", "red"], true]);
  });
}

test("an event that ends with a string, and volatile ones, do not spoil the position", async (t) => {
  const target = await start(t);
  const a = await connect(t, target);
  for (let i = 0; i < 3; i++) {
    a.emit("private", { args: [`n${i}`, "a string"], volatile: i === 1 });
    await until("it is there", () => a.said.length === i + 1);
    await dropAndReturn(a);
    assert.equal(a.recovered, true, `round ${i}`);
  }
  assert.deepEqual(first(a), ["n0", "n1", "n2"]);
});

test("before the first event, and after a long silence, a client recovers", async (t) => {
  const target = await start(t);
  const [a, b] = await Promise.all([1, 2].map(() => connect(t, target)));
  await dropAndReturn(a);
  assert.equal(a.recovered, true);
  await b.emitWithAck("join", "red");
  for (let i = 0; i < 2000; i++) b.emit("emit", { to: ["red"], args: [i] });
  await until("the others talked", () => b.said.length === 2000, 20);
  await dropAndReturn(a);
  assert.equal(a.recovered, true);
  assert.equal(a.said.length, 0);
});

test("where the ring does not reach, recovery says no and the rooms are empty", async (t) => {
  const target = await start(t);
  const [a, b] = await Promise.all([1, 2].map(() => connect(t, target)));
  await a.emitWithAck("join", "red");
  await b.emitWithAck("emit", { to: ["red"], args: [0] });
  await until("it is there", () => a.said.length === 1);
  await dropAndReturn(a, async () => {
    for (let i = 0; i < 100; i++) await b.emitWithAck("emit", { to: ["red"], args: [i] });
  });
  assert.equal(a.recovered, false);
  const [, rooms] = await new Promise((done) => a.emit("state", (...all) => done(all)));
  assert.deepEqual(rooms, []);
});

test("the example chat: nicknames, who is typing, how many are here", async (t) => {
  const target = await startProgram(t, "examples/sio_chat", ["--workers", String(t.workers)]);
  const [a, b] = await Promise.all([1, 2].map(() => connect(t, target)));
  const heard = [];
  for (const name of ["said", "typing", "here"]) b.on(name, (...args) => heard.push([name, args[0], args.length > 2 ? args[1] : undefined]));
  assert.equal(await a.emitWithAck("nick", "ann"), true);
  assert.equal(await b.emitWithAck("nick", "bob"), true);
  a.emit("typing", true);
  a.emit("say", "hi");
  await until("it was said", () => heard.some((h) => h[0] === "said"));
  assert.ok(heard.some(([name, who, yes]) => name === "typing" && who === "ann" && yes === true));
  assert.ok(heard.some(([name, who, text]) => name === "said" && who === "ann" && text === "hi"));
  await until("both are counted", () => heard.some(([name, n]) => name === "here" && n === 2));
});
