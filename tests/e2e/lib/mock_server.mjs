#!/usr/bin/env node
// A stand-in for the server that speaks just enough of madang.v1 (doc/protocols.md) to look at the
// page while working on it: node tests/e2e/lib/mock_server.mjs [PORT]. The end-to-end tests run
// against the real server.

import { createServer } from "node:http";
import { createReadStream, existsSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { WebSocketServer } from "ws";

const PAGE = fileURLToPath(new URL("../../../build/ui/", import.meta.url));
const TYPES = { js: "text/javascript", css: "text/css", svg: "image/svg+xml", html: "text/html" };
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
  + "base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

class Room {
  constructor() {
    this.epoch = randomBytes(8).toString("hex");
    this.log = [];
    this.members = new Set();
  }

  users() {
    const names = new Map([...this.members].map((m) => [m.user.name, m.user]));
    return [...names.values()];
  }
}

export class MockServer {
  constructor() {
    this.rooms = new Map();
    this.http = createServer((request, response) => this.#request(request, response));
    this.sockets = new WebSocketServer({ noServer: true, handleProtocols: () => "madang.v1" });
    this.http.on("upgrade", (request, socket, head) => {
      this.sockets.handleUpgrade(request, socket, head, (ws) => this.#peer(ws, nameOf(request)));
    });
  }

  listen(port) {
    return new Promise((done) => this.http.listen(port, "127.0.0.1", () => done(this.http.address().port)));
  }

  close() {
    for (const ws of this.sockets.clients) ws.terminate();
    this.http.closeAllConnections();
    return new Promise((done) => this.http.close(done));
  }

  async #request(request, response) {
    const { pathname } = new URL(request.url, "http://x");
    if (pathname === "/chat/me") {
      const name = nameOf(request);
      return name ? json(response, 200, { name, guest: false }) : json(response, 401, {});
    }
    if (pathname === "/chat/login") {
      let body = "";
      for await (const chunk of request) body += chunk;
      const { name } = JSON.parse(body);
      if (name.includes(":")) return json(response, 400, { code: "name_invalid" });
      const used = [...this.rooms.values()].some((r) => r.users().some((u) => u.name === name));
      if (used) return json(response, 409, { code: "name_taken" });
      response.setHeader("Set-Cookie", `name=${encodeURIComponent(name)}; HttpOnly; SameSite=Lax; Path=/`);
      return json(response, 200, { name });
    }
    if (pathname === "/chat/logout") {
      response.setHeader("Set-Cookie", "name=; Max-Age=0; Path=/");
      return response.writeHead(204).end();
    }
    const file = join(PAGE, pathname === "/chat" ? "index.html" : pathname);
    if (pathname.includes("..") || !existsSync(file)) return response.writeHead(404).end();
    response.writeHead(200, { "Content-Type": TYPES[file.split(".").at(-1)], "Content-Security-Policy": CSP });
    return createReadStream(file).pipe(response);
  }

  room(name) {
    if (!this.rooms.has(name)) this.rooms.set(name, new Room());
    return this.rooms.get(name);
  }

  publish(name, from, text, time = Date.now(), key = undefined) {
    const room = this.room(name);
    const message = { type: "message", room: name, epoch: room.epoch, seq: room.log.length + 1, key, from, time, text };
    room.log.push(message);
    for (const member of room.members) member.say(message);
    return message;
  }

  #peer(ws, name) {
    const user = { name: name ?? `guest-${randomBytes(2).toString("hex")}`, guest: !name };
    const peer = { user, rooms: new Set(), say: (o) => ws.readyState === 1 && ws.send(JSON.stringify(o)) };
    peer.say({ type: "welcome", user, session: randomBytes(4).toString("hex"), max_message_bytes: 65536 });
    ws.on("message", (data) => this.#unit(peer, JSON.parse(data)));
    ws.on("close", () => {
      for (const room of peer.rooms) this.#leave(peer, room);
    });
  }

  #leave(peer, name) {
    const room = this.room(name);
    room.members.delete(peer);
    peer.rooms.delete(name);
    if (room.users().some((u) => u.name === peer.user.name)) return;
    this.#presence(name, [], [peer.user]);
  }

  #presence(name, joined, left) {
    const room = this.room(name);
    for (const m of room.members) m.say({ type: "presence", room: name, count: room.users().length, joined, left });
  }

  #unit(peer, unit) {
    const { id } = unit;
    if (unit.type === "ping") return peer.say({ type: "pong", id });
    if (unit.type === "rooms") {
      const rooms = [...this.rooms].map(([room, r]) => ({ room, count: r.users().length }));
      return peer.say({ type: "rooms", id, rooms: rooms.filter((r) => r.count > 0) });
    }
    if (/[\s:]/.test(unit.room)) return peer.say({ type: "error", id, code: "room_invalid" });
    const room = this.room(unit.room);
    if (unit.type === "join") return this.#join(peer, unit, room);
    if (unit.type === "leave") return this.#leave(peer, unit.room);
    if (unit.type === "publish") {
      const m = this.publish(unit.room, peer.user, unit.text, Date.now(), unit.key);
      return peer.say({ type: "ack", id, room: unit.room, epoch: m.epoch, seq: m.seq });
    }
    if (unit.type === "history") {
      const older = room.log.filter((m) => m.seq < unit.before);
      const messages = older.slice(-unit.limit);
      return peer.say({ type: "history", room: unit.room, id, messages, more: older.length > messages.length });
    }
    return peer.say({ type: "error", id, code: "unknown_type" });
  }

  #join(peer, unit, room) {
    const fresh = !room.users().some((u) => u.name === peer.user.name);
    room.members.add(peer);
    peer.rooms.add(unit.room);
    const { resume, id, room: name } = unit;
    const recovered = resume ? resume.epoch === room.epoch : undefined;
    const seq = room.log.length;
    const answer = { type: "joined", room: name, id, epoch: room.epoch, seq, count: room.users().length, users: room.users() };
    if (resume) answer.recovered = recovered;
    peer.say(answer);
    const log = recovered ? room.log.filter((m) => m.seq > resume.seq) : room.log.slice(-(unit.history ?? 0) || room.log.length);
    for (const message of log) peer.say(message);
    if (fresh) {
      for (const m of room.members) {
        if (m !== peer) m.say({ type: "presence", room: name, count: answer.count, joined: [peer.user], left: [] });
      }
    }
  }
}

function nameOf(request) {
  const match = /(?:^|; )name=([^;]+)/.exec(request.headers.cookie ?? "");
  return match ? decodeURIComponent(match[1]) : null;
}

function json(response, status, body) {
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = new MockServer();
  // As the real one is called by lib/server.mjs, or with just a port.
  const at = process.argv.indexOf("--listen");
  const port = at > 0 ? process.argv[at + 1].split(":").at(-1) : process.argv[2] ?? "0";
  console.log(`http://127.0.0.1:${await server.listen(Number(port))}/chat`);
  process.on("SIGTERM", () => process.exit(0));
}
