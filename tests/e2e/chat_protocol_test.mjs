// The chat endpoint without the page: bare text clients, and madang.v1 as doc/protocols.md has it.

import assert from "node:assert/strict";
import { test, until } from "./lib/harness.mjs";
import { openTcp, openV1, openWs, signIn, signToken, upgradeStatus } from "./lib/clients.mjs";
import { startProxy } from "./lib/proxy.mjs";

const nameOf = (line) => line.slice(0, line.indexOf(":"));

test("a bare client's text reaches everyone in the room, the sender included", async (t) => {
  const server = await t.server();
  const ann = await openWs(t, server.ws, [], { headers: await signIn(server, "ann") });
  const guest = await openWs(t, server.ws);
  await until("both are in the room", async () => {
    ann.send("are you there?");
    return guest.text(1).then(() => true, () => false);
  });
  ann.send("at 12:30: now");
  for (const client of [ann, guest]) {
    let line = await client.text();
    while (line === "ann:are you there?") line = await client.text();
    assert.equal(line, "ann:at 12:30: now");
  }
  guest.send("hello");
  const line = await ann.text();
  assert.match(line, /^[^:]+:hello$/);
  assert.notEqual(nameOf(line), "ann");
  assert.equal(await guest.text(), line);
});

test("an upgrade on /chat and on / is the same room, with the sub-protocol chat too", async (t) => {
  const server = await t.server();
  const base = server.url.replace("http", "ws");
  const one = await openWs(t, `${base}/chat`, ["chat", "superchat"]);
  const two = await openWs(t, `${base}/`);
  assert.equal(one.socket.protocol, "chat");
  await until("both are in the room", async () => {
    one.send("x");
    return two.text(1).then(() => true, () => false);
  });
});

test("another origin is refused unless it is listed", async (t) => {
  const server = await t.server();
  const origin = (value) => ({ headers: { Origin: value } });
  assert.equal(await upgradeStatus(t, server.ws, [], origin("https://evil.example")), 403);
  assert.equal(await upgradeStatus(t, server.ws, [], origin(server.url)), 101);
  const open = await t.server({ args: ["--allowed-origins", "https://good.example"] });
  assert.equal(await upgradeStatus(t, open.ws, [], origin("https://good.example")), 101);
  assert.equal(await upgradeStatus(t, open.ws, [], origin("https://evil.example")), 403);
  const all = await t.server({ args: ["--allowed-origins", "*"] });
  assert.equal(await upgradeStatus(t, all.ws, [], origin("https://any.example")), 101);
});

test("signing in: names are checked, unique while in use, and the session is a signed cookie", async (t) => {
  const server = await t.server();
  const headers = await signIn(server, "ann");
  const me = await fetch(`${server.url}/chat/me`, { headers });
  assert.equal(me.status, 200);
  assert.deepEqual((await me.json()).name, "ann");
  assert.equal((await fetch(`${server.url}/chat/me`)).status, 401);
  const forged = { Cookie: headers.Cookie.slice(0, -3) + (headers.Cookie.endsWith("AAA") ? "BBB" : "AAA") };
  assert.equal((await fetch(`${server.url}/chat/me`, { headers: forged })).status, 401);
  for (const bad of ["", " ", "a:b", "x".repeat(200), "a\u0000b", "a\nb"]) {
    await assert.rejects(signIn(server, bad), { status: 400 }, JSON.stringify(bad));
  }
  const client = await openV1(t, server.ws, { headers });
  assert.equal(client.welcome.user.name, "ann");
  await assert.rejects(signIn(server, "ann"), { status: 409 });
  const foreign = await fetch(`${server.url}/chat/login`, {
    method: "POST", headers: { "Content-Type": "application/json", Origin: "https://evil.example" }, body: '{"name":"eve"}',
  });
  assert.equal(foreign.status, 403);
});

test("a guest's name is free again when he has gone", async (t) => {
  const server = await t.server();
  const take = async () => {
    const guest = await openTcp(t, server.port);
    guest.socket.write("/nick ann\n");
    await until("an answer", () => /you are ann|name_taken/.test(guest.received));
    return { guest, taken: !guest.received.includes("you are ann") };
  };
  const first = await take();
  assert.equal(first.taken, false);
  assert.equal((await take()).taken, true);
  first.guest.socket.destroy();
  await until("the name is free", async () => !(await take()).taken);
});

test("who shows a token for a name takes it from whoever only chose it", async (t) => {
  const server = await t.server();
  const Authorization = `Bearer ${signToken(server, { sub: "ann" })}`;
  const guest = await openTcp(t, server.port);
  guest.socket.write("/nick Ann\n");
  await until("the guest has the name", () => guest.received.includes("you are Ann"));
  const first = await openV1(t, server.ws, { headers: { Authorization } });
  assert.deepEqual(first.welcome.user, { name: "ann", guest: false });
  await guest.closed;
  assert.match(guest.received.toString(), /! name_taken: somebody has proved/);
  const second = await openV1(t, server.ws, { headers: { Authorization: `Bearer ${signToken(server, { sub: "ann", jti: "00000000000000ff" })}` } });
  assert.equal(second.welcome.user.name, "ann");
  await assert.rejects(signIn(server, "ann"), { status: 409 });

  const page = await openV1(t, server.ws, { headers: await signIn(server, "ben") });
  await openV1(t, server.ws, { headers: { Authorization: `Bearer ${signToken(server, { sub: "ben" })}` } });
  assert.equal((await page.want("error")).code, "name_taken");
  assert.equal((await page.closed).code, 4009);
  await first.join("lobby"); // the others are still there
  await second.join("lobby");
});

test("a token ends on the live connection when it expires, unless another one comes in time", async (t) => {
  const server = await t.server();
  const now = Math.floor(Date.now() / 1000);
  const bearer = (claims) => ({ headers: { Authorization: `Bearer ${signToken(server, claims)}` } });
  assert.equal(await upgradeStatus(t, server.ws, [], bearer({ sub: "ann", exp: now - 1 })), 401);
  assert.equal(await upgradeStatus(t, server.ws, [], bearer({ sub: "ann", nbf: now + 60 })), 401);
  const soon = { sub: "ann", exp: now + 3 };
  const left = await openV1(t, server.ws, bearer(soon));
  const stays = await openV1(t, `${server.ws}?token=${signToken(server, soon)}`);
  const readOnly = await openV1(t, server.ws, bearer({ sub: "rea", publish: false }));
  stays.say({ type: "refresh", id: 1, token: signToken(server, { sub: "ben", exp: now + 60 }) });
  assert.equal((await stays.want("error", { id: 1 })).code, "forbidden");
  stays.say({ type: "refresh", id: 2, token: signToken(server, { sub: "ann", exp: now + 60 }) });
  assert.equal((await stays.want("refreshed", { id: 2 })).expires, (now + 60) * 1000);
  assert.equal((await left.want("error")).code, "expired");
  assert.equal((await left.closed).code, 4001);
  await stays.join("lobby");
  await stays.publish("lobby", "still here");
  await readOnly.join("lobby", { history: 1 });
  readOnly.say({ type: "publish", room: "lobby", id: 3, text: "may I?" });
  assert.equal((await readOnly.want("error", { id: 3 })).code, "forbidden");
});

test("the session survives a restart of the server", async (t) => {
  const server = await t.server();
  const headers = await signIn(server, "ann");
  await server.stop();
  const again = await server.restart(t);
  const me = await fetch(`${again.url}/chat/me`, { headers });
  assert.equal(me.status, 200);
});

test("madang.v1: join, publish, acknowledge, in one order for everyone", async (t) => {
  const server = await t.server();
  const ann = await openV1(t, server.ws, { headers: await signIn(server, "ann") });
  const ben = await openV1(t, server.ws, { headers: await signIn(server, "ben") });
  const joined = await ann.join("lobby");
  await ben.join("lobby");
  assert.match(joined.epoch, /^[0-9a-f]{16}$/);
  const count = 50;
  for (let i = 0; i < count; i++) {
    ann.say({ type: "publish", room: "lobby", id: `a${i}`, text: `a${i}` });
    ben.say({ type: "publish", room: "lobby", id: `b${i}`, text: `b${i}` });
  }
  const seen = async (client) => {
    const messages = [];
    while (messages.length < 2 * count) messages.push(await client.want("message"));
    return messages;
  };
  const [atAnn, atBen] = await Promise.all([seen(ann), seen(ben)]);
  assert.deepEqual(atAnn.map((m) => [m.seq, m.text]), atBen.map((m) => [m.seq, m.text]));
  const start = atAnn[0].seq;
  assert.deepEqual(atAnn.map((m) => m.seq), atAnn.map((_, i) => start + i));
  const own = atAnn.filter((m) => m.from.name === "ann").map((m) => m.text);
  assert.deepEqual(own, Array.from({ length: count }, (_, i) => `a${i}`));
});

test("madang.v1: data, base64 and event arrive as they were sent", async (t) => {
  const server = await t.server();
  const ann = await openV1(t, server.ws);
  await ann.join("lobby");
  ann.say({ type: "publish", room: "lobby", id: 1, data: { a: [1, "둘", null] }, event: "move" });
  ann.say({ type: "publish", room: "lobby", id: 2, key: "k2", base64: "AAECAwT/" });
  const first = await ann.want("message");
  assert.deepEqual([first.data, first.event], [{ a: [1, "둘", null] }, "move"]);
  const second = await ann.want("message");
  assert.deepEqual([second.base64, second.key], ["AAECAwT/", "k2"]);
});

test("madang.v1: history on entry and further back", async (t) => {
  const server = await t.server();
  const ann = await openV1(t, server.ws);
  await ann.join("lobby");
  const acks = [];
  for (let i = 1; i <= 10; i++) acks.push(await ann.publish("lobby", `m${i}`));
  const ben = await openV1(t, server.ws);
  const joined = await ben.join("lobby", { history: 3 });
  assert.equal(joined.seq, acks.at(-1).seq);
  const got = [];
  while (got.length < 3) got.push(await ben.want("message"));
  assert.deepEqual(got.map((m) => m.text), ["m8", "m9", "m10"]);
  ben.say({ type: "history", room: "lobby", id: "h", before: got[0].seq, limit: 4 });
  const answer = await ben.want("history", { id: "h" });
  assert.deepEqual(answer.messages.map((m) => m.text), ["m4", "m5", "m6", "m7"]);
  assert.equal(answer.more, true);
});

test("madang.v1: resume brings what was missed, once", async (t) => {
  const server = await t.server();
  const proxy = await startProxy(t, server.port);
  const ann = await openV1(t, server.ws, { headers: await signIn(server, "ann") });
  await ann.join("lobby");
  const ben = await openV1(t, `ws://127.0.0.1:${proxy.port}/ws/chat`);
  const first = await ben.join("lobby");
  await ann.publish("lobby", "seen");
  const seen = await ben.want("message");
  proxy.cut();
  await ben.closed;
  await ann.publish("lobby", "missed 1");
  await ann.publish("lobby", "missed 2");
  const back = await openV1(t, server.ws);
  const joined = await back.join("lobby", { resume: { epoch: first.epoch, seq: seen.seq } });
  assert.equal(joined.recovered, true);
  assert.equal((await back.want("message")).text, "missed 1");
  assert.equal((await back.want("message")).text, "missed 2");
  await ann.publish("lobby", "after");
  assert.equal((await back.want("message")).text, "after");
});

test("madang.v1: what the log no longer has is said, not hidden", async (t) => {
  const server = await t.server({ args: ["--room-log-count-max", "5"] });
  const ann = await openV1(t, server.ws);
  const joined = await ann.join("lobby");
  for (let i = 1; i <= 20; i++) await ann.publish("lobby", `m${i}`);
  const ben = await openV1(t, server.ws);
  const answer = await ben.join("lobby", { resume: { epoch: joined.epoch, seq: joined.seq + 2 }, history: 50 });
  assert.equal(answer.recovered, false);
  const first = await ben.want("message");
  assert.ok(answer.missing, "the range that is missing is named");
  assert.equal(answer.missing[0], joined.seq + 3);
  assert.equal(answer.missing[1], first.seq - 1);
  const stranger = await openV1(t, server.ws);
  const other = await stranger.join("lobby", { resume: { epoch: "0123456789abcdef", seq: 3 } });
  assert.equal(other.recovered, false);
});

test("madang.v1: presence counts users, not connections", async (t) => {
  const server = await t.server();
  const watch = await openV1(t, server.ws, { headers: await signIn(server, "watch") });
  await watch.join("lobby");
  const headers = await signIn(server, "ann");
  const one = await openV1(t, server.ws, { headers });
  await one.join("lobby");
  // Ours may be told together with hers: joins that are close in time share an event.
  const names = [];
  let count = 0;
  while (!names.includes("ann")) {
    const came = await watch.want("presence");
    names.push(...came.joined.map((u) => u.name));
    count = came.count;
  }
  assert.equal(count, 2);
  const two = await openV1(t, server.ws, { headers });
  const joined = await two.join("lobby");
  assert.equal(joined.count, 2);
  assert.deepEqual(joined.users.map((u) => u.name).sort(), ["ann", "watch"]);
  one.close();
  await one.closed;
  two.say({ type: "presence", room: "lobby", id: "p" });
  assert.equal((await two.want("presence", { id: "p" })).count, 2);
  two.close();
  const left = await watch.want("presence");
  assert.deepEqual(left.left.map((u) => u.name), ["ann"]);
  assert.equal(left.count, 1);
});

test("madang.v1: mistakes are answered with a code, and the connection lives on", async (t) => {
  const server = await t.server();
  const ann = await openV1(t, server.ws);
  await ann.join("lobby");
  const refused = async (unit, code) => {
    ann.send(typeof unit === "string" ? unit : JSON.stringify(unit));
    const answer = await ann.want("error");
    assert.equal(answer.code, code, JSON.stringify(unit));
    return answer;
  };
  await refused("{", "bad_json");
  await refused("[]", "bad_request");
  await refused({ type: "dance", id: 9 }, "unknown_type");
  assert.equal((await refused({ type: "publish", room: "elsewhere", text: "x", id: 10 }, "not_joined")).id, 10);
  await refused({ type: "join", room: "", id: 11 }, "room_invalid");
  await refused({ type: "publish", room: "lobby", id: 12 }, "bad_request");
  await refused({ type: "join", id: 13 }, "room_invalid");
  ann.say({ type: "ping", id: 14 });
  await ann.want("pong", { id: 14 });
});

test("rooms are listed with how many are in them, and leaving is answered", async (t) => {
  const server = await t.server();
  const ann = await openV1(t, server.ws);
  await ann.join("lobby");
  await ann.join("garden");
  const listed = async () => {
    ann.say({ type: "rooms", id: "r" });
    return (await ann.want("rooms", { id: "r" })).rooms.map((r) => `${r.room}:${r.count}`).sort();
  };
  assert.deepEqual(await listed(), ["garden:1", "lobby:1"]);
  ann.say({ type: "leave", room: "garden", id: "l" });
  await ann.want("left", { id: "l" });
  await until("the garden is empty", async () => (await listed()).every((r) => r !== "garden:1"));
});
