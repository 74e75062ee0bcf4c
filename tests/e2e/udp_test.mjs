// Datagrams: a person with nc -u, a program with sessions, in the room that sockets are in.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import dgram from "node:dgram";
import WebSocket from "ws";
import { test, until, sleep } from "./lib/harness.mjs";
import { hello, data, range, COOKIE, WELCOME, DATA, NACK, GONE } from "./lib/udp.mjs";

function endpoint(t, port) {
  const socket = dgram.createSocket("udp4");
  let open = true;
  socket.leave = () => new Promise((done) => { if (open) socket.close(done); else done(); open = false; });
  t.after(() => socket.leave());
  socket.got = [];
  socket.on("message", (m) => socket.got.push(m));
  socket.say = (bytes) => socket.send(bytes, port, "127.0.0.1");
  socket.lines = () => socket.got.map(String).join("");
  return socket;
}

async function member(t, server) {
  const socket = new WebSocket(`${server.url.replace("http", "ws")}/ws/chat`, "madang.v1");
  t.after(() => socket.terminate());
  socket.units = [];
  socket.on("message", (data) => socket.units.push(JSON.parse(data)));
  await new Promise((done) => socket.on("open", done));
  socket.send('{"type":"join","room":"lobby"}');
  await until("joined", () => socket.units.some((u) => u.type === "joined"));
  socket.texts = () => socket.units.filter((u) => u.type === "message").map((u) => u.text);
  return socket;
}

async function comeIn(person, first = "/hi\n") {
  person.say(first);
  await until("a code", () => person.lines().includes("/hi "));
  person.say(`/hi ${/\/hi ([0-9a-f]{12})/.exec(person.lines())[1]}\n`);
  await until("inside", () => person.lines().includes("[lobby] you are in"));
}

test("a person with nc -u is in the room", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const other = await member(t, server);
  const person = endpoint(t, server.port);
  await comeIn(person, "hello?\n");
  assert.ok(person.got[0].length <= 48);
  person.say("first\nsecond\n");
  await until("heard", () => other.texts().length === 2);
  assert.deepEqual(other.texts(), ["first", "second"]);
  other.send('{"type":"publish","room":"lobby","text":"welcome"}');
  await until("answered", () => /\] ~?\S+: welcome\n/.test(person.lines()));
  const counts = () => other.units.filter((u) => u.type === "presence").map((u) => u.count);
  await until("shown", () => counts().at(-1) === 2);
  person.say("/quit\n");
  await until("gone", () => counts().at(-1) === 1);
});

test("what a person is told at once is one datagram; who proved nothing gets 48 bytes for each", async (t) => {
  const server = await t.server();
  const stranger = endpoint(t, server.port);
  stranger.say("/help\n/help\n/who\n");
  await until("a code", () => stranger.got.length > 0);
  const person = endpoint(t, server.port);
  await comeIn(person);
  const before = person.got.length;
  person.say("/help\n");
  await until("the help", () => person.lines().includes("anything else is said as it is"));
  person.say("/nick ann\n/nope\n");
  await until("both answers, in order", () => /you are ann\n! unknown_command/.test(person.lines()));
  assert.deepEqual(person.got.slice(before).map((m) => m.toString().split("\n")[0].split(" ").slice(0, 2).join(" ")), ["* /join", "* you"]);
  assert.deepEqual(stranger.got.map((m) => m.length <= 48), [true]);
});

/** A program: comes in, counts what it is sent, asks for what is missing. */
async function program(t, port, token = Buffer.alloc(16)) {
  const p = endpoint(t, port);
  const nonce = randomBytes(8);
  const next = async (type) => {
    await until(`type ${type}`, () => p.got.some((m) => m[0] === type));
    return p.got.find((m) => m[0] === type);
  };
  p.say(hello({ nonce, token }));
  p.say(hello({ nonce, token, cookie: (await next(COOKIE)).subarray(9, 17) }));
  p.token = (await next(WELCOME)).subarray(10, 26);
  let seq = 0;
  p.data = (unit) => p.say(data(++seq, unit));
  p.numbers = () => p.got.filter((m) => m[0] === DATA).map((m) => m.readUInt32BE(2));
  p.units = () => p.got.filter((m) => m[0] === DATA).map((m) => JSON.parse(m.subarray(6)));
  p.ask = (from, to) => p.say(range(NACK, from, to));
  return p;
}

test("a program sees what is missing and asks for it", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const other = await member(t, server);
  const p = await program(t, server.port);
  p.data({ type: "join", room: "lobby", id: 1 });
  await until("joined", () => p.units().some((u) => u.type === "joined"));
  for (let i = 0; i < 20; i++) other.send(JSON.stringify({ type: "publish", room: "lobby", text: `m${i}` }));
  await until("all", () => p.units().filter((u) => u.type === "message").length === 20);
  const numbers = p.numbers();
  assert.deepEqual(numbers, numbers.map((_, i) => i + 1));
  const lost = p.got.splice(-5).map((m) => m.readUInt32BE(2)); // as if the network had lost them
  p.ask(Math.min(...lost), Math.max(...lost));
  await until("once more", () => p.units().filter((u) => u.type === "message").length === 20);
  other.send(JSON.stringify({ type: "publish", room: "lobby", text: "x".repeat(5000) }));
  await until("too long for a datagram", () => p.got.some((m) => m[0] === GONE));
});

test("a person whose nc was killed leaves with the next message", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const other = await member(t, server);
  const counts = () => other.units.filter((u) => u.type === "presence").map((u) => u.count);
  const person = endpoint(t, server.port);
  await comeIn(person);
  await until("shown", () => counts().at(-1) === 2);
  await person.leave();
  other.send('{"type":"publish","room":"lobby","text":"still there?"}');
  await until("gone", () => counts().at(-1) === 1);
});

test("who gets a port that somebody else had begins anew", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const first = endpoint(t, server.port);
  await comeIn(first);
  first.say("/nick ann\n");
  await until("named", () => first.lines().includes("you are ann"));
  const { port } = first.address();
  await first.leave();
  await sleep(2100); // the code of somebody who came in a moment ago is taken for a copy by the network
  const next = endpoint(t, server.port);
  await new Promise((done) => next.bind(port, done));
  await comeIn(next);
  next.say("/who\n");
  await until("answered", () => /1 here/.test(next.lines().split("you are in").at(-1)));
  assert.doesNotMatch(next.lines(), /ann/);
});

test("a session moves to another address with its token", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const other = await member(t, server);
  const here = await program(t, server.port);
  here.data({ type: "join", room: "lobby" });
  await until("joined", () => here.units().some((u) => u.type === "joined"));
  const there = await program(t, server.port, here.token);
  assert.deepEqual(there.token, here.token);
  other.send('{"type":"publish","room":"lobby","text":"where are you?"}');
  await until("found", () => there.units().some((u) => u.text === "where are you?"));
});
