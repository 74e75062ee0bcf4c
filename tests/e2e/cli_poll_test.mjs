// madang cat and sub by polls: against `madang serve`, and servers that know nothing of it.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { join } from "node:path";
import { test, until } from "./lib/harness.mjs";
import { stateFolder } from "./lib/server.mjs";
import { run, Tool } from "./lib/tool.mjs";

async function http(t, answer) {
  const server = createServer(answer);
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  t.after(() => { server.closeAllConnections?.(); server.close(); });
  return `127.0.0.1:${server.address().port}`;
}

test("cat: messages come as they are said, and what is typed is said", async (t) => {
  const server = await t.server();
  const cat = new Tool(t, ["cat", "-q", `poll://127.0.0.1:${server.port}/poll?room=a&history=0`], { input: null });
  cat.type("typed");
  await cat.heard('"text":"typed"');
  assert.equal((await run(t, ["pub", "-q", "-R", "a", `tcp://127.0.0.1:${server.port}`, "from elsewhere"])).code, 0);
  await cat.heard('"text":"from elsewhere"');
  cat.type('{"type":"publish","room":"a","data":[1],"event":"numbers"}');
  await cat.heard('"data":[1]');
  const units = cat.out.split("\n").slice(0, -1).map((l) => JSON.parse(l));
  assert.deepEqual(units.filter((u) => u.type === "message").map((u) => u.seq), [1, 2, 3]);
  assert.deepEqual(units.filter((u) => u.type === "ack").map((u) => u.seq), [1, 3]);
});

test("sub: nothing is lost between polls, nor while the server restarts", { once: true }, async (t) => {
  let server = await t.server({ args: ["--store", join(stateFolder(t), "messages.db")] });
  const url = `poll://127.0.0.1:${server.port}`;
  const sub = new Tool(t, ["sub", "-R", "kept", "-n", "203", "--history", "0", url], { input: null });
  await sub.heard("connected");
  const many = Array.from({ length: 200 }, (_, i) => `m${i}\n`).join("");
  assert.equal((await run(t, ["pub", "-q", "-R", "kept", `ws://127.0.0.1:${server.port}`], { input: many })).code, 0);
  assert.equal((await run(t, ["pub", "-q", "-R", "kept", url, "before"])).code, 0);
  await sub.heard("before");
  await server.stop();
  await sub.heard("again in");
  server = await server.restart(t);
  for (const text of ["while away", "after"]) assert.equal((await run(t, ["pub", "-q", "-R", "kept", url, text])).code, 0);
  const { code, lines, err } = await sub.end();
  assert.equal(code, 0, err);
  assert.deepEqual(lines.map((l) => l.replace(/^\[kept\] [^:]*: /, "")), [...many.split("\n").slice(0, -1), "before", "while away", "after"]);
});

test("sub: what the log no longer has is told", { once: true }, async (t) => {
  const server = await t.server({ args: ["--room-log-count-max", "2"] });
  const url = `poll://127.0.0.1:${server.port}`;
  const { lines } = await run(t, ["pub", "-R", "short", url], { input: "1\n2\n3\n4\n5\n" });
  const late = await run(t, ["sub", "-R", "short", "-n", "2", "--resume", lines[0], url]);
  assert.match(late.err, /some messages are missing/);
  assert.match(late.out, /: 5\n/);
});

test("cat: after= is where the first request begins, and no more", { once: true }, async (t) => {
  const server = await t.server();
  const place = `127.0.0.1:${server.port}`;
  const { lines } = await run(t, ["pub", "-R", "a", `poll://${place}`], { input: "1\n2\n3\n" });
  for (const query of [`room=a&after=${lines[0]}`, `after=${lines[0]}&room=a`, `after=${lines[0]}&room=a&wait=1`]) {
    const { out } = await run(t, ["cat", "-q", "-n", "2", `poll://${place}/poll?${query}`], { input: null });
    assert.deepEqual(out.split("\n").slice(0, -1).map((l) => JSON.parse(l).text), ["2", "3"], query);
  }
});

test("a refusal is told in the server's words", { once: true }, async (t) => {
  const server = await t.server();
  const { code, err } = await run(t, ["cat", `poll://127.0.0.1:${server.port}/poll?room=${"x".repeat(2000)}`]);
  assert.equal(code, 1);
  assert.match(err, /the server answered 400: ./);
  const nothing = await run(t, ["cat", `poll://127.0.0.1:${server.port}/none`]);
  assert.match(nothing.err, /404/);
});

test("any other server: a body is a message, asked once a second, with its ETag", { once: true }, async (t) => {
  const asked = [];
  const place = await http(t, (request, response) => {
    asked.push([Date.now(), request.headers["if-none-match"]]);
    if (request.headers["if-none-match"] === '"2"') response.writeHead(304).end();
    else response.writeHead(200, { etag: `"${asked.length}"` }).end(`body ${asked.length}`);
  });
  const cat = new Tool(t, ["cat", "-q", `poll://${place}/status`], { input: null });
  await until("it asked four times", () => asked.length >= 4);
  assert.equal(cat.out, "body 1\nbody 2\n");
  assert.deepEqual(asked.slice(0, 4).map(([, tag]) => tag), [undefined, '"1"', '"2"', '"2"']);
  assert.ok(asked[3][0] - asked[0][0] > 2500);
});

test("a server that closes each connection, and one that breaks, are asked again", { once: true }, async (t) => {
  let count = 0;
  const place = await http(t, (request, response) => {
    count += 1;
    if (count === 2) {
      request.socket.destroy();
      return;
    }
    const messages = count < 4 ? [{ type: "message", room: "r", seq: count, text: `m${count}`, from: { name: "x" } }] : [];
    response.writeHead(200, { connection: "close" }).end(JSON.stringify({ cursor: `c${count}`, messages }));
  });
  const { code, lines, err } = await run(t, ["sub", "-n", "2", `poll://${place}/poll?room=r`], { input: null });
  assert.equal(code, 0, err);
  assert.deepEqual(lines, ["[r] x: m1", "[r] x: m3"]);
});
