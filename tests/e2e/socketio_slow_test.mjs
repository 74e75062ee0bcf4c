// Clients that stop reading, over WebSocket and by polling: what waits for them is bounded, nobody
// else is slower, and they learn why they were sent away.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { io } from "socket.io-client";
import WebSocket from "ws";
import { sleep, test, until } from "./lib/harness.mjs";
import { startTarget } from "./lib/targets.mjs";

const TEXT = randomBytes(12_000).toString("base64"); // which compression does not make small
const PATIENT = ["--ws-close-timeout-s", "60"]; // who does not read cannot see the close before he does
const COUNT = 2500; // 40 MB for each member of the room
const MORE_MAX_KIB = 30_000; // the room's log is 4 MiB, a queue 1 MiB; two workers have two logs

const rss = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]);

/** A session that does only what it is told: join a room, and then not read. */
async function webSocketMember(t, url) {
  const ws = new WebSocket(`${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
  t.after(() => ws.terminate());
  const heard = [];
  ws.on("message", (data) => {
    heard.push(String(data));
    if (String(data) === "2") ws.send("3");
  });
  await until("the handshake", () => heard.length > 0);
  ws.send("40");
  await until("the namespace", () => heard.some((m) => m.startsWith("40{")));
  ws.send('420["join",{"room":"lobby"}]');
  await until("the room", () => heard.some((m) => m.startsWith("430[")));
  const closed = new Promise((done) => ws.once("close", (code, reason) => done({ code, reason: String(reason) })));
  return { ws, heard, closed };
}

async function pollingMember(t, url) {
  const base = `${url}/socket.io/?EIO=4&transport=polling`;
  const open = JSON.parse((await (await fetch(base)).text()).slice(1));
  const here = `${base}&sid=${open.sid}`;
  const post = (body) => fetch(here, { method: "POST", body });
  const poll = async () => {
    const response = await fetch(here);
    return { status: response.status, packets: (await response.text()).split("\x1e") };
  };
  await post("40");
  await poll();
  await post('420["join",{"room":"lobby"}]');
  await until("the room", async () => (await poll()).packets.some((p) => p.startsWith("430[")));
  return { poll };
}

/** A reader that keeps up, and a writer that waits for its acknowledgements. */
async function fastClient(t, url, transports) {
  const socket = io(url, { forceNew: true, transports, reconnection: false });
  t.after(() => socket.close());
  const seen = [];
  socket.on("message", (m) => seen.push(m.data.n));
  await new Promise((done) => socket.once("connect", done));
  await socket.emitWithAck("join", { room: "lobby" });
  return { socket, seen };
}

async function flood(socket) {
  for (let n = 0; n < COUNT; n += 10)
    await Promise.all(Array.from({ length: 10 }, (_, i) => socket.emitWithAck("publish", { room: "lobby", data: { n: n + i, text: TEXT } })));
}

async function floodBeside(server, fast) {
  const before = rss(server.program.pid);
  await flood(fast.socket);
  await until("everything at the one who reads", () => fast.seen.length === COUNT);
  assert.deepEqual(fast.seen, Array.from({ length: COUNT }, (_, n) => n));
  const more = rss(server.program.pid) - before;
  assert.ok(more < MORE_MAX_KIB, `${more} KiB more`);
}

test("who stops reading a WebSocket costs little, and is told that he was too slow", { timeout: 60 }, async (t) => {
  const server = await t.server({ args: PATIENT });
  const slow = await webSocketMember(t, server.url);
  const fast = await fastClient(t, server.url, ["websocket"]);
  slow.ws.pause();
  await floodBeside(server, fast);
  slow.ws.resume();
  assert.deepEqual(await slow.closed, { code: 4008, reason: "too slow" });
  const got = slow.heard.filter((m) => m.startsWith('42["message"')).map((m) => JSON.parse(m.slice(2))[1].data.n);
  assert.ok(got.length > 0 && got.length < COUNT, `${got.length} came`);
  assert.deepEqual(got, got.map((_, i) => i), "what came has no hole");
});

test("who stops polling costs little, gets what waited, and then the end", { timeout: 60 }, async (t) => {
  const server = await t.server({ args: PATIENT });
  const slow = await pollingMember(t, server.url);
  const fast = await fastClient(t, server.url, ["websocket"]);
  await floodBeside(server, fast);
  const packets = [];
  for (let last; last !== "1" && packets.length < COUNT; last = packets.at(-1)) {
    const answer = await slow.poll();
    assert.equal(answer.status, 200);
    assert.ok(answer.packets.join("\x1e").length <= 1_000_000, "no answer is over maxPayload");
    packets.push(...answer.packets);
  }
  const got = packets.filter((p) => p.startsWith('42["message"')).map((p) => JSON.parse(p.slice(2))[1].data.n);
  assert.ok(got.length > 0 && got.length < COUNT, `${got.length} came`);
  assert.deepEqual(got, got.map((_, i) => i), "what came has no hole");
  assert.equal((await slow.poll()).status, 400);
});

test("the published client learns from its disconnect why it was sent away", { timeout: 60 }, async (t) => {
  const server = await t.server({ args: PATIENT });
  const socket = io(server.url, { forceNew: true, transports: ["websocket"], reconnectionDelay: 50 });
  t.after(() => socket.close());
  await new Promise((done) => socket.once("connect", done));
  await socket.emitWithAck("join", { room: "lobby" });
  const fast = await fastClient(t, server.url, ["websocket"]);
  const gone = new Promise((done) => socket.once("disconnect", (reason, details) => done({ reason, details })));
  const ws = socket.io.engine.transport.ws;
  ws.pause();
  await flood(fast.socket);
  const again = new Promise((done) => socket.once("connect", done));
  ws.resume();
  const { reason, details } = await gone;
  assert.equal(reason, "transport close");
  assert.equal(details.context.code, 4008);
  await again;
  assert.equal(socket.recovered, false, "what it missed is more than a log holds");
});

test("a private event that finds no room ends the connection: nothing is lost in silence", { timeout: 60 }, async (t) => {
  const target = await startTarget(t, "target_sio_rooms");
  const socket = io(target.url, { forceNew: true, transports: ["websocket"], reconnectionDelay: 50 });
  t.after(() => socket.close());
  const said = [];
  socket.on("said", (n) => said.push(n));
  await new Promise((done) => socket.once("connect", done));
  const id = socket.id;
  const friend = io(target.url, { forceNew: true, transports: ["websocket"] });
  t.after(() => friend.close());
  await new Promise((done) => friend.once("connect", done));
  const gone = new Promise((done) => socket.once("disconnect", (_, details) => done(details)));
  const again = new Promise((done) => socket.once("connect", done));
  const ws = socket.io.engine.transport.ws;
  ws.pause();
  const text = "y".repeat(7000);
  let n = 0;
  for (; n < 1500; n++) await friend.emitWithAck("emit", { to: [id], args: [n, text] });
  await sleep(100);
  ws.resume();
  assert.equal((await gone).context.code, 4008);
  await again;
  assert.deepEqual(said, said.map((_, i) => i), "no hole in what came");
  assert.ok(said.length < n && !socket.recovered, "and it knows that more was said than it was sent");
});
