// The hostile user on every carrier: reads nothing, announces four gigabytes, begins and never ends, floods. Each is put
// out or held back, memory stays bounded, and the room goes on for the others.

import assert from "node:assert/strict";
import dgram from "node:dgram";
import { readFileSync } from "node:fs";
import { test, until, sleep } from "./lib/harness.mjs";
import { openTcp, openV1, UPGRADE } from "./lib/clients.mjs";
import { data, hello, COOKIE, WELCOME, DATA } from "./lib/udp.mjs";

const rssKiB = (server) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.program.pid}/status`, "utf8"))[1]);
const get = (target) => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;
const post = (target, body, headers = "") => `POST ${target} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n${headers}\r\n${body}`;

/** A masked text frame, the key 0. */
function frame(text) {
  const payload = Buffer.from(text);
  assert.ok(payload.length < 126);
  return Buffer.concat([Buffer.from([0x81, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
}

const upgrade = (path, protocol) => UPGRADE(path, protocol ? `Sec-WebSocket-Protocol: ${protocol}\r\n` : "");
const JOIN = '{"type":"join","room":"lobby"}';

// What brings a connection into the room, and what shows that it is there.
const ways = {
  "typed lines": [["/who\n", "you are in"]],
  "JSON lines": [[`${JOIN}\n`, "joined"]],
  "stream": [[get("/stream?room=lobby"), "joined"]],
  "event stream": [[get("/sse?room=lobby"), "joined"]],
  "bare WebSocket": [[upgrade("/ws/chat"), "\r\n\r\n"]],
  "WebSocket, madang.v1": [[upgrade("/ws/chat", "madang.v1"), "welcome"], [frame(JOIN), "joined"]],
  "SockJS over WebSocket": [[upgrade("/sockjs/000/ws1/websocket"), "welcome"], [frame(JSON.stringify([JOIN])), "joined"]],
  "SockJS streaming": [[post("/sockjs/000/str1/xhr_streaming", ""), "welcome"]],
  "Socket.IO": [[upgrade("/socket.io/?EIO=4&transport=websocket"), "pingInterval"], [frame("40"), '{"sid"'], [frame('420["join","lobby"]'), "epoch"]],
  "STOMP": [["CONNECT\naccept-version:1.2\nhost:/\n\n\0", "CONNECTED"], ["SUBSCRIBE\nid:1\ndestination:/topic/lobby\nreceipt:r\n\n\0", "RECEIPT"]],
};

async function enter(t, server, steps) {
  const tcp = await openTcp(t, server.port);
  for (const [say, sign] of steps) {
    tcp.received = Buffer.alloc(0);
    tcp.socket.write(say);
    await until(`${sign} of ${tcp.received}`, () => tcp.received.includes(sign));
  }
  return tcp;
}

async function count(client) {
  client.say({ type: "presence", room: "lobby", id: "p" });
  return (await client.want("presence", { id: "p" })).count;
}

test("who reads nothing is put out on every carrier, and the room goes on", { timeout: 120 }, async (t) => {
  const server = await t.server({ args: ["--send-queue-bytes-max", "65536"] });
  const speaker = await openV1(t, server.ws);
  const listener = await openV1(t, server.ws);
  for (const one of [speaker, listener]) await one.join("lobby");
  const slow = [];
  for (const [name, steps] of Object.entries(ways)) slow.push([name, await enter(t, server, steps)]);
  // The session of xhr_streaming is told by another request to join.
  const sent = await enter(t, server, [[post("/sockjs/000/str1/xhr_send", JSON.stringify([JOIN])), "204"]]);
  sent.socket.end();
  await until("all are in", async () => (await count(speaker)) === 2 + slow.length);
  for (const [, tcp] of slow) tcp.socket.pause();
  const before = rssKiB(server);
  const text = "x".repeat(30_000);
  let most = 0;
  for (let i = 0; i < 700; i++) {
    await speaker.publish("lobby", `${i} ${text}`);
    if (i % 50 === 0) most = Math.max(most, rssKiB(server));
  }
  await until(`only two are left`, async () => (await count(speaker)) === 2, 30);
  for (let i = 0; i < 700; i++) assert.ok((await listener.want("message")).text.startsWith(`${i} `));
  assert.ok(most - before < 60_000, `${most - before} KiB more`);
});

test("polls whose answers nobody reads do not pile up", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const speaker = await openV1(t, server.ws);
  await speaker.join("lobby");
  for (let i = 0; i < 50; i++) await speaker.publish("lobby", "x".repeat(20_000));
  const before = rssKiB(server);
  for (let i = 0; i < 5; i++) {
    const tcp = await openTcp(t, server.port);
    tcp.socket.pause();
    tcp.socket.write(get("/poll?room=lobby&history=50").repeat(500)); // 500 MB of answers
  }
  await sleep(1500);
  assert.ok(rssKiB(server) - before < 60_000, `${rssKiB(server) - before} KiB more`);
  await speaker.publish("lobby", "still here");
});

test("four gigabytes that are announced are refused before they come", async (t) => {
  const server = await t.server();
  const big = "4294967296";
  const cases = {
    "a body": [`POST /publish?room=r HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: ${big}\r\n\r\n`, / 413 /],
    "a body beyond 64 bits": ["POST /publish?room=r HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n", / 4(00|13) /],
    "a chunk": ["POST /publish?room=r HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n100000000\r\n", / 413 /],
    "a SockJS message": [`POST /sockjs/000/s/xhr_send HTTP/1.1\r\nHost: a\r\nContent-Length: ${big}\r\n\r\n`, / 413 /],
    "an Engine.IO payload": [`POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nContent-Length: ${big}\r\n\r\n`, / 4(00|13) /],
    "a STOMP body": [`CONNECT\naccept-version:1.2\nhost:/\n\n\0SEND\ndestination:/topic/r\ncontent-length:${big}\n\nx`, /ERROR/],
    "a WebSocket frame": [Buffer.concat([Buffer.from(UPGRADE()), Buffer.from([0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4])]), /\x88/],
  };
  const before = rssKiB(server);
  for (const [what, [bytes, answer]] of Object.entries(cases)) {
    const tcp = await openTcp(t, server.port);
    tcp.socket.write(bytes);
    await until(`${what} is refused: ${tcp.received}`, () => answer.test(tcp.received.toString("latin1")));
    await Promise.race([tcp.closed, sleep(8000)]);
    assert.ok(tcp.ended, `${what}: the connection is closed`);
  }
  assert.ok(rssKiB(server) - before < 20_000);
});

test("a line without end costs no more than the longest line, and the connection lives on", async (t) => {
  const server = await t.server();
  const before = rssKiB(server);
  const tcp = await openTcp(t, server.port);
  tcp.socket.write("/who\n");
  const piece = "y".repeat(1_000_000);
  for (let i = 0; i < 64; i++) if (!tcp.socket.write(piece)) await new Promise((done) => tcp.socket.once("drain", done));
  tcp.socket.write("\nI am still here\n");
  await until("it is heard again", () => tcp.received.includes(": I am still here\n"), 20);
  assert.equal(tcp.received.toString().split("! too_big").length, 2);
  assert.ok(rssKiB(server) - before < 20_000);
});

test("floods of short lines with long answers neither fill the memory nor hold up the others", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const speaker = await openV1(t, server.ws);
  await speaker.join("quiet");
  const before = rssKiB(server);
  let worst = 0;
  for (const text of ["{{{{{{{{\n", "/who\n", "/resume lobby 0123456789abcdef:1\n", "/join a\n/leave a\n"]) {
    const tcp = await openTcp(t, server.port);
    if (text.startsWith("/")) tcp.socket.write("/rooms\n");
    tcp.socket.removeAllListeners("data");
    tcp.socket.resume(); // read, and thrown away
    const piece = text.repeat(2000);
    for (const end = Date.now() + 1000; Date.now() < end && !tcp.ended;) {
      if (!tcp.socket.write(piece)) await Promise.race([new Promise((done) => tcp.socket.once("drain", done)), tcp.closed, sleep(200)]);
      const asked = Date.now();
      await speaker.publish("quiet", "x");
      worst = Math.max(worst, Date.now() - asked);
    }
    tcp.socket.destroy();
  }
  assert.ok(rssKiB(server) - before < 30_000, `${rssKiB(server) - before} KiB more`);
  assert.ok(worst < 2000, `${worst} ms`);
});

test("who begins something and never ends it is let go", { timeout: 60, once: true }, async (t) => {
  const server = await t.server({ args: ["--greet-delay-s", "1", "--http-head-timeout-s", "2", "--http-body-timeout-s", "2"] });
  const begun = ["GET", "GET / HTTP/1.1\r\nHost: a\r\n", "STOMP", "\x16\x03", "PROXY TCP4",
    "POST /publish?room=r HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nabc"];
  const all = [];
  for (const bytes of begun) {
    const tcp = await openTcp(t, server.port);
    tcp.socket.write(bytes, "latin1");
    all.push([bytes, tcp]);
  }
  await Promise.race([Promise.all(all.map(([, tcp]) => tcp.closed)), sleep(20_000)]);
  for (const [bytes, tcp] of all) assert.ok(tcp.ended, `${JSON.stringify(bytes)} is still open`);
});

/** A socket that keeps what it was sent. */
async function udpSocket(t) {
  const socket = dgram.createSocket("udp4");
  t.after(() => new Promise((done) => socket.close(done)));
  socket.got = [];
  socket.on("message", (m) => socket.got.push(m));
  await new Promise((done) => socket.bind(0, "127.0.0.1", done));
  return socket;
}

test("a flood of datagrams from strangers is answered little, and members go on", { timeout: 60 }, async (t) => {
  const server = await t.server({ args: ["--udp-unproven-per-s", "100"] });
  const speaker = await openV1(t, server.ws);
  await speaker.join("lobby");
  const member = await udpSocket(t);
  const say = (socket, bytes) => socket.send(bytes, server.port, "127.0.0.1");
  say(member, hello());
  await until("a cookie", () => member.got.find((m) => m[0] === COOKIE));
  say(member, hello({ cookie: member.got[0].subarray(9, 17) }));
  await until("inside", () => member.got.some((m) => m[0] === WELCOME));
  say(member, data(1, { type: "join", room: "lobby" }));
  await until("joined", () => member.got.some((m) => m[0] === DATA && m.includes("joined")));
  const strangers = await Promise.all(Array.from({ length: 20 }, () => udpSocket(t)));
  const before = rssKiB(server);
  const start = Date.now();
  for (let round = 0; round < 300; round++) {
    for (const s of strangers) {
      const bytes = Buffer.alloc(1 + Math.floor(Math.random() * 40));
      bytes[0] = Math.floor(Math.random() * 18);
      bytes[1] = 1;
      say(s, round % 3 === 0 ? hello() : bytes);
    }
    if (round % 20 === 0) await sleep(10);
  }
  const published = Date.now();
  await speaker.publish("lobby", "through the flood");
  await until("the member has it", () => member.got.some((m) => m[0] === DATA && m.includes("through the flood")));
  assert.ok(Date.now() - published < 3000);
  await sleep(200);
  const answers = strangers.flatMap((s) => s.got);
  assert.ok(answers.every((m) => m.length <= 48));
  assert.ok(answers.length <= 100 * (2 + (Date.now() - start) / 1000), `${answers.length} answers`);
  assert.ok(rssKiB(server) - before < 10_000);
});

test("a program that never acknowledges is given up, and nothing waits for it", { timeout: 60, once: true }, async (t) => {
  const server = await t.server();
  const speaker = await openV1(t, server.ws);
  await speaker.join("lobby");
  const mute = await udpSocket(t);
  const say = (bytes) => mute.send(bytes, server.port, "127.0.0.1");
  say(hello({ flags: 1 }));
  await until("a cookie", () => mute.got.find((m) => m[0] === COOKIE));
  say(hello({ flags: 1, cookie: mute.got[0].subarray(9, 17) }));
  await until("inside", () => mute.got.some((m) => m[0] === WELCOME));
  say(data(1, { type: "join", room: "lobby" }));
  await until("there", async () => (await count(speaker)) === 2);
  const before = rssKiB(server);
  for (let i = 0; i < 3000; i++) await speaker.publish("lobby", "z".repeat(500));
  await until("given up", async () => (await count(speaker)) === 1, 40);
  assert.ok(mute.got.length < 64 * 8 + 20, `${mute.got.length} datagrams`); // 64 under way, each eight times
  assert.ok(rssKiB(server) - before < 20_000);
});
