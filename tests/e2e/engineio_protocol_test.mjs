// The Engine.IO protocol, version 4, as its own suite checks it, against target_engineio.
// https://github.com/socketio/engine.io-protocol

import assert from "node:assert/strict";
import net from "node:net";
import WebSocket from "ws";
import { sleep, test } from "./lib/harness.mjs";
import { startTarget } from "./lib/targets.mjs";

const INTERVAL = 300;
const TIMEOUT = 200;
const TARGET = ["--ping-interval", INTERVAL, "--ping-timeout", TIMEOUT, "--max-payload", 1_000_000].map(String);

const start = (t, ...more) => startTarget(t, "target_engineio", [...TARGET, ...more]);
const polling = (target, query) => `${target.url}/engine.io/?EIO=4&transport=polling${query ?? ""}`;

async function openPolling(target) {
  const response = await fetch(polling(target));
  assert.equal(response.status, 200);
  const text = await response.text();
  assert.equal(text[0], "0");
  return JSON.parse(text.slice(1)).sid;
}

function next(socket, event) {
  return new Promise((done) => socket.once(event, (data, binary) => done(event === "message" && !binary ? String(data) : data)));
}

function connect(target, query = "") {
  const socket = new WebSocket(`${target.ws}/engine.io/?EIO=4&transport=websocket${query}`);
  socket.on("error", () => {});
  return socket;
}

async function openWebSocket(target) {
  const socket = connect(target);
  await next(socket, "message");
  return socket;
}

test("a handshake by polling says everything that a client needs", async (t) => {
  const target = await start(t);
  const text = await (await fetch(polling(target))).text();
  const open = JSON.parse(text.slice(1));
  assert.deepEqual(Object.keys(open).sort(), ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
  assert.deepEqual({ ...open, sid: 0 }, { sid: 0, upgrades: ["websocket"], pingInterval: INTERVAL, pingTimeout: TIMEOUT, maxPayload: 1_000_000 });
});

test("a handshake by WebSocket offers no upgrade", async (t) => {
  const target = await start(t);
  const socket = connect(target);
  const open = JSON.parse((await next(socket, "message")).slice(1));
  assert.deepEqual({ ...open, sid: 0 }, { sid: 0, upgrades: [], pingInterval: INTERVAL, pingTimeout: TIMEOUT, maxPayload: 1_000_000 });
  socket.close();
});

test("wrong handshakes get their status", async (t) => {
  const target = await start(t);
  const root = `${target.url}/engine.io/`;
  for (const [query, method] of [["transport=polling", "GET"], ["EIO=abc&transport=polling", "GET"], ["EIO=4", "GET"],
    ["EIO=4&transport=abc", "GET"], ["EIO=4&transport=polling", "POST"], ["EIO=4&transport=polling", "PUT"]]) {
    const response = await fetch(`${root}?${query}`, { method });
    assert.equal(response.status, 400, `${method} ${query}`);
  }
  for (const query of ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc"]) {
    const socket = new WebSocket(`${target.ws}/engine.io/?${query}`);
    socket.on("error", () => {});
    await next(socket, "close");
  }
});

test("text and binary messages come back by polling", async (t) => {
  const target = await start(t);
  const sid = await openPolling(target);
  const url = polling(target, `&sid=${sid}`);
  const push = await fetch(url, { method: "POST", body: "4test1\x1e4test2\x1ebAQIDBA==" });
  assert.equal(push.status, 200);
  assert.equal(await push.text(), "ok");
  assert.equal(await (await fetch(url)).text(), "4test1\x1e4test2\x1ebAQIDBA==");
});

test("text and binary messages come back by WebSocket", async (t) => {
  const target = await start(t);
  const socket = await openWebSocket(target);
  socket.send("4hello");
  assert.equal(await next(socket, "message"), "4hello");
  socket.send(Buffer.from([1, 2, 3, 4]));
  assert.deepEqual([...(await next(socket, "message"))], [1, 2, 3, 4]);
  socket.close();
});

test("what breaks the protocol ends the session", async (t) => {
  const target = await start(t);
  const url = polling(target, `&sid=${await openPolling(target)}`);
  assert.equal((await fetch(url, { method: "POST", body: "abc" })).status, 400);
  assert.equal((await fetch(url)).status, 400);
  const socket = await openWebSocket(target);
  socket.send("abc");
  await next(socket, "close");
});

test("two polls at once end the session", async (t) => {
  const target = await start(t);
  const url = polling(target, `&sid=${await openPolling(target)}`);
  // Which of them comes first is the network's to say; the one that waits is told of the end.
  const both = await Promise.all([fetch(url), sleep(5).then(() => fetch(`${url}&t=burst`))]);
  const [waiting, refused] = both.sort((a, b) => a.status - b.status);
  assert.deepEqual([waiting.status, await waiting.text(), refused.status], [200, "1", 400]);
  assert.equal((await fetch(url)).status, 400);
});

test("a poll that its client gives up ends the session", async (t) => {
  const target = await start(t);
  const url = polling(target, `&sid=${await openPolling(target)}`);
  const abort = new AbortController();
  fetch(url, { signal: abort.signal }).catch(() => {});
  await sleep(10);
  abort.abort();
  await sleep(20);
  assert.equal((await fetch(url)).status, 400);
});

test("the server pings, and gives up who does not answer", async (t) => {
  const target = await start(t);
  const url = polling(target, `&sid=${await openPolling(target)}`);
  for (let i = 0; i < 3; i++) {
    assert.equal(await (await fetch(url)).text(), "2");
    assert.equal((await fetch(url, { method: "POST", body: "3" })).status, 200);
  }
  await sleep(INTERVAL + TIMEOUT + 50);
  assert.equal((await fetch(url)).status, 400);
  const socket = await openWebSocket(target);
  for (let i = 0; i < 3; i++) {
    assert.equal(await next(socket, "message"), "2");
    socket.send("3");
  }
  await next(socket, "close");
});

test("either side may close", async (t) => {
  const target = await start(t);
  const url = polling(target, `&sid=${await openPolling(target)}`);
  const [poll] = await Promise.all([fetch(url), fetch(url, { method: "POST", body: "1" })]);
  assert.deepEqual([poll.status, await poll.text()], [200, "6"]);
  assert.equal((await fetch(url)).status, 400);
  const socket = await openWebSocket(target);
  socket.send("1");
  await next(socket, "close");
});

test("a session upgrades from polling to WebSocket", async (t) => {
  const target = await start(t);
  const sid = await openPolling(target);
  const socket = connect(target, `&sid=${sid}`);
  await next(socket, "open");
  socket.send("2probe");
  assert.equal(await next(socket, "message"), "3probe");
  socket.send("5");
  socket.send("4hello");
  assert.equal(await next(socket, "message"), "4hello");
  assert.equal((await fetch(polling(target, `&sid=${sid}`))).status, 400);
  const second = connect(target, `&sid=${sid}`);
  await next(second, "close");
  socket.send("4again");
  assert.equal(await next(socket, "message"), "4again");
  socket.close();
});

test("the published client upgrades while messages flow, and loses none", { timeout: 60 }, async (t) => {
  const { Socket } = await import("engine.io-client");
  const target = await start(t);
  const runs = Array.from({ length: 8 }, () => new Promise((done, fail) => {
    const socket = new Socket(target.url, { transports: ["polling", "websocket"] });
    const got = [];
    socket.on("message", (data) => {
      got.push(Number(data));
      if (got.length === 200) done([got, socket]);
    });
    socket.on("close", (reason) => fail(new Error(`closed: ${reason}`)));
    socket.on("open", async () => {
      for (let i = 0; i < 200; i++) {
        socket.send(String(i));
        if (i % 20 === 0) await sleep(1);
      }
    });
  }));
  for (const [got, socket] of await Promise.all(runs)) {
    assert.deepEqual(got, Array.from({ length: 200 }, (_, i) => i));
    assert.equal(socket.transport.name, "websocket");
    socket.removeAllListeners("close");
    socket.close();
  }
});

test("what is too big is refused with a reason that the client can read", async (t) => {
  const target = await start(t);
  const url = polling(target, `&sid=${await openPolling(target)}`);
  const origin = "http://elsewhere.example";
  const response = await fetch(url, { method: "POST", headers: { Origin: origin }, body: "4" + "x".repeat(1_000_001) });
  assert.equal(response.status, 413);
  assert.equal(response.headers.get("access-control-allow-origin"), origin, "a page may read the status");
  const socket = await openWebSocket(target);
  socket.send("4" + "x".repeat(1_000_001));
  const code = await new Promise((done) => socket.once("close", done));
  assert.equal(code, 1009);
  const { Socket } = await import("engine.io-client");
  for (const transport of ["polling", "websocket"]) {
    const client = new Socket(target.url, { transports: [transport] });
    client.on("open", () => client.send("x".repeat(1_000_001)));
    const [reason, details] = await new Promise((done) => client.once("close", (...how) => done(how)));
    assert.equal(reason, transport === "polling" ? "transport error" : "transport close");
    assert.equal(transport === "polling" ? details.description : details.context.code, transport === "polling" ? 413 : 1009);
  }
});

test("ten thousand handshakes that nobody goes on with are forgotten", { timeout: 120 }, async (t) => {
  const target = await start(t);
  const request = `GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n`;
  let answered = 0, sid = "";
  await Promise.all(Array.from({ length: 10 }, () => new Promise((done, fail) => {
    const socket = net.connect(target.port, "127.0.0.1");
    let text = "";
    socket.on("data", (data) => {
      text += data;
      if (text.split('"sid"').length - 1 < 1000) return;
      sid = /"sid":"([^"]+)"/.exec(text)[1];
      answered += 1000;
      socket.destroy();
      done();
    });
    socket.on("error", fail);
    socket.write(request.repeat(1000));
  })));
  assert.equal(answered, 10_000);
  await sleep(INTERVAL + TIMEOUT + 400);
  assert.equal((await fetch(polling(target, `&sid=${sid}`))).status, 400);
  await openPolling(target);
});

test("the conversation of the published client's own tests", async (t) => {
  const { Socket } = await import("engine.io-client");
  const target = await start(t, "--greet");
  for (const transports of [["polling"], ["websocket"]]) {
    const socket = new Socket(target.url, { transports });
    const said = [];
    await new Promise((done, fail) => {
      socket.on("close", fail);
      socket.on("message", (data) => {
        said.push(data);
        if (said.length === 1) socket.send("give utf8");
        if (said.length === 2) socket.send("give binary");
        if (said.length === 3) socket.send("sendHeaders");
        if (said.length === 4) done();
      });
    });
    assert.equal(said[0], "hi");
    assert.equal(said[1], "пойду спать всем спокойной ночи");
    assert.deepEqual([...new Uint8Array(said[2])], [0, 1, 2, 3, 4]);
    if (transports[0] === "polling") assert.match(JSON.parse(said[3])["content-type"], /text\/plain/);
    socket.removeAllListeners("close");
    socket.close();
  }
  const denied = await fetch(polling(target, "&deny=1"));
  assert.equal(denied.status, 403);
  assert.deepEqual(await denied.json(), { code: 4, message: "Forbidden" });
  const open = await fetch(polling(target));
  assert.deepEqual(open.headers.getSetCookie().map((c) => c.split(";")[0]), ["1=1", "2=2"]);
});
