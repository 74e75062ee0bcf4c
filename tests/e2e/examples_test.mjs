// The examples do what their first comment says.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { test, until } from "./lib/harness.mjs";
import { openWs } from "./lib/clients.mjs";
import { BINARY, Program } from "./lib/server.mjs";
import { Raw } from "./lib/stomp.mjs";

/** Starts build/examples/NAME on a free port. */
async function example(t, name) {
  const path = join(dirname(BINARY), "examples", name);
  assert.ok(existsSync(path), `${path} is built`);
  const program = new Program(path, ["--port", "0"]);
  t.after(async () => {
    const { code } = await program.end();
    assert.equal(code, 0, program.output);
  });
  const port = await until("the port is printed", () => {
    assert.ok(program.running, program.output);
    return /\b(\d{4,5})\b(?!.*\b\d{4,5}\b)/s.exec(program.output)?.[1];
  });
  return { port, ws: `ws://127.0.0.1:${port}`, http: `http://127.0.0.1:${port}` };
}

test("echo sends text back as text and binary as binary", { once: true }, async (t) => {
  const { ws } = await example(t, "echo");
  const client = await openWs(t, `${ws}/`, [], { perMessageDeflate: true });
  client.send("마당");
  assert.equal(await client.text(), "마당");
  const bytes = Buffer.from([0, 1, 2, 255]);
  client.send(bytes);
  assert.deepEqual((await client.next()).binary, bytes);
  const long = "x".repeat(2_000_000);
  client.send(long);
  assert.equal(await client.text(), long);
});

test("chat asks for a name, then everyone hears everyone", { once: true }, async (t) => {
  const { ws } = await example(t, "chat");
  const hears = async (client, expected) => {
    let line = await client.text();
    while (line !== expected) line = await client.text();
  };
  const ann = await openWs(t, `${ws}/`);
  const ben = await openWs(t, `${ws}/`);
  assert.match(await ann.text(), /name/);
  ann.send("ann");
  await hears(ann, "ann: came in");
  ben.send("ben");
  await hears(ann, "ben: came in");
  await hears(ben, "ben: came in");
  ann.send("hello: you");
  await hears(ben, "ann: hello: you");
  await hears(ann, "ann: hello: you");
  ben.close();
  await hears(ann, "ben: left");
});

test("stomp_queue works on jobs, answers to whom it may concern, and rejects what it cannot do", { once: true }, async (t) => {
  const { port } = await example(t, "stomp_queue");
  const client = new Raw(port);
  t.after(() => client.close());
  assert.equal((await client.connect("1.2", { login: "worker", passcode: "worker" })).command, "CONNECTED");
  client.send("SUBSCRIBE", { destination: "/topic/results", id: "r", receipt: "1" });
  client.send("SUBSCRIBE", { destination: "/queue/dead", id: "d", receipt: "2" });
  for (let i = 0; i < 2; i++) assert.equal((await client.next()).command, "RECEIPT");
  client.send("SEND", { destination: "/queue/jobs" }, "madang");
  assert.equal((await client.next()).body, "MADANG");
  client.send("SEND", { destination: "/queue/jobs", "reply-to": "/temp-queue/mine" }, "for me");
  const answer = await client.next();
  assert.equal(answer.body, "FOR ME");
  assert.match(answer.headers.destination, /^\/reply-queue\//);
  client.send("SEND", { destination: "/queue/jobs" }, "fail");
  assert.equal((await client.next()).headers["original-destination"], "/queue/jobs");
  client.send("SUBSCRIBE", { destination: "/queue/jobs", id: "j" });
  assert.match((await client.next()).body, /Only the server works on jobs/);
});

test("http_echo gives every request its own body back", { once: true }, async (t) => {
  const { http } = await example(t, "http_echo");
  for (const [method, path, body] of [["POST", "/", "hello"], ["PUT", "/any/where?x=1", "x".repeat(300_000)], ["DELETE", "/d", ""]]) {
    const answer = await fetch(http + path, { method, body: body || undefined });
    assert.equal(answer.status, 200);
    assert.equal(await answer.text(), body);
  }
});
