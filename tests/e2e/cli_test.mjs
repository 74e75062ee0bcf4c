// madang cat, pub, sub and bench, as a person at a terminal uses them.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import net from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { stateFolder } from "./lib/server.mjs";
import { test } from "./lib/harness.mjs";
import { startTarget } from "./lib/sockjs.mjs";
import { run, Tool } from "./lib/tool.mjs";

const COMPLETION = fileURLToPath(new URL("../../packaging/madang.bash", import.meta.url));

test("cat sends lines and prints what comes back", async (t) => {
  const server = await t.server({ args: ["--echo"] });
  const ws = `ws://127.0.0.1:${server.port}/echo`;
  const long = "x".repeat(300_000);
  for (const extra of [[], ["--compress"], ["--binary"]]) {
    const { code, out } = await run(t, ["cat", "-q", ...extra, ws], { input: `hello\n안녕\n${long}` });
    assert.equal(code, 0);
    assert.equal(out, extra[0] === "--binary" ? `hello안녕${long}` : `hello\n안녕\n${long}\n`);
  }
});

test("cat on text lines meets the room", async (t) => {
  const server = await t.server();
  const { code, out } = await run(t, ["cat", "-q", `tcp://127.0.0.1:${server.port}`], { input: "typed in cat\n" });
  assert.equal(code, 0);
  assert.match(out, /: typed in cat/);
});

test("cat waits for a server that reads slowly, and goes on", async (t) => {
  const lines = "x".repeat(99).concat("\n").repeat(160_000);
  let heard = 0;
  const server = net.createServer((socket) => {
    socket.pause();
    setTimeout(() => socket.resume(), 500);
    socket.on("data", (bytes) => (heard += bytes.length));
    socket.on("error", () => {});
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { code } = await run(t, ["cat", "-q", `tcp://127.0.0.1:${server.address().port}`], { input: lines });
  server.close();
  assert.equal(code, 0);
  assert.equal(heard, lines.length);
});

test("cat comes in over UDP by itself", async (t) => {
  const server = await t.server();
  const cat = new Tool(t, ["cat", "-q", `udp://127.0.0.1:${server.port}`], { input: null });
  cat.type("a datagram");
  await cat.heard(": a datagram\n");
  cat.child.stdin.end();
  const { code, out } = await cat.end();
  assert.equal(code, 0);
  assert.doesNotMatch(out, /To come in|\n\n/);
});

test("cat speaks SockJS, with WebSocket and without", { once: true }, async (t) => {
  const { port } = await startTarget(t);
  /* More than the service's response limit (4096) and than one xhr_send takes along. */
  const lines = Array.from({ length: 120 }, (_, i) => `${i} 안녕 "\\ ${"x".repeat(1000)}\n`).join("");
  for (const scheme of ["sockjs", "sockjs+xhr"]) {
    const place = `${scheme}://127.0.0.1:${port}`;
    const echo = await run(t, ["cat", "-q", `${place}/echo`], { input: lines });
    assert.equal(echo.code, 0);
    assert.equal(echo.out, lines);
    const closed = await run(t, ["cat", `${place}/close`], { input: null });
    assert.match(closed.err, /Go away! \(3000\)/);
    const none = await run(t, ["cat", `${place}/none`]);
    assert.equal(none.code, 1);
    assert.match(none.err, /404/);
  }
  const noWebSocket = await run(t, ["cat", "-q", `sockjs+xhr://127.0.0.1:${port}/disabled_websocket_echo`], { input: "a\n" });
  assert.equal(noWebSocket.out, "a\n");
});

test("pub and sub meet in a room over SockJS without WebSocket", async (t) => {
  const server = await t.server();
  const url = `sockjs+xhr://127.0.0.1:${server.port}/sockjs`;
  const sub = new Tool(t, ["sub", "-R", "cli", "-n", "2", url], { input: null });
  await sub.heard("in cli");
  assert.equal((await run(t, ["pub", "-R", "cli", url, "by request"])).code, 0);
  assert.equal((await run(t, ["pub", "-R", "cli", `ws://127.0.0.1:${server.port}/ws/chat`, "by socket"])).code, 0);
  const { code, lines } = await sub.end();
  assert.equal(code, 0);
  assert.deepEqual(lines.map((l) => l.replace(/^\[cli\] [^:]*: /, "")), ["by request", "by socket"]);
});

test("cat says what went wrong and how it ended", { once: true }, async (t) => {
  const server = await t.server({ args: ["--echo"] });
  for (const [args, code, words] of [
    [["ws://127.0.0.1:1/"], 1, /refused/],
    [[`ws://127.0.0.1:${server.port}/none`], 1, /404/],
    [[`sse://127.0.0.1:${server.port}`], 1, /sub --room ROOM, or name it: .*\/sse\?room=ROOM/],
    [["localhost:80"], 2, /not an address/],
    [["gopher://h/"], 2, /'gopher' is no kind of address; there are ws wss .* unix/],
    [["ws:/h/x"], 2, /did you mean ws:\/\/h\/x\?/],
    [["sio//h"], 2, /did you mean sio:\/\/h\?/],
    [["wss+stomp://h/x"], 2, /no kind of address/],
    [["sic://h:1/x"], 2, /did you mean sio:\/\/h:1\/x\?/],
    [["websocket://h/"], 2, /no kind of address/],
    [["stmop://h/"], 2, /did you mean stomp:\/\/h\/\?/],
    [["tcp://h"], 2, /HOST:PORT is wrong or missing/],
    [["--auth", "token", "sio://h/"], 2, /--auth is not a JSON object/],
    [["--nonsense", "ws://h/"], 2, /nonsense/],
    [[], 2, /one address/],
    [["-H", "no header", "ws://h/"], 2, /not a header/],
    [["--timeout", "x", "ws://h/"], 2, /number/],
    [["--auth", "{}", "ws://h/"], 2, /for Socket.IO/],
    [["--ack", "eio://h/"], 2, /for Socket.IO/],
    [["--resume", "1:2", "ws://h/"], 2, /madang sub --room ROOM --resume/],
  ]) {
    const got = await run(t, ["cat", ...args]);
    assert.equal(got.code, code, `${args}: ${got.err}`);
    assert.match(got.err, words);
  }
});

const SCHEMES = ["ws", "tcp", "udp", "sse", "http", "poll", "sio", "sio+poll", "eio", "eio+poll", "sockjs", "sockjs+xhr", "stomp", "stomp+ws"];

test("pub and sub do their main job with a server's name alone, by every scheme", { once: true, timeout: 60 }, async (t) => {
  const server = await t.server();
  const place = `127.0.0.1:${server.port}`;
  for (const scheme of SCHEMES) {
    const url = `${scheme}://${place}`;
    const sub = new Tool(t, ["sub", "-R", "한 room", "-n", "3", "--history", "0", url], { input: null });
    await sub.heard(/^(ws|tcp|udp|sio|eio|sockjs)/.test(scheme) ? "in 한 room" : "connected");
    const one = await run(t, ["pub", "-R", "한 room", url, "the", "first"]);
    const two = await run(t, ["pub", "-q", "-R", "한 room", url], { input: "second\n안녕\n" });
    assert.equal(one.code, 0, `${scheme}: ${one.err}`);
    assert.equal(two.code, 0, `${scheme}: ${two.err}`);
    assert.match(one.out, scheme.startsWith("stomp") ? /^$/ : /^[0-9a-f]{16}:\d+\n$/);
    const { code, lines, err } = await sub.end();
    assert.equal(code, 0, `${scheme}: ${err}`);
    assert.deepEqual(lines.map((l) => l.replace(/^\[한 room\] [^:]*: /, "")), ["the first", "second", "안녕"], scheme);
  }
});

test("--resume goes on behind a message, by every scheme that remembers", { once: true, timeout: 60 }, async (t) => {
  const server = await t.server();
  const place = `127.0.0.1:${server.port}`;
  const said = await run(t, ["pub", "-R", "kept", `ws://${place}`], { input: "1\n2\n3\n" });
  const [first] = said.lines;
  for (const scheme of SCHEMES) {
    const { code, lines, err } = await run(t, ["sub", "-R", "kept", "-n", "2", "--resume", first, `${scheme}://${place}`]);
    assert.equal(code, 0, `${scheme}: ${err}`);
    assert.deepEqual(lines.map((l) => l.replace(/^\[kept\] [^:]*: /, "")), ["2", "3"], scheme);
    assert.match(err, new RegExp(`--resume ${said.lines[2]}`), scheme);
  }
});

test("sub --json prints whole objects, by every scheme", { once: true, timeout: 60 }, async (t) => {
  const server = await t.server();
  const place = `127.0.0.1:${server.port}`;
  await run(t, ["pub", "-R", "json", `ws://${place}`, "a \"b\""]);
  for (const scheme of SCHEMES.filter((s) => !s.startsWith("stomp"))) {
    const { code, lines, err } = await run(t, ["sub", "-j", "-R", "json", "-n", "1", "--history", "5", `${scheme}://${place}`]);
    assert.equal(code, 0, `${scheme}: ${err}`);
    const unit = JSON.parse(lines[0]);
    assert.deepEqual([unit.type, unit.room, unit.seq, unit.text], ["message", "json", 1, "a \"b\""], scheme);
  }
  const stomp = new Tool(t, ["sub", "-j", "-R", "json", "-n", "1", `stomp://${place}`], { input: null });
  await stomp.heard("connected");
  await run(t, ["pub", "-R", "json", `sio://${place}`, "c"]);
  assert.deepEqual(JSON.parse((await stomp.end()).lines[0]), { type: "message", room: "json", text: "c" });
});

test("help fits on a screen", { once: true }, async (t) => {
  for (const command of ["cat", "pub", "sub", "bench"]) {
    const { code, lines } = await run(t, [command, "--help"]);
    assert.equal(code, 0);
    assert.ok(lines.length <= 24, `${command}: ${lines.length} lines`);
    assert.deepEqual(lines.filter((l) => l.length > 79), []);
  }
});

test("what pub says, sub prints, on every carrier", async (t) => {
  const server = await t.server();
  const place = `127.0.0.1:${server.port}`;
  const subs = [
    new Tool(t, ["sub", "-R", "cli", "-n", "4", `ws://${place}/ws/chat`], { input: null }),
    new Tool(t, ["sub", "-R", "cli", "-n", "4", `tcp://${place}`], { input: null }),
    new Tool(t, ["sub", "-j", "-n", "4", `http://${place}/sse?room=cli&history=0`], { input: null }),
  ];
  await Promise.all(subs.slice(0, 2).map((s) => s.heard("in cli")));
  await subs[2].heard("connected");
  const first = await run(t, ["pub", "-R", "cli", `ws://${place}/ws/chat`, "two", "words"]);
  assert.equal(first.code, 0, first.err);
  assert.match(first.out, /^[0-9a-f]{16}:\d+\n$/);
  const second = await run(t, ["pub", "-q", "-R", "cli", "-e", "weather", `tcp://${place}`], { input: "one\n\n안녕\n" });
  assert.equal(second.code, 0, second.err);
  assert.equal((await run(t, ["pub", "-R", "cli", "-j", `ws://${place}/ws/chat`, '{"a":[1]}'])).code, 0);
  const [ws, tcp, sse] = await Promise.all(subs.map((s) => s.end()));
  const said = ["two words", "one", "안녕", '{"a":[1]}'];
  for (const { code, lines } of [ws, tcp]) {
    assert.equal(code, 0);
    assert.deepEqual(lines.map((l) => l.replace(/^\[cli\] [^:]*: /, "")), said);
    assert.match(lines[1], /\(weather\)/);
  }
  assert.equal(sse.code, 0);
  assert.deepEqual(sse.lines.map((l) => JSON.parse(l)).map((m) => m.text ?? JSON.stringify(m.data)), said);
});

test("pub tells a refusal", { once: true }, async (t) => {
  const server = await t.server();
  const ws = `ws://127.0.0.1:${server.port}/ws/chat`;
  const noJson = await run(t, ["pub", "-R", "r", "-j", ws, "{"]);
  assert.equal(noJson.code, 1);
  assert.match(noJson.err, /not JSON/);
  const badRoom = await run(t, ["pub", "-R", "", ws, "x"]);
  assert.equal(badRoom.code, 1);
  const nobody = await run(t, ["pub", "-R", "r", "ws://127.0.0.1:1/", "x"]);
  assert.equal(nobody.code, 1);
  assert.match(nobody.err, /refused/);
});

test("sub comes back after a restart with nothing missing", { once: true }, async (t) => {
  const store = ["--store", join(stateFolder(t), "messages.db")];
  let server = await t.server({ args: store });
  const ws = `ws://127.0.0.1:${server.port}/ws/chat`;
  const sub = new Tool(t, ["sub", "-R", "kept", "-n", "3", ws], { input: null });
  await sub.heard("in kept");
  assert.equal((await run(t, ["pub", "-q", "-R", "kept", ws, "before"])).code, 0);
  await sub.heard("before");
  await server.stop();
  server = await server.restart(t);
  assert.equal((await run(t, ["pub", "-q", "-R", "kept", ws, "while away"])).code, 0);
  assert.equal((await run(t, ["pub", "-q", "-R", "kept", ws, "after"])).code, 0);
  const { code, lines, err } = await sub.end();
  assert.equal(code, 0);
  assert.deepEqual(lines.map((l) => l.replace(/^\[kept\] [^:]*: /, "")), ["before", "while away", "after"]);
  assert.match(err, /again in/);
  assert.doesNotMatch(err, /could not all/);
});

test("over TLS, with the certificate trusted, not trusted, and not looked at", { once: true }, async (t) => {
  const server = await t.server({ args: ["--echo", "--tls-dev"], listen: ["https://127.0.0.1:0"] });
  const url = `wss://localhost:${server.port}/echo`;
  const blind = await run(t, ["cat", "-q", "-k", url], { input: "secret\n" });
  assert.equal(blind.out, "secret\n");
  const wary = await run(t, ["cat", url]);
  assert.equal(wary.code, 1);
  assert.match(wary.err, /certificate/);
});

test("pub and sub by every scheme over TLS", { once: true, timeout: 60 }, async (t) => {
  const server = await t.server({ args: ["--tls-dev"], listen: ["127.0.0.1:0"] });
  for (const scheme of ["wss", "tls", "sses", "https", "polls", "sios", "sio+polls", "eios", "eio+polls", "sockjss", "sockjs+xhrs", "stomps", "stomp+wss"]) {
    const url = `${scheme}://localhost:${server.port}`;
    const sub = new Tool(t, ["sub", "-k", "-R", "tls", "-n", "1", "--history", "0", url], { input: null });
    await sub.heard(/^(wss|tls|sio|eio|sockjs)/.test(scheme) ? "in tls" : "connected");
    const pub = await run(t, ["pub", "-k", "-R", "tls", url, "secret"]);
    assert.equal(pub.code, 0, `${scheme}: ${pub.err}`);
    const { code, out } = await sub.end();
    assert.equal(code, 0, scheme);
    assert.match(out, /secret\n$/, scheme);
    const wary = await run(t, ["pub", "-R", "tls", url, "secret"]);
    assert.equal(wary.code, 1, scheme);
    assert.match(wary.err, /certificate/, scheme);
  }
});

test("out through a proxy", { once: true }, async (t) => {
  const server = await t.server({ args: ["--echo"] });
  const asked = [];
  const proxy = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (head) => {
      asked.push(head.toString().split("\r\n")[0]);
      const [, host, port] = /^CONNECT ([^:]+):(\d+) /.exec(head.toString());
      const out = net.connect(Number(port), host, () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        socket.pipe(out).pipe(socket);
      });
      out.on("error", () => socket.destroy());
    });
  });
  await new Promise((done) => proxy.listen(0, "127.0.0.1", done));
  t.after(() => proxy.close());
  const through = `http://127.0.0.1:${proxy.address().port}`;
  const url = `ws://127.0.0.1:${server.port}/echo`;
  const connect = `CONNECT 127.0.0.1:${server.port} HTTP/1.1`;
  assert.equal((await run(t, ["cat", "-q", "--proxy", through, url], { input: "a\n" })).out, "a\n");
  assert.equal((await run(t, ["cat", "-q", url], { input: "b\n", env: { http_proxy: through } })).out, "b\n");
  assert.deepEqual(asked, [connect, connect]);
  assert.equal((await run(t, ["cat", "-q", url], { input: "c\n", env: { http_proxy: through, no_proxy: "127.0.0.1" } })).out, "c\n");
  assert.equal((await run(t, ["cat", "-q", "--no-proxy", url], { input: "d\n", env: { http_proxy: through } })).out, "d\n");
  assert.equal(asked.length, 2);
  for (const scheme of ["sio", "sio+poll", "poll", "sse", "stomp+ws"]) {
    const before = asked.length;
    const pub = await run(t, ["pub", "-R", "r", `${scheme}://127.0.0.1:${server.port}`, "x"], { env: { http_proxy: through } });
    assert.equal(pub.code, 0, `${scheme}: ${pub.err}`);
    assert.ok(asked.length > before, scheme);
  }
});

test("a unix socket", { once: true }, async (t) => {
  const path = join(stateFolder(t), "sock");
  await t.server({ listen: ["127.0.0.1:0", `unix:${path}`] });
  const { code, out, err } = await run(t, ["cat", `unix:${path}`], { input: "from a file\n" });
  assert.equal(code, 0, err);
  assert.match(out, /: from a file/);
});

test("the shell completes commands, options, cases and every scheme", { once: true }, async (t) => {
  const complete = (...words) => execFileSync("bash", ["-c",
    `source "${COMPLETION}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _madang; printf '%s\\n' "\${COMPREPLY[@]}"`, "bash", "madang", ...words],
  { encoding: "utf8" }).split("\n").filter(Boolean);
  assert.deepEqual(complete("pas"), ["passwd"]);
  assert.deepEqual(complete("sub", "--his"), ["--history"]);
  assert.deepEqual(complete("bench", "f"), ["fanout"]);
  assert.deepEqual(complete("cat", "sio+"), ["sio+poll://", "sio+polls://"]);
  const { err } = await run(t, ["cat", "gopher://h"]);
  const known = /there are (.*)/.exec(err)[1].split(" ").map((s) => (s === "unix" ? "unix:" : `${s}://`));
  assert.deepEqual(complete("cat", "").toSorted?.() ?? complete("cat", "").sort(), known.sort());
  for (const command of ["cat", "pub", "sub", "bench"]) {
    const { out } = await run(t, [command, "--help"]);
    const told = new Set(out.match(/--[a-z-]+/g));
    const missing = [...told].filter((o) => !complete(command, ...(command === "bench" ? ["echo"] : []), "--").includes(o));
    assert.deepEqual(missing, [], command);
  }
});

/** Runs a bench and returns its figures. */
async function measured(t, server, ...args) {
  const { code, out, err } = await run(t, ["bench", args[0], "-q", "-j", "-p", String(server.program.pid), ...args.slice(1)]);
  assert.equal(code, 0, `${args}: ${err}`);
  return JSON.parse(out);
}

test("bench measures rooms by every scheme", { once: true, timeout: 90 }, async (t) => {
  const server = await t.server();
  const place = `127.0.0.1:${server.port}`;
  for (const scheme of SCHEMES) {
    const url = `${scheme}://${place}`;
    if (!/^(sse|http)$/.test(scheme)) {
      const echo = await measured(t, server, "echo", "-R", "bench", "-c", "4", "-i", "2", "-n", "200", url);
      assert.ok(echo.count >= 200 && echo.lost === 0 && echo.p50_us > 0 && echo.cpu_ns_each > 0, scheme);
    }
    const fanout = await measured(t, server, "fanout", "-R", "bench", "-c", "5", "--burst", "3", "-n", "300", url);
    assert.ok(fanout.count >= 300 && fanout.lost === 0 && fanout.connections === 5, scheme);
    assert.equal((await measured(t, server, "idle", "-R", "bench", "-c", "6", "-t", "1", url)).connections, 6);
    if (scheme === "udp") continue;
    const connect = await measured(t, server, "connect", "-i", "3", "-n", "30", ...(scheme === "tcp" ? [] : ["-R", "bench"]), url);
    assert.ok(connect.count >= 30 && connect.lost === 0, scheme);
  }
});

test("bench says what to do about a case that makes no sense", { once: true }, async (t) => {
  for (const [args, words] of [
    [["echo", "sse://h/sse?room=a"], /echo over poll:\/\/ with --room/],
    [["echo", "poll://h/poll?room=a"], /needs --room/],
    [["echo", "stomp://h/topic/a"], /needs --room/],
    [["fanout", "stomp://h"], /needs a room: --room/],
    [["fanout", "http://h/sse?room=a"], /--publish-url/],
    [["connect", "udp://h:1"], /do not connect/],
    [["connect", "-R", "a", "tcp://h:1"], /without --room/],
    [["echo", "--ack", "ws://h"], /--ack is for echo over Socket.IO/],
    [["echo", "-e", "x", "ws://h"], /--event are for Socket.IO/],
    [["echo", "-b", "tcp://h:1"], /only text/],
    [["ecko", "ws://h"], /did you mean echo/],
    [["echo", "wss+x://h"], /no kind of address/],
  ]) {
    const { code, err } = await run(t, ["bench", ...args]);
    assert.match(err, words, args.join(" "));
    assert.notEqual(code, 0);
  }
});

test("bench measures and counts", async (t) => {
  const server = await t.server({ args: ["--echo"] });
  const place = `127.0.0.1:${server.port}`;
  const bench = (...args) => measured(t, server, ...args);
  const echo = await bench("echo", "-c", "5", "-i", "3", "-n", "2000", `ws://${place}/echo`);
  assert.ok(echo.count >= 2000 && echo.lost === 0 && echo.p50_us > 0 && echo.cpu_ns_each > 0);
  const fanout = await bench("fanout", "-c", "5", "--burst", "4", "-n", "500", `ws://${place}/ws/chat`);
  assert.ok(fanout.count >= 500 && fanout.lost === 0);
  const lines = await bench("fanout", "-c", "5", "-n", "200", "--hello", "/join bench", `tcp://${place}`);
  assert.ok(lines.count >= 200);
  const sse = await bench("fanout", "-c", "5", "-n", "200", "--publish-url", `ws://${place}/ws/chat`, `http://${place}/sse?room=lobby`);
  assert.ok(sse.count >= 200);
  assert.equal((await bench("idle", "-c", "20", "-t", "1", `ws://${place}/echo`)).connections, 20);
  assert.ok((await bench("connect", "-i", "4", "-n", "200", `ws://${place}/echo`)).count >= 200);
});
