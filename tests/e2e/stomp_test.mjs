// STOMP: the published clients over TCP, WebSocket and SockJS; the same rooms as the chat; what
// survives kill -9.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Versions } from "@stomp/stompjs";
import SockJS from "sockjs-client";
import { Skip, sleep, test, until } from "./lib/harness.mjs";
import { openTcp, openWs } from "./lib/clients.mjs";
import { BINARY, Program, stateFolder } from "./lib/server.mjs";
import { Raw, connectJs, receipt, startTarget, subscribeJs } from "./lib/stomp.mjs";

const target = (t, options = {}) => startTarget(t, { workers: t.workers, state: stateFolder(t), ...options });

const carriers = {
  "WebSocket": (target_) => ({ url: `ws://127.0.0.1:${target_.wsPort}/ws` }),
  "SockJS websocket": (target_) => ({ webSocketFactory: () => new SockJS(`http://127.0.0.1:${target_.wsPort}/stomp`, null, { transports: ["websocket"] }) }),
  "SockJS xhr-streaming": (target_) => ({ webSocketFactory: () => new SockJS(`http://127.0.0.1:${target_.wsPort}/stomp`, null, { transports: ["xhr-streaming"] }) }),
  "SockJS xhr-polling": (target_) => ({ webSocketFactory: () => new SockJS(`http://127.0.0.1:${target_.wsPort}/stomp`, null, { transports: ["xhr-polling"] }) }),
};

for (const [name, options] of Object.entries(carriers)) {
  test(`@stomp/stompjs over ${name}: topics, queues, acks, transactions`, async (t) => {
    const target_ = await target(t);
    const ann = await connectJs(t, options(target_));
    const ben = await connectJs(t, options(target_));
    const topic = subscribeJs(ann, "/topic/news");
    const other = subscribeJs(ann, "/topic/*");
    await receipt(ann, (headers) => ann.subscribe("/topic/other", () => {}, headers));
    ben.publish({ destination: "/topic/news", body: "안녕\0하세요", headers: { "x-a": "b:c\nd\\" } });
    const m = await topic.next();
    assert.equal(m.body, "안녕\0하세요");
    assert.equal(m.headers["x-a"], "b:c\nd\\");
    assert.equal((await other.next()).headers.destination, "/topic/news");

    await receipt(ben, (headers) => ben.publish({ destination: "/queue/q", body: "one", headers }));
    const queue = subscribeJs(ann, "/queue/q", { ack: "client-individual" });
    const one = await queue.next();
    assert.equal(one.body, "one");
    one.nack();
    const again = await queue.next();
    assert.equal(again.headers.redelivered, "true");
    const tx = ann.begin();
    ann.publish({ destination: "/topic/news", body: "committed", headers: { transaction: tx.id } });
    again.ack({ transaction: tx.id });
    await sleep(100);
    assert.equal(topic.messages.length, 0);
    tx.commit();
    assert.equal((await topic.next()).body, "committed");
    await receipt(ann, (headers) => queue.subscription.unsubscribe(headers));
    const left = subscribeJs(ben, "/queue/q");
    await sleep(200);
    assert.equal(left.messages.length, 0);
  });
}

test("every version is spoken on WebSocket, and the sub-protocol is chosen", async (t) => {
  const target_ = await target(t);
  for (const [version, protocol] of [["1.0", "v10.stomp"], ["1.1", "v11.stomp"], ["1.2", "v12.stomp"]]) {
    const client = await connectJs(t, { url: `ws://127.0.0.1:${target_.wsPort}/stomp`, protocols: [protocol], stompVersions: new Versions([version]) });
    assert.equal(client.connectedVersion, version);
    assert.equal(client.webSocket.protocol, protocol);
    const topic = subscribeJs(client, `/topic/${version}`);
    client.publish({ destination: `/topic/${version}`, body: version });
    assert.equal((await topic.next()).body, version);
  }
});

test("bytes that are not UTF-8 arrive as they were sent, in a binary message", async (t) => {
  const target_ = await target(t);
  const client = await connectJs(t, carriers.WebSocket(target_));
  const topic = subscribeJs(client, "/topic/bytes");
  const bytes = Uint8Array.from({ length: 300 }, (_, i) => i % 256);
  await receipt(client, (headers) => client.subscribe("/topic/other", () => {}, headers));
  client.publish({ destination: "/topic/bytes", binaryBody: bytes });
  assert.deepEqual(Buffer.from((await topic.next()).binaryBody), Buffer.from(bytes));
});

test("a body of 16 MiB passes from TCP to WebSocket", async (t) => {
  const target_ = await target(t);
  const client = await connectJs(t, carriers.WebSocket(target_));
  const topic = subscribeJs(client, "/topic/big");
  await receipt(client, (headers) => client.subscribe("/topic/other", () => {}, headers));
  const raw = new Raw(target_.port);
  t.after(() => raw.close());
  await raw.connect();
  const body = "x".repeat(16 << 20);
  raw.send("SEND", { destination: "/topic/big", "content-length": body.length }, body);
  assert.equal((await topic.next(20)).body.length, body.length);
});

test("heart-beats are kept, and who keeps none is closed", async (t) => {
  const target_ = await target(t);
  const client = await connectJs(t, { ...carriers.WebSocket(target_), heartbeatIncoming: 1000, heartbeatOutgoing: 1000 });
  let closed = false;
  client.onWebSocketClose = () => { closed = true; };
  const raw = new Raw(target_.port);
  t.after(() => raw.close());
  const connected = await raw.connect("1.1", { "heart-beat": "1500,0" });
  assert.equal(connected.headers["heart-beat"], "0,1500");
  await sleep(1000);
  assert.equal(raw.over, false);
  assert.equal((await raw.next(4)).command, "ERROR");
  assert.equal(await raw.next(1), null);
  assert.equal(closed, false);
});

test("a room is the same for the chat page and for STOMP", async (t) => {
  const server = await t.server();
  const chat = await openWs(t, server.ws, ["madang.v1"]);
  assert.equal(JSON.parse(await chat.text()).type, "welcome");
  chat.send(JSON.stringify({ type: "join", room: "lobby", id: 1 }));
  const nextOf = async (type) => {
    for (;;) {
      const unit = JSON.parse(await chat.text());
      if (unit.type === type) return unit;
    }
  };
  await nextOf("joined");
  const client = await connectJs(t, { url: server.ws.replace("/ws/chat", "/stomp"), connectHeaders: {} });
  const topic = subscribeJs(client, "/topic/lobby");
  await receipt(client, (headers) => client.subscribe("/topic/other", () => {}, headers));
  client.publish({ destination: "/topic/lobby", body: "from STOMP" });
  assert.equal((await topic.next()).body, "from STOMP");
  assert.equal((await nextOf("message")).text, "from STOMP");
  client.publish({ destination: "/topic/lobby", body: "<p>", headers: { "content-type": "text/html" } });
  assert.equal((await nextOf("message")).content_type, "text/html");
  const polled = await (await fetch(`http://127.0.0.1:${server.port}/poll?room=lobby&history=1`)).json();
  assert.equal(JSON.stringify(polled).includes('"content_type":"text/html"'), true, JSON.stringify(polled));
  assert.equal((await topic.next()).headers["content-type"], "text/html");
  chat.send(JSON.stringify({ type: "publish", room: "lobby", id: 2, text: "from the page" }));
  const m = await topic.next();
  assert.equal(m.body, "from the page");
  assert.equal(m.headers.room, "lobby");
  assert.equal(m.headers.seq, "3");
  assert.match(m.headers.sender, /^guest-/);
  const back = subscribeJs(client, "/topic/lobby", { epoch: m.headers.epoch, seq: "2" });
  assert.equal((await back.next()).body, "from the page");
});

test("python3-stomp over TCP, every version", { once: true, timeout: 60 }, async (t) => {
  const target_ = await target(t, { workers: 2 });
  const script = fileURLToPath(new URL("./lib/stomp_client.py", import.meta.url));
  const child = spawn("/usr/bin/python3", [script, String(target_.port)], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => { output += data; });
  const code = await new Promise((done) => child.on("close", done));
  if (/No module named/.test(output)) throw new Skip("python3-stomp is not installed");
  assert.equal(code, 0, output);
});

test("a durable subscription collects while its subscriber is away", async (t) => {
  const store = join(stateFolder(t), "madang.db");
  const first = await target(t, { store });
  const headers = { "client-id": "ann" };
  const subscribe = { destination: "/topic/news", id: "d", durable: "true", receipt: "s" };
  let ann = new Raw(first.port);
  await ann.connect("1.2", headers);
  ann.send("SUBSCRIBE", subscribe);
  assert.equal((await ann.next()).command, "RECEIPT");
  ann.close();
  const ben = new Raw(first.port);
  await ben.connect();
  ben.send("SEND", { destination: "/topic/news", receipt: "1" }, "while away");
  assert.equal((await ben.next()).command, "RECEIPT");
  await sleep(300); // until the queue has it on disk
  ben.close();
  await first.program.end("SIGKILL");
  const second = await target(t, { store });
  ann = new Raw(second.port);
  t.after(() => ann.close());
  await ann.connect("1.2", headers);
  ann.send("SUBSCRIBE", subscribe);
  assert.equal((await ann.next()).command, "RECEIPT");
  const m = await ann.next();
  assert.equal(m.body, "while away");
  assert.equal(m.headers.destination, "/topic/news");
  ann.send("UNSUBSCRIBE", { id: "d", durable: "true", receipt: "u" });
  assert.equal((await ann.next()).headers["receipt-id"], "u");
  ann.send("SEND", { destination: "/topic/news" }, "nobody");
  ann.send("SUBSCRIBE", { ...subscribe, receipt: "again" });
  assert.equal((await ann.next()).headers["receipt-id"], "again");
  ann.send("SEND", { destination: "/topic/news" }, "new");
  assert.equal((await ann.next()).body, "new");
});

test("durable subscriptions of one id to several topics are several", { once: true }, async (t) => {
  const target_ = await target(t, { workers: 2 });
  const raw = new Raw(target_.port);
  t.after(() => raw.close());
  await raw.connect("1.2");
  for (const topic of ["one", "two"]) {
    raw.send("SUBSCRIBE", { destination: `/topic/${topic}`, id: "d", durable: "true", receipt: topic });
    assert.equal((await raw.next()).headers["receipt-id"], topic);
    raw.send("UNSUBSCRIBE", { id: "d", receipt: `${topic} away` });
    assert.equal((await raw.next()).headers["receipt-id"], `${topic} away`);
  }
  raw.send("SEND", { destination: "/topic/one", receipt: "sent" }, "first");
  assert.equal((await raw.next()).headers["receipt-id"], "sent");
  raw.send("SEND", { destination: "/topic/two" }, "second");
  for (const [topic, body] of [["two", "second"], ["one", "first"]]) {
    raw.send("SUBSCRIBE", { destination: `/topic/${topic}`, id: "d", durable: "true" });
    const m = await raw.next();
    assert.equal(m.body, body);
    assert.equal(m.headers.destination, `/topic/${topic}`);
    raw.send("UNSUBSCRIBE", { id: "d", receipt: `${topic} gone` });
    assert.equal((await raw.next()).headers["receipt-id"], `${topic} gone`);
  }
});

test("a durable subscription is named as other brokers' clients do, and given up while away", { once: true }, async (t) => {
  const target_ = await target(t, { workers: 2 });
  const ben = new Raw(target_.port);
  t.after(() => ben.close());
  await ben.connect();
  for (const header of ["durable-subscription-name", "activemq.subscriptionName"]) {
    const visit = async () => {
      const raw = new Raw(target_.port);
      t.after(() => raw.close());
      await raw.connect("1.2", { "client-id": "ann" });
      return raw;
    };
    const subscribe = { destination: "/topic/named", id: "any", [header]: "mine", receipt: "r" };
    let ann = await visit();
    ann.send("SUBSCRIBE", subscribe);
    assert.equal((await ann.next()).command, "RECEIPT");
    ann.send("DISCONNECT", { receipt: "d" });
    assert.equal((await ann.next()).headers["receipt-id"], "d");
    ben.send("SEND", { destination: "/topic/named", receipt: "1" }, "kept");
    assert.equal((await ben.next()).command, "RECEIPT");
    await sleep(100); // until the queue has it
    ann = await visit();
    ann.send("SUBSCRIBE", { ...subscribe, id: "another" });
    assert.equal((await ann.next()).command, "RECEIPT");
    assert.equal((await ann.next()).body, "kept");
    ann.send("UNSUBSCRIBE", { id: "another", receipt: "u" });
    ann.send("UNSUBSCRIBE", { destination: "/topic/named", [header]: "mine", receipt: "v" });
    assert.equal((await ann.next()).headers["receipt-id"], "u");
    assert.equal((await ann.next()).headers["receipt-id"], "v");
    ben.send("SEND", { destination: "/topic/named", receipt: "2" }, "for nobody");
    assert.equal((await ben.next()).command, "RECEIPT");
    ann.send("SUBSCRIBE", subscribe);
    assert.equal((await ann.next()).command, "RECEIPT");
    ben.send("SEND", { destination: "/topic/named" }, "new");
    assert.equal((await ann.next()).body, "new");
    ann.send("UNSUBSCRIBE", { id: "any", [header]: "mine", receipt: "w" });
    assert.equal((await ann.next()).headers["receipt-id"], "w");
    ann.send("UNSUBSCRIBE", { destination: "/topic/named", [header]: "mine" });
    assert.equal((await ann.next()).command, "ERROR");
  }
});

test("madang pub, sub and cat talk to a STOMP broker", { once: true }, async (t) => {
  const target_ = await target(t, { workers: 1 });
  const login = ["-H", "login: guest", "-H", "passcode: guest"];
  const tcp = `stomp://127.0.0.1:${target_.port}`;
  const ws = `stomp+ws://127.0.0.1:${target_.wsPort}/ws`;
  const run = (...args) => {
    const program = new Program(BINARY, args);
    t.after(() => program.end("SIGKILL"));
    return program;
  };
  const sub = run("sub", "-q", ...login, "-n", "2", "--room", "news", tcp);
  const cat = run("cat", ...login, "-w", "5", `${ws}#/topic/news`);
  await until("both listen", () => cat.output.includes("connected"));
  await sleep(300);
  for (const [url, text] of [[tcp, "one"], [ws, "two"]]) {
    const { code } = await run("pub", ...login, "--room", "/topic/news", url, text).exited;
    assert.equal(code, 0);
  }
  assert.equal((await sub.exited).code, 0);
  assert.equal(sub.output, "one\ntwo\n");
  await until("cat has both", () => /one\ntwo\n/.test(cat.output));
  const refused = run("pub", "-H", "login: x", "--room", "news", tcp, "hello");
  assert.equal((await refused.exited).code, 1);
  assert.match(refused.output, /Access refused for user 'x'/);
});

test("madang passwd makes a user, and only the right passcode lets in", { once: true }, async (t) => {
  const users = join(stateFolder(t), "users");
  const made = spawnSync(BINARY, ["passwd", "ann"], { input: "s3cret\n", encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
  writeFileSync(users, `# users\n${made.stdout}`);
  const server = await t.server({ args: ["--users-file", users] });
  for (const [passcode, answer] of [["s3cret", "CONNECTED"], ["secret", "ERROR"], ["", "ERROR"]]) {
    const raw = new Raw(server.port);
    t.after(() => raw.close());
    assert.equal((await raw.connect("1.2", { login: "ann", passcode })).command, answer);
  }
});

test("a flood of wrong passcodes is put off, on STOMP and on lines, and who is known still comes in", { once: true }, async (t) => {
  const users = join(stateFolder(t), "users");
  const made = spawnSync(BINARY, ["passwd", "ann"], { input: "s3cret\n", encoding: "utf8" });
  writeFileSync(users, made.stdout);
  const server = await t.server({ args: ["--users-file", users, "--login-tries-per-minute", "3"] });
  const login = async (passcode) => {
    const raw = new Raw(server.port);
    t.after(() => raw.close());
    const frame = await raw.connect("1.2", { login: "ann", passcode });
    return frame.headers?.message ?? frame.command;
  };
  assert.equal(await login("s3cret"), "CONNECTED");
  const typist = await openTcp(t, server.port);
  typist.socket.write("/login ann guess\n");
  await until("the first guess is refused", () => /! forbidden/.test(typist.received));
  const answers = [];
  for (let i = 0; i < 4; i++) answers.push(await login("guess"));
  assert.deepEqual(answers, ["Bad CONNECT", "Bad CONNECT", "Try again later", "Try again later"]);
  typist.socket.write("/login ann guess\n");
  await until("the next one is put off", () => /! rate_limited: too many logins were tried, try again later\n/.test(typist.received));
  assert.equal(await login("s3cret"), "CONNECTED");
});

// A producer that counts receipts, a consumer that counts receipts of its ACKs, and a server that is
// killed at random moments. Whatever had a receipt holds.
test("kill -9: nothing confirmed is lost, nothing acknowledged comes back", { timeout: 120 }, async (t) => {
  const store = join(stateFolder(t), "madang.db");
  const confirmed = new Set();
  const acked = new Set();
  const seen = new Set();
  let sent = 0;
  for (let round = 0; round < 5; round++) {
    const target_ = await target(t, { store });
    const consumer = new Raw(target_.port);
    const producer = new Raw(target_.port);
    await consumer.connect();
    await producer.connect();
    consumer.send("SUBSCRIBE", { destination: "/queue/jobs", id: "c", ack: "client-individual", "prefetch-count": "20" });
    const consume = (async () => {
      for (let m; (m = await consumer.next(60)) !== null;) {
        if (m.command === "RECEIPT") acked.add(m.headers["receipt-id"]);
        if (m.command !== "MESSAGE") continue;
        assert.ok(!acked.has(m.body), `${m.body} was acknowledged and came back in round ${round}`);
        seen.add(m.body);
        if (Math.random() < 0.8) consumer.send("ACK", { id: m.headers.ack, receipt: m.body });
      }
    })();
    const confirm = (async () => {
      for (let m; (m = await producer.next(60)) !== null;) confirmed.add(m.headers["receipt-id"]);
    })();
    const until = Date.now() + 200 + Math.random() * 600;
    while (Date.now() < until) {
      for (let i = 0; i < 10; i++) {
        const name = `m${sent++}`;
        producer.send("SEND", { destination: "/queue/jobs", receipt: name }, name);
      }
      await sleep(1);
    }
    await target_.program.end("SIGKILL");
    await Promise.all([consume, confirm]);
    consumer.close();
    producer.close();
  }
  assert.ok(confirmed.size > 50, `only ${confirmed.size} were confirmed`);
  assert.ok(acked.size > 20, `only ${acked.size} were acknowledged`);
  const target_ = await target(t, { store });
  const last = new Raw(target_.port);
  t.after(() => last.close());
  await last.connect();
  last.send("SUBSCRIBE", { destination: "/queue/jobs", id: "c", receipt: "s" });
  for (;;) {
    const m = await last.next(2).catch(() => null);
    if (m === null) break;
    if (m.command !== "MESSAGE") continue;
    assert.ok(!acked.has(m.body), `${m.body} was acknowledged and came back`);
    seen.add(m.body);
  }
  const lost = [...confirmed].filter((name) => !seen.has(name));
  assert.deepEqual(lost, []);
});

// Movers take messages from one queue and put each into four others, which live on both workers, in
// one transaction. Wherever the server is killed, a message is in the first queue or in all of the
// others.
test("kill -9: a transaction over several queues is there as a whole or not at all", { once: true, timeout: 120 }, async (t) => {
  const store = join(stateFolder(t), "madang.db");
  const targets = ["a", "b", "c", "d"];
  const names = Array.from({ length: 3000 }, (_, i) => `m${i}`);
  const moved = new Set();
  const move = async (port) => {
    const raw = new Raw(port);
    await raw.connect();
    raw.send("SUBSCRIBE", { destination: "/queue/source", id: "s", ack: "client-individual", "prefetch-count": "20" });
    for (let m; (m = await raw.next(60)) !== null;) {
      if (m.command === "RECEIPT") moved.add(m.headers["receipt-id"]);
      if (m.command !== "MESSAGE") continue;
      const transaction = m.body;
      raw.send("BEGIN", { transaction });
      for (const queue of targets) raw.send("SEND", { destination: `/queue/${queue}`, transaction }, m.body);
      raw.send("ACK", { id: m.headers.ack, transaction });
      raw.send("COMMIT", { transaction, receipt: m.body });
    }
    raw.close();
  };
  const drain = async (port, queue) => {
    const raw = new Raw(port);
    t.after(() => raw.close());
    await raw.connect();
    raw.send("SUBSCRIBE", { destination: `/queue/${queue}`, id: "c" });
    const found = [];
    for (let m; (m = await raw.next(2).catch(() => null)) !== null;) if (m.command === "MESSAGE") found.push(m.body);
    return found.sort();
  };
  for (let round = 0; round < 8; round++) {
    const target_ = await target(t, { store, workers: 2 });
    if (round === 0) {
      const raw = new Raw(target_.port);
      await raw.connect();
      for (const name of names) raw.send("SEND", { destination: "/queue/source", receipt: name }, name);
      for (let i = 0; i < names.length; i++) assert.equal((await raw.next()).command, "RECEIPT");
      raw.close();
    }
    const movers = Array.from({ length: 4 }, () => move(target_.port));
    await sleep(30 + Math.random() * 150);
    await target_.program.end("SIGKILL");
    await Promise.all(movers);
  }
  const target_ = await target(t, { store, workers: 2 });
  const left = await drain(target_.port, "source");
  const [first, ...others] = await Promise.all(targets.map((queue) => drain(target_.port, queue)));
  for (const other of others) assert.deepEqual(other, first);
  assert.deepEqual([...left, ...first].sort(), [...names].sort());
  for (const name of moved) assert.ok(first.includes(name), `${name} had a receipt and is not there`);
  assert.ok(moved.size > 0, "no transaction had a receipt");
});
