// madang cat, pub and sub as clients of Socket.IO and Engine.IO servers: npm's, our targets, and
// `madang serve`, by WebSocket and by requests alone.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { Server } from "socket.io";
import { WebSocketServer } from "ws";
import { test, until } from "./lib/harness.mjs";
import { startTarget } from "./lib/targets.mjs";
import { run, Tool } from "./lib/tool.mjs";

const KINDS = ["sio", "sio+poll"];

/** npm's server; `setup(io)` says what it does. */
async function reference(t, setup, options = {}) {
  const http = createServer();
  const io = new Server(http, options);
  setup(io);
  await new Promise((done) => http.listen(options.port ?? 0, "127.0.0.1", done));
  t.after(() => io.close());
  return { io, http, port: http.address().port };
}

const echoing = (io) => io.on("connection", (socket) => {
  socket.emit("hello", socket.handshake.auth, socket.handshake.query.q ?? null);
  socket.on("message", (...args) => socket.emit("back", ...args));
  socket.on("chat message", (text) => socket.emit("back", text));
  socket.on("sum", (a, b, answer) => answer(a + b, Buffer.from([1, 2])));
  socket.on("same", (a, answer) => answer(a));
  socket.on("bytes", () => socket.emit("bytes", Buffer.from([0, 255]), { deep: [Buffer.from("x")] }));
  socket.on("ask", async () => socket.emit("answered", await socket.timeout(5000).emitWithAck("question", 1)));
  socket.on("kick", () => socket.disconnect());
  socket.on("hang up", () => socket.conn.close());
});

test("cat: lines and events out, events in, by npm socket.io", { once: true }, async (t) => {
  const { port } = await reference(t, echoing);
  for (const kind of KINDS) {
    const url = `${kind}://127.0.0.1:${port}/?q=5`;
    const talk = await run(t, ["cat", "-q", "-n", "4", "--auth", '{"token":"t"}', url],
      { input: 'plain "text" 안녕\n["message",1,{"a":[true,null]}]\n["chat message","x"]\n' });
    assert.equal(talk.code, 0, talk.err);
    assert.deepEqual(talk.lines.map((l) => JSON.parse(l)), [
      ["hello", { token: "t" }, "5"], ["back", 'plain "text" 안녕'], ["back", 1, { a: [true, null] }], ["back", "x"]], kind);
    const named = await run(t, ["cat", "-q", "-n", "2", "-e", "chat message", url], { input: "hi\n" });
    assert.deepEqual(JSON.parse(named.lines[1]), ["back", "hi"]);
  }
});

test("cat: binary both ways, acknowledgements both ways", { once: true }, async (t) => {
  const { port } = await reference(t, echoing);
  for (const kind of KINDS) {
    const url = `${kind}://127.0.0.1:${port}`;
    const bytes = await run(t, ["cat", "-q", "-n", "2", url], { input: '["bytes"]\n' });
    assert.deepEqual(JSON.parse(bytes.lines[1]), ["bytes", { base64: "AP8=" }, { deep: [{ base64: "eA==" }] }]);
    const sent = await run(t, ["cat", "-q", "-b", "-n", "2", url], { input: Buffer.from([0, 1, 254, 10]) });
    assert.deepEqual(JSON.parse(sent.lines[1]), ["back", { base64: "AAH+" }], kind);
    const sum = await run(t, ["cat", "-q", "--ack", "-n", "2", url], { input: '["sum",2,3]\n' });
    assert.equal(sum.lines[1], 'ack [5,{"base64":"AQI="}]');
    const asked = await run(t, ["cat", "-q", "--answer", '["yes"]', "-n", "3", url], { input: '["ask"]\n' });
    assert.deepEqual(asked.lines.slice(1).map((l) => JSON.parse(l)), [["question", 1], ["answered", "yes"]]);
  }
});

test("cat: a namespace that refuses, one that is not there, a client that is sent away", { once: true }, async (t) => {
  const { port } = await reference(t, (io) => {
    echoing(io);
    io.of("/no").use((socket, next) => next(Object.assign(new Error("not \"you\""), { data: { code: 7 } })));
  });
  for (const kind of KINDS) {
    const place = `${kind}://127.0.0.1:${port}`;
    const refused = await run(t, ["cat", "-r", `${place}/no`], { input: null });
    assert.equal(refused.code, 1);
    assert.match(refused.err, /the namespace \/no refused: not "you" \{"code":7\}/);
    const none = await run(t, ["cat", "-r", `${place}/none`], { input: null });
    assert.match(none.err, /Invalid namespace/);
    const path = await run(t, ["cat", "--path", "/elsewhere/", place]);
    assert.equal(path.code, 1);
    const away = new Tool(t, ["cat", "-r", place], { input: null });
    await away.heard("hello");
    away.type('["kick"]');
    assert.match((await away.end()).err, /io server disconnect/);
  }
});

test("cat: comes back after a loss, and says then what was typed meanwhile", { once: true }, async (t) => {
  for (const kind of KINDS) {
    const first = await reference(t, echoing);
    const cat = new Tool(t, ["cat", "-r", `${kind}://127.0.0.1:${first.port}`], { input: null });
    await cat.heard("hello");
    cat.type('["hang up"]');
    await cat.heard("again in");
    cat.type("typed while away");
    await cat.heard('["back","typed while away"]');
    assert.equal(cat.out.split('"hello"').length, 3, "it greeted twice");
    cat.child.kill("SIGKILL");
  }
});

test("cat: a session that a server recovers misses nothing, also with auth", { once: true }, async (t) => {
  const asked = [];
  const { port } = await reference(t, (io) => io.on("connection", (socket) => {
    asked.push([socket.recovered, socket.handshake.auth.token]);
    if (!socket.recovered) socket.emit("hello");
    socket.on("hang up", () => {
      socket.conn.close();
      setTimeout(() => io.emit("missed", 1), 20);
    });
    socket.on("message", (text) => socket.emit("back", text));
  }), { connectionStateRecovery: {} });
  for (const kind of KINDS) {
    const cat = new Tool(t, ["cat", "-r", "--auth", ' {"token":"t"} ', `${kind}://127.0.0.1:${port}`], { input: null });
    await cat.heard("hello");
    cat.type('["hang up"]');
    await cat.heard("connected, recovered");
    cat.type("again");
    await cat.heard('["back","again"');
    const events = cat.out.split("\n").slice(0, -1).map((l) => JSON.parse(l).slice(0, 2));
    assert.deepEqual(events.map(([name]) => name), ["hello", "missed", "back"], kind);
    assert.deepEqual(asked.splice(0), [[false, "t"], [true, "t"]]);
    cat.child.kill("SIGKILL");
  }
});

test("cat: a server that falls silent is lost after pingInterval and pingTimeout", { once: true }, async (t) => {
  const silent = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  t.after(() => silent.close());
  silent.on("connection", (ws) => {
    ws.send('0{"sid":"abc","upgrades":[],"pingInterval":200,"pingTimeout":300,"maxPayload":1000}');
    ws.on("message", (data) => { if (String(data) === "40") ws.send('40{"sid":"x"}'); });
  });
  await until("it listens", () => silent.address());
  for (const [kind, end] of [["sio", ""], ["eio", "/engine.io/"]]) {
    const begin = Date.now();
    const { code, err } = await run(t, ["cat", `${kind}://127.0.0.1:${silent.address().port}${end}`], { input: null });
    assert.equal(code, 1);
    assert.match(err, /ping timeout/);
    assert.ok(Date.now() - begin >= 450 && Date.now() - begin < 5000);
  }
});

test("cat: pings are answered for longer than the server's patience", { once: true }, async (t) => {
  const { port } = await reference(t, echoing, { pingInterval: 200, pingTimeout: 200 });
  for (const kind of KINDS) {
    const cat = new Tool(t, ["cat", `${kind}://127.0.0.1:${port}`], { input: null });
    await cat.heard("hello");
    await new Promise((done) => setTimeout(done, 1200));
    cat.type("still here");
    await cat.heard('["back","still here"]');
    assert.doesNotMatch(cat.err, /timeout|lost/);
    cat.child.kill("SIGKILL");
  }
});

test("cat: what a hostile server sends ends the connection, not the tool", { once: true }, async (t) => {
  const packets = [
    ["4garbage"], ["9"], ["0{}"], ["42[1]"], ["451-[\"a\",{\"_placeholder\":true,\"num\":0}]", "42[\"b\"]"],
    ["451-[\"a\",{\"_placeholder\":true,\"num\":7}]"], [Buffer.from([1, 2, 3])], ["459999-[\"a\"]"], [`42["a",${"[".repeat(400)}${"]".repeat(400)}]`],
  ];
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  t.after(() => server.close());
  let next = 0;
  server.on("connection", (ws) => {
    ws.on("error", () => {});
    ws.send('0{"sid":"abc","upgrades":[],"pingInterval":20000,"pingTimeout":20000,"maxPayload":1000}');
    ws.on("message", (data) => {
      if (String(data) !== "40") return;
      ws.send('40{"sid":"x"}');
      for (const packet of packets[next++]) ws.send(packet);
    });
  });
  await until("it listens", () => server.address());
  for (const packet of packets) {
    const { code, err } = await run(t, ["cat", `sio://127.0.0.1:${server.address().port}`], { input: null });
    assert.equal(code === 0 || code === 1, true, `${packet}: ${code} ${err}`);
    assert.match(err, /connected\n\* /, String(packet));
  }
});

test("Engine.IO alone: text and binary come back from the target", async (t) => {
  const target = await startTarget(t, "target_engineio", ["--ping-interval", "300", "--ping-timeout", "200"]);
  const long = "x".repeat(200_000);
  for (const kind of ["eio", "eio+poll"]) {
    const url = `${kind}://127.0.0.1:${target.port}`;
    const text = await run(t, ["cat", "-q", url], { input: `a\n안녕\n${long}\n` });
    assert.equal(text.code, 0, text.err);
    assert.equal(text.out, `a\n안녕\n${long}\n`, kind);
    const binary = await run(t, ["cat", "-q", "-b", url], { input: "one\ntwo" });
    assert.equal(binary.out, "onetwo");
  }
});

test("Engine.IO by requests: a message over the server's maxPayload is refused, the rest passes", { once: true }, async (t) => {
  const target = await startTarget(t, "target_engineio", ["--max-payload", "1000"]);
  const { code, out, err } = await run(t, ["cat", `eio+poll://127.0.0.1:${target.port}`], { input: `${"x".repeat(2000)}\nshort\n` });
  assert.equal(code, 0, err);
  assert.match(err, /not sent/);
  assert.equal(out, "short\n");
});

test("our own targets answer as the reference does", async (t) => {
  const target = await startTarget(t, "target_socketio");
  for (const kind of KINDS) {
    for (const namespace of ["", "/custom"]) {
      const { lines, err } = await run(t, ["cat", "-q", "-n", "3", "--auth", '{"a":1}', `${kind}://127.0.0.1:${target.port}${namespace}`],
        { input: 'text\n["message",{"b":2}]\n' });
      const events = lines.map((l) => JSON.parse(l));
      /* The target says `auth` a moment behind the answer to CONNECT; what was typed may be back before. */
      assert.deepEqual(events.filter(([name]) => name === "auth"), [["auth", { a: 1 }]], err);
      assert.deepEqual(events.filter(([name]) => name !== "auth"), [["message-back", "text"], ["message-back", { b: 2 }]], err);
    }
    const ack = await run(t, ["cat", "-q", "-n", "2", "--ack", `${kind}://127.0.0.1:${target.port}`], { input: '["message-with-ack",1,"2"]\n' });
    assert.ok(ack.lines.includes('ack [1,"2"]'), ack.out);
  }
  const app = await startTarget(t, "target_sio_app");
  const refused = await run(t, ["cat", `sio://127.0.0.1:${app.port}/no`]);
  assert.match(refused.err, /Auth failed \(custom namespace\)/);
});

test("pub without a room emits an event, sub without a room prints them all", { once: true }, async (t) => {
  const { port } = await reference(t, (io) => io.of("/chat").on("connection", (socket) => {
    socket.onAny((...event) => io.of("/chat").emit(...event));
  }));
  for (const kind of KINDS) {
    const url = `${kind}://127.0.0.1:${port}/chat`;
    const sub = new Tool(t, ["sub", "-n", "3", url], { input: null });
    await sub.heard("connected");
    assert.equal((await run(t, ["pub", url, "hi", "there"])).code, 0);
    assert.equal((await run(t, ["pub", "-e", "weather", "-j", url, '{"rain":true}'])).code, 0);
    assert.equal((await run(t, ["pub", url], { input: "by line\n" })).code, 0);
    const { code, lines } = await sub.end();
    assert.equal(code, 0);
    assert.deepEqual(lines.map((l) => JSON.parse(l)), [["message", "hi there"], ["weather", { rain: true }], ["message", "by line"]]);
    const reserved = await run(t, ["pub", "-e", "disconnect", url, "x"]);
    assert.equal(reserved.code, 1);
    assert.match(reserved.err, /belongs to the protocol/);
  }
});

test("sub over Socket.IO comes back after a restart with nothing missing", { once: true }, async (t) => {
  let server = await t.server({ args: ["--store", "messages.db"], env: {} });
  for (const kind of KINDS) {
    const url = `${kind}://127.0.0.1:${server.port}`;
    const room = `kept-${kind}`;
    const sub = new Tool(t, ["sub", "-R", room, "-n", "3", url], { input: null });
    await sub.heard(`in ${room}`);
    assert.equal((await run(t, ["pub", "-q", "-R", room, url, "before"])).code, 0);
    await sub.heard("before");
    await server.stop();
    server = await server.restart(t);
    for (const text of ["while away", "after"]) assert.equal((await run(t, ["pub", "-q", "-R", room, url, text])).code, 0);
    const { code, lines, err } = await sub.end();
    assert.equal(code, 0);
    assert.deepEqual(lines.map((l) => l.replace(/^\[[^\]]*\] [^:]*: /, "")), ["before", "while away", "after"], err);
    assert.doesNotMatch(err, /could not all/);
  }
});

test("a refusal of the room is told, with an exit code", { once: true }, async (t) => {
  const server = await t.server();
  for (const kind of ["ws", "sio", "eio", "poll", "sse"]) {
    const url = `${kind}://127.0.0.1:${server.port}`;
    const pub = await run(t, ["pub", "-R", "", url, "x"]);
    assert.equal(pub.code, 1, kind);
    assert.match(pub.err, /not published: /, kind);
  }
  const sub = await run(t, ["sub", "-R", "", `sio://127.0.0.1:${server.port}`], { input: null });
  assert.equal(sub.code, 1);
  assert.match(sub.err, /room_invalid/);
});

test("bench: echo by events and by acknowledgements, connect and fanout, of npm socket.io", { once: true }, async (t) => {
  const { port } = await reference(t, (io) => {
    echoing(io);
    io.of("/chat").on("connection", (socket) => socket.on("message", (text) => io.of("/chat").emit("message", text)));
  });
  const bench = async (...args) => {
    const { code, out, err } = await run(t, ["bench", args[0], "-q", "-j", ...args.slice(1)]);
    assert.equal(code, 0, err);
    return JSON.parse(out);
  };
  for (const kind of KINDS) {
    const url = `${kind}://127.0.0.1:${port}`;
    const events = await bench("echo", "-c", "3", "-i", "4", "-n", "200", url);
    assert.ok(events.count >= 200 && events.lost === 0 && events.p50_us > 0);
    const acks = await bench("echo", "--ack", "-e", "same", "-c", "3", "-n", "100", url);
    assert.ok(acks.count >= 100);
    const fanout = await bench("fanout", "-c", "5", "-n", "100", `${url}/chat`);
    assert.ok(fanout.count >= 100 && fanout.lost === 0);
    assert.ok((await bench("connect", "-i", "2", "-n", "20", url)).count >= 20);
  }
  const { code, err } = await run(t, ["bench", "idle", "-q", "-R", "a", "-c", "2", "--timeout", "1", `sio://127.0.0.1:${port}`]);
  assert.equal(code, 1);
  assert.match(err, /nobody answers; --room needs/);
});
