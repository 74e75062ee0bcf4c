// The Socket.IO protocol, version 5, as its own suite checks it, against target_socketio.
// https://github.com/socketio/socket.io-protocol

import assert from "node:assert/strict";
import WebSocket from "ws";
import { test } from "./lib/harness.mjs";
import { startTarget } from "./lib/targets.mjs";

const start = (t, ...more) => startTarget(t, "target_socketio", ["--ping-interval", "300", "--ping-timeout", "200", "--connect-timeout", "700", ...more]);

/** A raw connection: messages in order, pings answered on the side when asked to. */
class Raw {
  #got = [];
  #waiting = [];

  constructor(target, pings = false) {
    this.socket = new WebSocket(`${target.ws}/socket.io/?EIO=4&transport=websocket`);
    this.socket.on("error", () => {});
    this.closed = new Promise((done) => this.socket.on("close", done));
    this.socket.on("message", (data, binary) => {
      const item = binary ? data : String(data);
      if (item === "2" && !pings) return this.socket.send("3");
      const waiter = this.#waiting.shift();
      if (waiter) waiter(item);
      else this.#got.push(item);
    });
  }

  next() {
    if (this.#got.length > 0) return Promise.resolve(this.#got.shift());
    return new Promise((done, fail) => {
      this.#waiting.push(done);
      setTimeout(() => fail(new Error("nothing came")), 5000).unref();
    });
  }

  send(...items) {
    for (const item of items) this.socket.send(item);
  }
}

async function open(target, pings) {
  const raw = new Raw(target, pings);
  assert.match(await raw.next(), /^0{/);
  return raw;
}

async function connected(target, pings) {
  const raw = await open(target, pings);
  raw.send("40");
  assert.match(await raw.next(), /^40{"sid":"[^"]+"}$/);
  assert.equal(await raw.next(), '42["auth",{}]');
  return raw;
}

test("namespaces are connected to, with and without a payload", async (t) => {
  const target = await start(t);
  const raw = await open(target);
  raw.send('40{"token":"123"}');
  const answer = await raw.next();
  assert.deepEqual(Object.keys(JSON.parse(answer.slice(2))), ["sid"]);
  assert.equal(await raw.next(), '42["auth",{"token":"123"}]');
  raw.send('40/custom,{"token":"abc"}');
  assert.match(await raw.next(), /^40\/custom,{"sid":"[^"]+"}$/);
  assert.equal(await raw.next(), '42/custom,["auth",{"token":"abc"}]');
  raw.send("40/random");
  assert.equal(await raw.next(), '44/random,{"message":"Invalid namespace"}');
  raw.socket.close();
});

test("a connection without CONNECT is dropped in time", async (t) => {
  const target = await start(t);
  const raw = await open(target);
  const begin = Date.now();
  await raw.closed;
  assert.ok(Date.now() - begin >= 600);
});

for (const [name, ...packets] of [
  ["an unknown packet type", "4abc"], ["a payload that is no array", "42{}"], ["an empty event", "42[]"],
  ["an event whose name is no string", '42[{"toString":"foo"}]'], ["a reserved name", '42["disconnect"]'],
  ["an ack id that is no number", '42abc["message-with-ack",1]'], ["a second CONNECT", "40"],
  ["an event for a namespace that is not connected", '42/custom,["message"]'],
  ["text in the middle of attachments", '451-["message",{"_placeholder":true,"num":0}]', '42["message",1]'],
  ["an attachment that nobody announced", Buffer.from([1])],
  ["a placeholder out of range", '451-["message",{"_placeholder":true,"num":1}]'],
  ["an attachment count that is no number", '451.5-["message"]'],
  ["more attachments than allowed", '4599999-["message"]'],
]) {
  test(`${name} ends the connection`, { once: true }, async (t) => {
    const raw = await connected(await start(t));
    raw.send(...packets);
    await raw.closed;
  });
}

test("a namespace is left, and the connection goes on", async (t) => {
  const target = await start(t);
  const raw = await connected(target, true);
  raw.send("41");
  assert.equal(await raw.next(), "2");
  raw.send("3", "40/custom");
  assert.match(await raw.next(), /^40\/custom,/);
  await raw.next();
  raw.send("41/custom", "40");
  assert.match(await raw.next(), /^40{/);
  raw.socket.close();
});

test("events and acknowledgements, text and binary", async (t) => {
  const raw = await connected(await start(t));
  raw.send('42["message",1,"2",{"3":[true]}]');
  assert.equal(await raw.next(), '42["message-back",1,"2",{"3":[true]}]');
  raw.send('42456["message-with-ack",1,"2",{"3":[false]}]');
  assert.equal(await raw.next(), '43456[1,"2",{"3":[false]}]');
  raw.send('420["message-with-ack"]');
  assert.equal(await raw.next(), "430[]");
  raw.send('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6]));
  assert.equal(await raw.next(), '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
  assert.deepEqual([...(await raw.next())], [1, 2, 3]);
  assert.deepEqual([...(await raw.next())], [4, 5, 6]);
  raw.send('452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6]));
  assert.equal(await raw.next(), '462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
  await raw.next();
  assert.deepEqual([...(await raw.next())], [4, 5, 6]);
  raw.socket.close();
});

test("a client of protocol 4 is in the main namespace without asking", async (t) => {
  const target = await start(t);
  const response = await fetch(`${target.url}/socket.io/?EIO=3&transport=polling`);
  const text = await response.text();
  const sid = /"sid":"([^"]+)"/.exec(text)[1];
  const url = `${target.url}/socket.io/?EIO=3&transport=polling&sid=${sid}`;
  const polled = async (end) => {
    let all = "";
    while (!all.endsWith(end)) all += await (await fetch(url)).text(); // auth comes a moment later
    return all;
  };
  assert.equal(await polled("]"), '2:4013:42["auth",{}]');
  await fetch(url, { method: "POST", body: "20:40/custom?token=abc," });
  assert.equal(await polled("]"), '9:40/custom34:42/custom,["auth",{"token":"abc"}]');
  await fetch(url, { method: "POST", body: "8:40/nope," });
  assert.equal(await (await fetch(url)).text(), '27:44/nope,"Invalid namespace"');
});
