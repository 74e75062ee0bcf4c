// The published clients, 4.x and 2.x, over each transport, against target_sio_app: what the clients'
// own tests ask of their server. And 4.x in Chromium.

import assert from "node:assert/strict";
import { io } from "socket.io-client";
import io2 from "socket.io-client-2";
import { fileURLToPath } from "node:url";
import { visitor } from "./lib/browser.mjs";
import { test } from "./lib/harness.mjs";
import { startTarget } from "./lib/targets.mjs";

const start = (t) => startTarget(t, "target_sio_app");
const CLIENTS = [["4.x", io], ["2.x", io2]];
const TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]];

function open(t, lib, target, nsp, transports) {
  const socket = lib(target.url + nsp, { transports, forceNew: true, reconnection: false });
  t.after(() => socket.close());
  return socket;
}

const connected = (socket) => new Promise((done, fail) => {
  socket.on("connect", done);
  socket.on("connect_error", fail);
  socket.on("error", fail);
});

const refused = (socket) => new Promise((done, fail) => {
  const why = (error) => done(error.message ?? error);
  socket.on("connect", () => fail(new Error("connected")));
  socket.on("connect_error", why);
  socket.on("error", why);
});

const answer = (socket, ...args) => new Promise((done) => socket.emit(...args, done));
const reply = (socket, event, ...args) => new Promise((done) => {
  socket.once(event, done);
  socket.emit(...args);
});

for (const [version, lib] of CLIENTS) for (const transports of TRANSPORTS) {
  test(`client ${version} over ${transports.join(" and ")}: everything its own tests use`, async (t) => {
    const target = await start(t);
    const socket = open(t, lib, target, "", transports);
    await connected(socket);
    await reply(socket, "hi", "hi");
    assert.equal(await answer(socket, "echo", 7), 7);
    assert.deepEqual([...(await answer(socket, "echo", Buffer.from([1, 2])))], [1, 2]);
    assert.equal((await answer(socket, "echo", "x".repeat(3000))).length, 3000);
    socket.once("ack", (fn) => fn(5, { test: true }));
    await reply(socket, "got it", "ack");
    assert.equal(await reply(socket, "false", "false"), false);
    assert.equal(await reply(socket, "takeUtf8", "getUtf8"), "てすと");
    assert.ok(!Number.isNaN(Date.parse(await reply(socket, "takeDate", "getDate"))));
    assert.equal(String(await reply(socket, "doge", "doge")), "asdfasdf");
    await reply(socket, "buffack", "buffa", Buffer.from("a"));
    await reply(socket, "jsonbuff-ack", "jsonbuff", { hello: "lol", message: Buffer.from("howdy"), goodbye: "gotcha" });
    socket.emit("abuff1", Buffer.from("a"));
    await reply(socket, "abuff2-ack", "abuff2", Buffer.from("b"));
    const foo = open(t, lib, target, "/foo", transports);
    await connected(foo);
    const id = await answer(foo, "getId");
    if (lib === io) assert.equal(id, foo.id);
    assert.equal(await refused(open(t, lib, target, "/no", transports)), "Auth failed (custom namespace)");
    assert.equal(await refused(open(t, lib, target, "/nobody", transports)), "Invalid namespace");
    assert.equal(await refused(open(t, lib, target, "/?fail=true", transports)), "Auth failed (main namespace)");
  });
}

test("the handshake is there to see, headers and query included", async (t) => {
  const target = await start(t);
  const socket = io(`${target.url}/?c=d%20e`, { forceNew: true, auth: { token: "abc" }, extraHeaders: { "X-Mine": "yes" } });
  t.after(() => socket.close());
  await connected(socket);
  const handshake = await socket.emitWithAck("getHandshake");
  assert.equal(handshake.query.c, "d e");
  assert.equal(handshake.headers["x-mine"], "yes");
  assert.equal(handshake.address, "127.0.0.1");
  assert.equal(handshake.secure, false);
  assert.deepEqual(handshake.auth.token, "abc");
  assert.match(handshake.url, /^\/socket\.io\/\?/);
});

for (const [version, file] of [["4.x", "socket.io-client/dist/socket.io.min.js"], ["2.x", "socket.io-client-2/dist/socket.io.js"]]) {
  test(`client ${version} in Chromium, over polling, WebSocket and from one to the other`, { timeout: 60 }, async (t) => {
    const target = await start(t);
    const page = await visitor(t);
    await page.goto(`${target.url}/socket.io/`); // any page of that origin will do
    await page.addScriptTag({ path: fileURLToPath(new URL(`../../node_modules/${file}`, import.meta.url)) });
    for (const transports of TRANSPORTS) {
      const got = await page.evaluate((list) => new Promise((done, fail) => {
        const socket = globalThis.io({ transports: list, forceNew: true, reconnection: false });
        socket.on("connect_error", (error) => fail(new Error(error.message)));
        socket.on("connect", () => socket.emit("echo", "héllo", (text) => {
          socket.on("doge", (bytes) => {
            const name = socket.io.engine.transport.name;
            socket.close();
            done([text, new TextDecoder().decode(bytes), name]);
          });
          setTimeout(() => socket.emit("doge"), 200);
        }));
      }), transports);
      assert.deepEqual(got, ["héllo", "asdfasdf", transports.at(-1)]);
    }
  });
}
