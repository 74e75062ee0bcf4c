// Every carrier in one room: several publishers on several protocols, members that are cut off at random and come back
// with their token, a server that is killed. Each message reaches each member once, and in the order of the room. A run
// repeats its choices (not its timing) with SEED=number.

import assert from "node:assert/strict";
import net from "node:net";
import { join } from "node:path";
import { io } from "socket.io-client";
import { test, until, sleep } from "./lib/harness.mjs";
import { openV1 } from "./lib/clients.mjs";
import { everyCarrier, ROOM } from "./lib/members.mjs";
import { stateFolder } from "./lib/server.mjs";
import { Raw } from "./lib/stomp.mjs";

const EACH = 40; // messages of a publisher
const MEMBER_CUTS = 25;

/** mulberry32 */
function generator(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let x = Math.imul(a ^ (a >>> 15), a | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function poll(port, after) {
  const query = after ? `&after=${after}` : "&history=0";
  return (await fetch(`http://127.0.0.1:${port}/poll?room=${ROOM}${query}`)).json();
}

/** What the room's log has, page by page. */
async function readLog(port, after) {
  const texts = [];
  for (;;) {
    const page = await poll(port, after);
    assert.equal(page.recovered, true);
    if (page.messages.length === 0) return texts;
    texts.push(...page.messages.map((m) => m.text));
    after = page.cursor;
  }
}

// Each opens its connection and gives a function that publishes one text and returns once it is acknowledged.
const publishers = {
  http: async (_, port) => async (text) => {
    const answer = await fetch(`http://127.0.0.1:${port}/publish?room=${ROOM}`, { method: "POST", body: text, headers: { "Content-Type": "text/plain" } });
    assert.equal(answer.status, 200);
  },
  v1: async (t, port) => {
    const ws = await openV1(t, `ws://127.0.0.1:${port}/ws/chat`);
    await ws.join(ROOM);
    return (text) => ws.publish(ROOM, text);
  },
  sio: async (t, port) => {
    const socket = io(`http://127.0.0.1:${port}`, { forceNew: true, reconnection: false });
    t.after(() => socket.close());
    await new Promise((done, fail) => { socket.on("connect", done); socket.on("connect_error", fail); });
    await socket.timeout(5000).emitWithAck("join", { room: ROOM });
    return async (text) => assert.ok((await socket.timeout(5000).emitWithAck("publish", { room: ROOM, text })).seq);
  },
  stomp: async (t, port) => {
    const client = new Raw(port);
    t.after(() => client.close());
    assert.equal((await client.connectAsGuest())?.command, "CONNECTED");
    return async (text) => {
      client.send("SEND", { destination: `/topic/${ROOM}`, "content-type": "text/plain", receipt: text }, text);
      assert.equal((await client.next())?.headers["receipt-id"], text);
    };
  },
  // A typed line is not acknowledged: it is there when it comes back to who typed it.
  typed: async (t, port) => {
    const socket = net.connect(port, "127.0.0.1");
    t.after(() => socket.destroy());
    let heard = "";
    let over = false;
    socket.on("data", (data) => { heard += data; });
    socket.on("error", () => {});
    socket.on("close", () => { over = true; });
    return async (text) => {
      socket.write(`${text}\n`);
      await until("the line is back", () => over || heard.includes(`: ${text}\n`));
      assert.ok(!over);
    };
  },
};

/** Publishes all, however often the connection has to be made again; the texts that were acknowledged. */
async function publishAll(t, name, world, acked) {
  let publish = null;
  for (let n = 0; n < EACH; n++) {
    for (let attempt = 0; ; attempt++) {
      const text = `${name}.${n}.${attempt}`; // one that was not acknowledged may be there, too
      try {
        publish ??= await publishers[name](t, world.port);
        await publish(text);
        acked.push(text);
        break;
      } catch (error) {
        if (attempt > 200) throw error;
        publish = null;
        await sleep(100);
      }
    }
    await sleep(world.random() * world.pause);
  }
}

async function cutAtRandom(members, world) {
  for (let i = 0; i < MEMBER_CUTS; i++) {
    await sleep(50 + world.random() * 150);
    members[Math.floor(world.random() * members.length)].cut();
  }
}

async function everyoneTogether(t, { args = [], kills = 0 }) {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`  seed ${seed}`);
  const folder = stateFolder(t);
  const unix = join(folder, "madang.sock");
  const options = { args: [...args, ...(kills ? ["--store", join(folder, "rooms.db")] : [])], state: folder };
  let server = await t.server({ ...options, listen: ["127.0.0.1:0", `unix:${unix}`] });
  const world = { port: server.port, unix, kills, random: generator(seed), pause: kills ? 120 : 60 };
  [world.epoch, world.seq] = (await poll(world.port)).cursor.split(":");
  world.seq = Number(world.seq);
  const start = `${world.epoch}:${world.seq}`;

  const members = everyCarrier(t, world, { survivors: kills > 0 });
  await Promise.all(members.map((m) => m.start()));
  const acked = [];
  const work = [cutAtRandom(members, world), ...Object.keys(publishers).map((name) => publishAll(t, name, world, acked))];
  for (let i = 0; i < kills; i++) {
    await sleep(500 + world.random() * 1500);
    await server.kill();
    await sleep(world.random() * 300);
    server = await server.restart(t, { listen: [`127.0.0.1:${world.port}`, `unix:${unix}`] });
  }
  await Promise.all(work);

  const log = await readLog(world.port, start);
  assert.equal(new Set(log).size, log.length);
  for (const text of acked) assert.ok(log.includes(text), `${text} was acknowledged`);
  assert.equal(acked.length, EACH * Object.keys(publishers).length);
  for (const m of members) {
    await until(`${m.name} has everything: ${m.texts.length} of ${log.length}, session ${m.sessions}, ${m.inside ? "inside" : "outside"} ${m.via ?? ""}`, () => m.texts.length >= log.length || m.wrong.length > 0, 20);
    assert.deepEqual(m.wrong, [], m.name);
    assert.deepEqual(m.texts, log, m.name);
  }
}

test("every carrier in one room, cut off at random: each message once, in one order", { timeout: 120 }, (t) => everyoneTogether(t, {}));

test("the same with a store and a server that is killed twice", { timeout: 120 }, (t) => everyoneTogether(t, { kills: 2 }));
