// The server's side as its application sees it: middleware, catch-all listeners, operators and
// flags, headers, options. The published client against target_sio_api.

import assert from "node:assert/strict";
import { io } from "socket.io-client";
import io2 from "socket.io-client-2";
import WebSocket from "ws";
import { sleep, test, until } from "./lib/harness.mjs";
import { startTarget } from "./lib/targets.mjs";

const start = (t, args) => startTarget(t, "target_sio_api", args);

async function connect(t, target, ns = "", options = {}) {
  const socket = io(target.url + ns, { forceNew: true, reconnection: false, ...options });
  t.after(() => socket.close());
  socket.said = [];
  socket.on("said", (...args) => socket.said.push(args[0]));
  await new Promise((done, fail) => { socket.once("connect", done); socket.once("connect_error", fail); });
  return socket;
}

const once = (socket, event) => new Promise((done) => socket.once(event, (...args) => done(args)));

test("a chain of middleware goes on later, in order, and refuses with data", async (t) => {
  const target = await start(t);
  const socket = io(`${target.url}/chain`, { forceNew: true });
  t.after(() => socket.close());
  assert.deepEqual(await once(socket, "data"), [["first", "second"]]);
  await assert.rejects(connect(t, target, "/chain", { auth: { bad: true } }), (error) => {
    assert.equal(error.message, "not you");
    assert.deepEqual(error.data, { code: 7, why: ["bad"] });
    return true;
  });
});

test("a refusal concerns one namespace, and each has a socket of its own", async (t) => {
  const target = await start(t);
  const main = await connect(t, target, "", { auth: { bad: true } });
  const refused = main.io.socket("/chain", { auth: { bad: true } });
  assert.equal((await once(refused, "connect_error"))[0].message, "not you");
  const other = main.io.socket("/other");
  await once(other, "connect");
  const [a, b] = [await main.emitWithAck("self"), await other.emitWithAck("self")];
  assert.deepEqual([a.id, a.ns, b.id, b.ns], [main.id, "/", other.id, "/other"]);
  assert.notEqual(a.id, b.id);
  assert.deepEqual([a.connected, a.found], [true, true]);
});

test("a socket knows its transport, before and after the upgrade", async (t) => {
  const target = await start(t);
  for (const transports of [["polling"], ["websocket"], ["polling", "websocket"]]) {
    const socket = await connect(t, target, "", { transports });
    await until("the transport", () => socket.io.engine.transport.name === transports.at(-1));
    await sleep(50);
    assert.equal((await socket.emitWithAck("self")).transport, transports.at(-1));
  }
});

test("catch-all listeners hear what comes and what goes out", async (t) => {
  const target = await start(t);
  const socket = await connect(t, target, "/watch");
  for (const args of [["one"], ["two", 2, { x: [3] }]]) {
    socket.emit(...args);
    assert.deepEqual(await once(socket, "any"), [args[0], args.slice(1)]);
  }
  const count = await socket.emitWithAck("count");
  assert.ok(count >= 2, `${count} went out`);
});

test("socket.broadcast leaves the sender out; local stays on one worker", async (t) => {
  const target = await start(t);
  const sockets = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(() => connect(t, target)));
  await sockets[0].emitWithAck("broadcast");
  await until("the others", () => sockets.slice(1).every((s) => s.said.length === 1));
  assert.deepEqual(sockets[0].said, []);
  for (const s of sockets) s.said.length = 0;
  await sockets[0].emitWithAck("local");
  await sleep(200);
  assert.deepEqual(sockets[0].said, [2]);
  const heard = sockets.filter((s) => s.said.length === 1).length;
  assert.ok(t.workers === 1 ? heard === 8 : heard < 8, `${heard} of 8`);
});

test("attachments stay behind their event when several emit at once", async (t) => {
  const target = await start(t);
  for (const transports of [["polling"], ["websocket"]]) {
    const reader = await connect(t, target, "", { transports });
    const writers = await Promise.all([1, 2, 3].map(() => connect(t, target, "", { transports: ["websocket"] })));
    await reader.emitWithAck("join");
    const seen = [];
    reader.on("binary", (who, n, a, b) => seen.push([who, n, [...new Uint8Array(a)], [...new Uint8Array(b)]]));
    for (let n = 0; n < 100; n++) writers.forEach((w, who) => w.emit("binary", who, n, Buffer.from([who, n, 1]), Buffer.from([who, n, 2])));
    await until("everything", () => seen.length === 300, 20);
    for (const [who, n, a, b] of seen) assert.deepEqual([a, b], [[who, n, 1], [who, n, 2]]);
    for (const who of [0, 1, 2]) assert.deepEqual(seen.filter((row) => row[0] === who).map((row) => row[1]), Array.from({ length: 100 }, (_, n) => n));
    reader.close();
  }
});

test("an event is compressed where its flag asks for it, and the connection can", async (t) => {
  const target = await start(t);
  const bytes = async (event, perMessageDeflate) => {
    const ws = new WebSocket(`${target.ws}/socket.io/?EIO=4&transport=websocket`, { perMessageDeflate });
    t.after(() => ws.terminate());
    const heard = [];
    ws.on("message", (data) => heard.push(String(data)));
    await until("the handshake", () => heard.length === 1);
    ws.send("40");
    await until("the namespace", () => heard.length === 2);
    const before = ws._socket.bytesRead;
    ws.send(`42["${event}"]`);
    await until("the text", () => heard.length === 3);
    assert.equal(JSON.parse(heard[2].slice(2))[1].length, 50_000);
    return ws._socket.bytesRead - before;
  };
  assert.ok((await bytes("compressed long", true)) < 1000);
  assert.ok((await bytes("plain long", true)) > 50_000);
  assert.ok((await bytes("compressed long", false)) > 50_000);
});

test("the server ends a namespace, or the connection with all of them", async (t) => {
  const target = await start(t);
  const main = await connect(t, target);
  const other = main.io.socket("/other");
  await once(other, "connect");
  main.emit("leave");
  assert.equal((await once(main, "disconnect"))[0], "io server disconnect");
  assert.equal((await other.emitWithAck("self")).ns, "/other");
  main.connect();
  await once(main, "connect");
  const gone = Promise.all([once(main, "disconnect"), once(other, "disconnect")]);
  main.emit("leave all");
  for (const [reason] of await gone) assert.ok(["io server disconnect", "transport close"].includes(reason), reason);
});

test("a question without an answer in time is told so, once", async (t) => {
  const target = await start(t);
  const socket = await connect(t, target);
  const heard = [];
  socket.on("heard", (...args) => heard.push(args));
  let reply;
  socket.on("question", (fn) => { reply = fn; });
  socket.emit("ask me");
  await until("the time is over", () => heard.length === 1);
  assert.match(heard[0][0], /time/i);
  reply("too late");
  socket.off("question");
  socket.on("question", (fn) => fn("in time", 2));
  socket.emit("ask me");
  await until("the answer", () => heard.length === 2);
  assert.deepEqual(heard[1], ["", ["in time", 2]]);
  await sleep(150);
  assert.equal(heard.length, 2);
});

test("headers of the handshake and of every response, the cookie, and what it does not do", async (t) => {
  const target = await start(t, ["--cookie", "io"]);
  const base = `${target.url}/socket.io/?EIO=4&transport=polling`;
  const open = await fetch(base);
  const { sid } = JSON.parse((await open.text()).slice(1));
  assert.deepEqual([open.headers.get("x-initial"), open.headers.get("x-every")], ["yes", "yes"]);
  assert.equal(open.headers.get("set-cookie"), `io=${sid}; Path=/; HttpOnly; SameSite=Lax`);
  const post = await fetch(`${base}&sid=${sid}`, { method: "POST", body: "40" });
  assert.deepEqual([post.headers.get("x-initial"), post.headers.get("x-every"), post.headers.get("set-cookie")], [null, "yes", null]);
  const poll = await fetch(`${base}&sid=${sid}`);
  assert.equal(poll.headers.get("x-every"), "yes");
  assert.equal(poll.headers.get("cache-control"), "no-store");
  // A second tab brings the cookie along: it gets a session of its own, and the first one lives on.
  const tab = await fetch(base, { headers: { Cookie: `io=${sid}` } });
  assert.notEqual(JSON.parse((await tab.text()).slice(1)).sid, sid);
  const ws = new WebSocket(`${target.ws}/socket.io/?EIO=4&transport=websocket`, { headers: { Cookie: `io=${sid}` } });
  t.after(() => ws.terminate());
  const [[upgrade], [hello]] = await Promise.all([once(ws, "upgrade"), once(ws, "message")]);
  assert.equal(upgrade.headers["x-initial"], "yes");
  assert.notEqual(JSON.parse(String(hello).slice(1)).sid, sid);
  assert.equal((await fetch(`${base}&sid=${sid}`, { method: "POST", body: "3" })).status, 200);
});

test("a page of another origin may ask, with its cookies, and reads refusals too", async (t) => {
  const target = await start(t);
  const base = `${target.url}/socket.io/?EIO=4&transport=polling`;
  const Origin = "http://elsewhere.example";
  const preflight = await fetch(base, { method: "OPTIONS", headers: { Origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-mine" } });
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers.get("access-control-allow-origin"), Origin);
  assert.equal(preflight.headers.get("access-control-allow-credentials"), "true");
  assert.match(preflight.headers.get("access-control-allow-methods"), /POST/);
  assert.equal(preflight.headers.get("access-control-allow-headers"), "x-mine");
  for (const url of [base, `${base}&sid=nobody`]) {
    const response = await fetch(url, { headers: { Origin } });
    assert.equal(response.headers.get("access-control-allow-origin"), Origin);
    assert.equal(response.headers.get("access-control-allow-credentials"), "true");
  }
});

test("what the options leave out is refused", async (t) => {
  const polling = await start(t, ["--transports", "polling"]);
  await assert.rejects(connect(t, polling, "", { transports: ["websocket"] }));
  await connect(t, polling, "", { transports: ["polling"] });
  const refusal = await fetch(`${polling.url}/socket.io/?EIO=4&transport=websocket`);
  assert.deepEqual(await refusal.json(), { code: 0, message: "Transport unknown" });
  const websocket = await start(t, ["--transports", "websocket"]);
  await assert.rejects(connect(t, websocket, "", { transports: ["polling"] }));
  await connect(t, websocket, "", { transports: ["websocket"] });
  const still = await start(t, ["--upgrades", "0"]);
  const open = JSON.parse((await (await fetch(`${still.url}/socket.io/?EIO=4&transport=polling`)).text()).slice(1));
  assert.deepEqual(open.upgrades, []);
  const modern = await start(t, ["--eio3", "0"]);
  const old = io2(modern.url, { forceNew: true, reconnection: false });
  t.after(() => old.close());
  await once(old, "connect_error");
  const answer = await fetch(`${modern.url}/socket.io/?EIO=3&transport=polling`);
  assert.deepEqual(await answer.json(), { code: 5, message: "Unsupported protocol version" });
});
