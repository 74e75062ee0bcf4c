// Clients with a queue: what arrived is waited for one by one, in order.

import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import WebSocket from "ws";

const WAIT_S = 10;

class Queue {
  #items = [];
  #waiting = [];
  #ended = null;

  push(item) {
    const next = this.#waiting.shift();
    if (next) next.resolve(item);
    else this.#items.push(item);
  }

  end(error) {
    this.#ended = error;
    for (const next of this.#waiting.splice(0)) next.reject(error);
  }

  next(seconds = WAIT_S) {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      const waiter = { resolve, reject };
      const timer = setTimeout(() => {
        this.#waiting = this.#waiting.filter((w) => w !== waiter);
        reject(new Error(`nothing arrived within ${seconds} s`));
      }, seconds * 1000);
      waiter.resolve = (item) => { clearTimeout(timer); resolve(item); };
      waiter.reject = (error) => { clearTimeout(timer); reject(error); };
      this.#waiting.push(waiter);
    });
  }

  get pending() {
    return this.#items.length;
  }
}

/** A WebSocket (npm ws). next() gives { text } or { binary }; closed resolves to { code, reason }. */
export async function openWs(t, url, protocols = [], options = {}) {
  const socket = new WebSocket(url, protocols, options);
  const queue = new Queue();
  socket.on("message", (data, binary) => queue.push(binary ? { binary: data } : { text: data.toString() }));
  const closed = new Promise((done) => {
    socket.on("close", (code, reason) => {
      queue.end(new Error(`closed with ${code} ${reason}`));
      done({ code, reason: reason.toString() });
    });
  });
  t.after(() => socket.terminate());
  await new Promise((resolve, reject) => {
    socket.on("open", resolve);
    socket.on("unexpected-response", (_, response) => {
      response.resume();
      reject(Object.assign(new Error(`status ${response.statusCode}`), { status: response.statusCode, headers: response.headers }));
    });
    socket.on("error", reject);
  });
  return {
    socket,
    closed,
    send: (data) => socket.send(data),
    next: (seconds) => queue.next(seconds),
    text: async (seconds) => (await queue.next(seconds)).text,
    close: (code, reason) => socket.close(code, reason),
  };
}

/** The status that an upgrade is refused with, or 101. */
export async function upgradeStatus(t, url, protocols, options) {
  try {
    await openWs(t, url, protocols, options);
    return 101;
  } catch (error) {
    if (error.status) return error.status;
    throw error;
  }
}

/** A client of madang.v1. want(type, ...) skips units of other types until one matches. */
export async function openV1(t, url, options = {}) {
  const ws = await openWs(t, url, ["madang.v1"], options);
  let id = 0;
  const client = {
    ...ws,
    say: (object) => ws.send(JSON.stringify(object)),
    next: async (seconds) => JSON.parse(await ws.text(seconds)),
    async want(type, match = {}, seconds = WAIT_S) {
      for (;;) {
        const unit = await client.next(seconds);
        if (unit.type !== type && unit.type !== "error") continue;
        const fits = unit.type === type && Object.entries(match).every(([k, v]) => JSON.stringify(unit[k]) === JSON.stringify(v));
        if (fits) return unit;
        if (unit.type === "error" && type !== "error") throw new Error(`refused: ${JSON.stringify(unit)}`);
      }
    },
    async join(room, more = {}) {
      id += 1;
      client.say({ type: "join", room, id, ...more });
      return client.want("joined", { id });
    },
    async publish(room, text) {
      id += 1;
      client.say({ type: "publish", room, id, text });
      return client.want("ack", { id });
    },
  };
  client.welcome = await client.want("welcome");
  return client;
}

/** Signs a name in and returns the headers that carry the session. */
export async function signIn(server, name) {
  const response = await fetch(`${server.url}/chat/login`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Origin: server.url },
    body: JSON.stringify({ name }),
  });
  if (response.status !== 200) throw Object.assign(new Error(`login: ${response.status}`), { status: response.status, body: await response.text() });
  const cookie = response.headers.getSetCookie()[0].split(";")[0];
  return { Cookie: cookie, Origin: server.url };
}

/** A token as an application with the server's key would sign it. */
export function signToken(server, claims) {
  const key = Buffer.from(readFileSync(join(server.state, "token.key"), "latin1").trim(), "hex");
  const part = (object) => Buffer.from(JSON.stringify(object)).toString("base64url");
  const text = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${text}.${createHmac("sha256", key).update(text).digest("base64url")}`;
}

/** A bare TCP connection: write bytes, read what came so far, wait for its end. */
export function openTcp(t, port, host = "127.0.0.1") {
  const socket = net.connect(port, host);
  const state = { socket, received: Buffer.alloc(0), ended: false };
  socket.on("data", (data) => { state.received = Buffer.concat([state.received, data]); });
  socket.on("error", () => {});
  state.closed = new Promise((done) => socket.on("close", () => { state.ended = true; done(); }));
  t.after(() => socket.destroy());
  return new Promise((resolve, reject) => {
    socket.once("connect", () => resolve(state));
    socket.once("error", reject);
  });
}

export const UPGRADE = (path = "/ws/chat", extra = "") =>
  `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n`
  + `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n${extra}\r\n`;
