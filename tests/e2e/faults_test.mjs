// Bad input and faults: each has its answer, and the server goes on for everyone else.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { execFileSync } from "node:child_process";
import { test, until, sleep } from "./lib/harness.mjs";
import { openTcp, openV1, openWs, signIn, UPGRADE } from "./lib/clients.mjs";
import { stateFolder } from "./lib/server.mjs";

const once = { once: true };

async function refusesToStart(t, options, pattern) {
  const server = await t.server({ expectExit: true, ...options });
  const { code } = await server.program.exited;
  assert.notEqual(code, 0);
  assert.notEqual(code, null);
  assert.match(server.output, pattern);
  return server.output;
}

async function stillServes(t, server) {
  const client = await openV1(t, server.ws);
  await client.join("alive");
  await client.publish("alive", "yes");
}

/** Waits for the server's answer to raw bytes and for the end of the connection. */
async function refusal(t, server, bytes) {
  const tcp = await openTcp(t, server.port);
  tcp.socket.write(bytes);
  await Promise.race([tcp.closed, sleep(8000).then(() => { throw new Error(`not closed; got ${tcp.received}`); })]);
  return tcp.received;
}

/** A masked frame head with a 64-bit length, and then nothing. */
const hugeFrame = () => Buffer.from([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);

function closeCode(received) {
  const end = received.indexOf("\r\n\r\n") + 4;
  let at = end;
  while (at + 2 <= received.length) {
    const opcode = received[at] & 15;
    let length = received[at + 1] & 127;
    let head = 2;
    if (length === 126) { length = received.readUInt16BE(at + 2); head = 4; }
    else if (length === 127) { length = Number(received.readBigUInt64BE(at + 2)); head = 10; }
    if (opcode === 8) return length >= 2 ? received.readUInt16BE(at + head) : 1005;
    at += head + length;
  }
  return null;
}

test("a port in use is named, with what to do", once, async (t) => {
  const first = await t.server();
  await refusesToStart(t, { listen: [`127.0.0.1:${first.port}`] }, new RegExp(`${first.port}.*in use|in use.*${first.port}`, "is"));
});

test("no permission for a port is said", once, async (t) => {
  if (process.getuid() === 0) {
    // root may bind everything: an address that is not ours is refused in the same place
    await refusesToStart(t, { listen: ["192.0.2.1:8080"] }, /192\.0\.2\.1/);
    return;
  }
  await refusesToStart(t, { listen: ["127.0.0.1:1"] }, /permission/i);
});

test("a state folder that cannot be written is said", once, async (t) => {
  const folder = stateFolder(t);
  const file = join(folder, "a-file");
  writeFileSync(file, "x");
  await refusesToStart(t, { state: join(file, "state") }, /a-file/);
});

test("an unreadable certificate is named", once, async (t) => {
  const folder = stateFolder(t);
  await refusesToStart(t, { args: ["--tls-cert", join(folder, "none.pem"), "--tls-key", join(folder, "none.key")] }, /none\.(pem|key)/);
  const bad = join(folder, "bad.pem");
  writeFileSync(bad, "not a certificate\n");
  await refusesToStart(t, { args: ["--tls-cert", bad, "--tls-key", bad] }, /bad\.pem/);
});

test("an unknown option and a value out of bounds are named", once, async (t) => {
  await refusesToStart(t, { args: ["--no-such-option"] }, /no-such-option/);
  await refusesToStart(t, { args: ["--ws-window-bits", "99"] }, /ws[-_]window[-_]bits/);
});

test("an unknown key in the configuration file is named with its line", once, async (t) => {
  const folder = stateFolder(t);
  const file = join(folder, "madang.yaml");
  writeFileSync(file, "log_level: info\nno_such_key: 1\n");
  const output = await refusesToStart(t, { args: ["--config", file] }, /no_such_key/);
  assert.match(output, /\b2\b/);
});

test("a key that is there twice, and a list where one value belongs, are refused with their line", once, async (t) => {
  const file = join(stateFolder(t), "madang.yaml");
  writeFileSync(file, "log_level: info\nguests: true\nlog-level: debug\n");
  await refusesToStart(t, { args: ["--config", file] }, /madang\.yaml:3: 'log-level' is set for the second time, after line 1/);
  writeFileSync(file, "log_level: info\nguests: [true, false]\n");
  await refusesToStart(t, { args: ["--config", file] }, /madang\.yaml:2: one value is wanted here/);
  writeFileSync(file, 'chat_room: "a\\0b"\n');
  await refusesToStart(t, { args: ["--config", file] }, /madang\.yaml:1: a value holds no NUL/);
});

test("options win over the file, wherever they stand", once, async (t) => {
  const file = join(stateFolder(t), "madang.yaml");
  writeFileSync(file, "ws_window_bits: 99\n"); // wrong in any case
  await refusesToStart(t, { args: ["--config", file, "--ws-window-bits", "12"] }, /ws_window_bits/);
  writeFileSync(file, "chat_room: hall\n");
  for (const args of [["--config", file, "--chat-room", "yard"], ["--chat-room", "yard", "--config", file]]) {
    const server = await t.server({ args });
    const guest = await openTcp(t, server.port);
    guest.socket.write("hello\n");
    await until("the room is named", () => /\[yard\]/.test(guest.received));
    assert.doesNotMatch(guest.received.toString(), /\[hall\]/);
  }
});

test("keys in the state folder are for their owner only", once, async (t) => {
  const server = await t.server();
  await signIn(server, "ann");
  const modes = execFileSync("find", [server.state, "-type", "f", "-printf", "%m %f\n"], { encoding: "utf8" });
  assert.ok(modes.trim() !== "", "there are keys");
  for (const line of modes.trim().split("\n")) assert.match(line, /^600 /);
});

test("SIGTERM under load: 1001 to everyone, then exit 0", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const clients = [];
  for (let i = 0; i < 20; i++) {
    const client = await openV1(t, server.ws);
    await client.join("load");
    clients.push(client);
  }
  const timer = setInterval(() => {
    for (const c of clients) if (c.socket.readyState === 1) c.say({ type: "publish", room: "load", id: 1, text: "x".repeat(200) });
  }, 2);
  t.after(() => clearInterval(timer));
  await sleep(300);
  const ended = server.stop();
  const codes = await Promise.all(clients.map((c) => c.closed.then((e) => e.code)));
  clearInterval(timer);
  assert.deepEqual(await ended, { code: 0, signal: null });
  assert.deepEqual([...new Set(codes)], [1001]);
});

test("a frame that announces 2^63 bytes is refused at once", async (t) => {
  const server = await t.server();
  const answer = await refusal(t, server, Buffer.concat([Buffer.from(UPGRADE()), hugeFrame()]));
  assert.match(answer.toString("latin1"), /^HTTP\/1\.1 101 /);
  assert.ok([1002, 1009].includes(closeCode(answer)), `close code ${closeCode(answer)}`);
  await stillServes(t, server);
});

test("a frame that announces much is not given the memory before the bytes come", async (t) => {
  const server = await t.server({ args: ["--ws-message-bytes-max", "1073741824"] });
  const rss = () => Number(/VmRSS:\s+(\d+)/.exec(execFileSync("cat", [`/proc/${server.program.pid}/status`], { encoding: "utf8" }))[1]);
  const before = rss();
  for (let i = 0; i < 10; i++) {
    const tcp = await openTcp(t, server.port);
    const head = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0x30, 0, 0, 0, 1, 2, 3, 4, 9, 9]);
    tcp.socket.write(Buffer.concat([Buffer.from(UPGRADE()), head]));
    await until("the upgrade", async () => tcp.received.includes("\r\n\r\n"));
  }
  await sleep(200);
  assert.ok(rss() - before < 50_000, `${rss() - before} KiB more`);
});

test("ten thousand headers are refused with 431", async (t) => {
  const server = await t.server();
  const head = `GET /chat HTTP/1.1\r\nHost: a\r\n${"a: b\r\n".repeat(10_000)}\r\n`;
  const answer = await refusal(t, server, head);
  assert.match(answer.toString("latin1"), /^HTTP\/1\.1 431 /);
  await stillServes(t, server);
});

test("requests shaped for smuggling get 400 and never a route", async (t) => {
  const server = await t.server();
  const start = "POST /chat/login HTTP/1.1\r\nHost: a\r\n";
  for (const rest of [
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "Content-Length: +5\r\n\r\nabcde",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Content-Length : 5\r\n\r\nabcde",
    " folded: x\r\n\r\n",
  ]) {
    const answer = (await refusal(t, server, start + rest)).toString("latin1");
    assert.match(answer, /^HTTP\/1\.1 (400|501) /, JSON.stringify(rest));
    assert.equal(answer.split("HTTP/1.1 ").length, 2, `one answer to ${JSON.stringify(rest)}`);
  }
  await stillServes(t, server);
});

test("invalid UTF-8 fails at the first impossible byte", async (t) => {
  const server = await t.server();
  const mask = [0, 0, 0, 0];
  // A fragment of a text message, not the last one, with a byte that can never be right.
  const frame = Buffer.from([0x01, 0x83, ...mask, 0x61, 0xc0, 0x80]);
  const answer = await refusal(t, server, Buffer.concat([Buffer.from(UPGRADE()), frame]));
  assert.equal(closeCode(answer), 1007);
  await stillServes(t, server);
});

test("a client that sends a byte a second gets 408, and nobody waits for it", { timeout: 40 }, async (t) => {
  const server = await t.server({ args: ["--http-head-timeout-s", "2"] });
  const tcp = await openTcp(t, server.port);
  const head = "GET /chat HTTP/1.1\r\nHost: a\r\nX-Slow: ";
  let at = 0;
  tcp.socket.write(head.slice(0, 10));
  const timer = setInterval(() => tcp.socket.write(at < 30 ? head[10 + at++] ?? "x" : "x"), 300);
  t.after(() => clearInterval(timer));
  await stillServes(t, server);
  await Promise.race([tcp.closed, sleep(10_000)]);
  assert.ok(tcp.ended, "closed");
  assert.match(tcp.received.toString("latin1"), /^HTTP\/1\.1 408 /);
});

test("a reader that never reads is put out, the room goes on", { timeout: 60 }, async (t) => {
  const server = await t.server({ args: ["--send-queue-bytes-max", "65536"] });
  const ann = await openV1(t, server.ws, { headers: await signIn(server, "ann") });
  await ann.join("lobby");
  const slow = await openTcp(t, server.port);
  slow.socket.write(UPGRADE());
  await until("the upgrade", async () => slow.received.includes("\r\n\r\n"));
  slow.socket.pause();
  const watcher = await openV1(t, server.ws, { headers: await signIn(server, "ben") });
  const { count } = await watcher.join("lobby");
  assert.ok(count >= 2);
  const text = "x".repeat(30_000);
  for (let i = 0; i < 600; i++) await ann.publish("lobby", text);
  await until("the slow one is gone", async () => {
    ann.say({ type: "presence", room: "lobby", id: "p" });
    return (await ann.want("presence", { id: "p" })).count === 2;
  }, 20);
  for (let i = 0; i < 600; i++) await watcher.want("message");
});

test("a peer that vanished without a word is found by its silence", { timeout: 40 }, async (t) => {
  const server = await t.server({ args: ["--ws-ping-interval-s", "1", "--ws-ping-timeout-s", "1"] });
  const ghost = await openTcp(t, server.port);
  ghost.socket.write(UPGRADE());
  await until("the upgrade", async () => ghost.received.includes("\r\n\r\n"));
  await Promise.race([ghost.closed, sleep(10_000)]);
  assert.ok(ghost.ended, "the connection was given up");
  const alive = await openWs(t, server.ws); // answers pings by itself
  await sleep(3500);
  assert.equal(alive.socket.readyState, 1);
});

test("out of descriptors: accepting pauses, says so once, and goes on afterwards", { timeout: 60 }, async (t) => {
  const server = await t.server({ wrapper: ["prlimit", "--nofile=96:96", "--"] });
  const first = await openV1(t, server.ws);
  await first.join("lobby");
  const flood = [];
  for (let i = 0; i < 150; i++) flood.push(await openTcp(t, server.port));
  await sleep(500);
  await first.publish("lobby", "still here");
  const said = server.output.split("\n").filter((l) => /descriptor|EMFILE|too many open files/i.test(l));
  assert.ok(said.length >= 1 && said.length <= 3, `said ${said.length} times:\n${server.output}`);
  for (const tcp of flood) tcp.socket.destroy();
  await until("new clients get in again", async () => {
    try {
      const late = await openV1(t, server.ws);
      return late.welcome;
    } catch {
      return false;
    }
  }, 15);
});

test("a flood of handshakes that go nowhere leaves the others alone", { timeout: 60 }, async (t) => {
  const server = await t.server();
  const client = await openV1(t, server.ws);
  await client.join("lobby");
  for (let round = 0; round < 5; round++) {
    const sockets = await Promise.all(Array.from({ length: 100 }, () => openTcp(t, server.port)));
    for (const tcp of sockets) {
      tcp.socket.write(UPGRADE().slice(0, 60));
      tcp.socket.destroy();
    }
    await client.publish("lobby", `round ${round}`);
  }
});

test("no path leads out of the page", once, async (t) => {
  const server = await t.server();
  for (const path of ["/../keys", "/chat/../../etc/passwd", "/chat/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"]) {
    const answer = await openTcp(t, server.port);
    answer.socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    await answer.closed;
    assert.match(answer.received.toString("latin1"), /^HTTP\/1\.1 (400|404) /, path);
  }
});
