// Members of one room, each on a carrier of its own with a published client or a real tool, which come back with their
// resume token however their connection ends. What they heard must be the room's order: nothing twice, nothing missing.

import { spawn } from "node:child_process";
import net from "node:net";
import { EventSource } from "eventsource";
import { io } from "socket.io-client";
import SockJS from "sockjs-client";
import WebSocket from "ws";
import { visitor } from "./browser.mjs";
import { until, sleep } from "./harness.mjs";
import { startProxy } from "./proxy.mjs";
import { Raw } from "./stomp.mjs";
import { UdpSession } from "./udp.mjs";

export const ROOM = "lobby";

/** Keeps the place in the room. Subclasses say how to come in from it (session) and how to be cut off (cut). */
class Member {
  constructor(t, name, world) {
    this.t = t;
    this.name = name;
    this.world = world; // { port, unix, epoch, seq, random, kills }
    this.epoch = world.epoch;
    this.seq = world.seq;
    this.texts = [];
    this.wrong = [];
    this.sessions = 0;
    this.inside = false;
    this.over = false;
    t.after(() => this.end());
  }

  async start() {
    this.proxy = await startProxy(this.t, this.world.port);
    this.running = this.#run();
    await this.isInside();
  }

  isInside() {
    return until(`${this.name} is in the room`, () => this.inside, 30);
  }

  /** One connection after the other; a session ends when its connection does. */
  async #run() {
    while (!this.over) {
      try {
        this.sessions += 1;
        await this.session();
      } catch (error) {
        if (!/fetch failed|terminated|aborted/.test(error.message)) this.wrong.push(error.stack);
      }
      this.inside = false;
      if (!this.over) await sleep(20 + 100 * this.world.random());
    }
  }

  get position() {
    return `${this.epoch}:${this.seq}`;
  }

  get resume() {
    return { epoch: this.epoch, seq: this.seq };
  }

  message(m) {
    this.take(m.text, m.epoch, m.seq);
  }

  take(text, epoch, seq) {
    if (epoch !== this.epoch) this.wrong.push(`epoch ${epoch} instead of ${this.epoch}`);
    if (Number(seq) !== this.seq + 1) this.wrong.push(`${seq} (${text}) after ${this.seq}, session ${this.sessions}`);
    this.seq = Number(seq);
    this.texts.push(text);
  }

  joined(answer) {
    if (answer.recovered !== true) this.wrong.push(`not recovered: ${JSON.stringify(answer)}`);
    this.inside = true;
  }

  /** A unit of madang.v1. */
  unit(u) {
    if (u.type === "message") this.message(u);
    else if (u.type === "joined") this.joined(u);
    else if (u.type === "gap" || u.type === "error") this.wrong.push(JSON.stringify(u));
  }

  cut() {
    this.proxy.cut();
  }

  stop() {}

  async end() {
    this.over = true;
    this.stop();
    await this.running;
  }
}

const joinUnit = (member) => ({ type: "join", room: ROOM, id: 1, resume: member.resume });

/** Lines of a stream of bytes, whatever the pieces. */
function eachLine(stream, take) {
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (data) => {
    const lines = (rest + data).split("\n");
    rest = lines.pop();
    for (const line of lines) take(line.replace(/\r$/, ""));
  });
}

class Process extends Member {
  run(command, args, line) {
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "ignore"] });
    this.child = child;
    child.stdin.on("error", () => {});
    eachLine(child.stdout, line);
    return new Promise((done) => { child.on("close", done); child.on("error", done); });
  }

  /** The tool is killed, or its connection breaks. */
  cut() {
    if (this.world.random() < 0.5) this.child?.kill("SIGKILL");
    else this.proxy.cut();
  }

  stop() {
    this.child?.kill("SIGKILL");
  }
}

/** nc, typed lines. They tell no seq: who counts them knows where he is. */
class Typed extends Process {
  get address() {
    return ["127.0.0.1", String(this.proxy.port)];
  }

  session() {
    let back = false;
    const ended = this.run("nc", this.address, (line) => {
      const said = /^\[lobby\] [^:]*: (.*)$/.exec(line);
      if (/^\* \[lobby\] you are in, .*; nothing is missing;/.test(line)) back = true;
      if (said && back) this.take(said[1], this.epoch, this.seq + 1); // before, it was only in the room of the welcome
      else if (line.startsWith("! ")) this.wrong.push(line);
      this.inside ||= back;
    });
    this.child.stdin.write(`/resume ${ROOM} ${this.position}\n`);
    // nc stays when the other side has ended, for as long as it has something to send; empty lines are not said.
    const pulse = setInterval(() => this.child.stdin.write("\n"), 250);
    return ended.finally(() => clearInterval(pulse));
  }
}

class TypedUnix extends Typed {
  get address() {
    return ["-U", this.world.unix];
  }

  cut() {
    this.child?.kill("SIGKILL");
  }
}

class JsonLines extends Member {
  session() {
    const socket = net.connect(this.proxy.port, "127.0.0.1");
    this.socket = socket;
    socket.write(`${JSON.stringify(joinUnit(this))}\n`);
    eachLine(socket, (line) => this.unit(JSON.parse(line)));
    return new Promise((done) => { socket.on("close", done); socket.on("error", done); });
  }

  stop() {
    this.socket?.destroy();
  }
}

/** Datagrams with acknowledgements. A server that was killed answers UNKNOWN: the session begins anew. */
class Datagrams extends Member {
  session() {
    this.udp = new UdpSession(this.world.port, {
      unit: (u) => this.unit(u),
      session: () => {
        this.sessions += 1;
        this.udp.send(joinUnit(this));
      },
    });
    return new Promise((done) => { this.done = done; });
  }

  cut() {
    if (this.world.random() < 0.5) this.udp.move();
    else this.udp.forget();
  }

  stop() {
    this.udp?.close();
    this.done?.();
  }
}

class Polls extends Member {
  constructor(t, name, world, wait) {
    super(t, name, world);
    this.wait = wait;
  }

  async session() {
    this.abort = new AbortController();
    const query = `room=${ROOM}&after=${this.position}${this.wait ? "&wait=20" : ""}`;
    const response = await fetch(`http://127.0.0.1:${this.proxy.port}/poll?${query}`, { signal: this.abort.signal });
    const answer = await response.json();
    this.joined(answer);
    for (const m of answer.messages) this.message(m);
    if (answer.cursor !== this.position) this.wrong.push(`cursor ${answer.cursor} at ${this.position}`);
  }

  isInside() {
    return until(`${this.name} has polled`, () => this.sessions > 0);
  }

  cut() {
    this.abort?.abort();
  }

  stop() {
    this.abort?.abort();
  }
}

class Streamed extends Process {
  session() {
    const url = `http://127.0.0.1:${this.proxy.port}/stream?room=${ROOM}&after=${this.position}`;
    return this.run("curl", ["-sN", url], (line) => { if (line) this.unit(JSON.parse(line)); });
  }
}

/** npm's eventsource, which reconnects by itself. */
class Events extends Member {
  session() {
    this.source = new EventSource(`http://127.0.0.1:${this.proxy.port}/sse?room=${ROOM}&after=${this.position}`);
    for (const type of ["message", "joined", "gap"])
      this.source.addEventListener(type, (event) => this.unit(JSON.parse(event.data)));
    this.source.onerror = () => { this.inside = false; };
    return new Promise((done) => { this.done = done; });
  }

  stop() {
    this.source?.close();
    this.done?.();
  }
}

/** Chromium's, which does so too. */
class Browser extends Member {
  async session() {
    const page = await visitor(this.t);
    await page.exposeFunction("heard", (text) => this.unit(JSON.parse(text)));
    await page.goto(`http://127.0.0.1:${this.proxy.port}/healthz`);
    await page.evaluate((url) => {
      const source = new EventSource(url);
      let last = Promise.resolve(); // one after the other, as they came
      for (const type of ["message", "joined", "gap"])
        source.addEventListener(type, (event) => { last = last.then(() => window.heard(event.data)); });
    }, `/sse?room=${ROOM}&after=${this.position}`);
    await new Promise((done) => { this.done = done; });
  }

  stop() {
    this.done?.();
  }
}

/** The bare chat has no token: it is never cut off. */
class Bare extends Member {
  session() {
    const socket = new WebSocket(`ws://127.0.0.1:${this.proxy.port}/ws/chat`);
    this.socket = socket;
    socket.on("message", (data) => {
      const text = data.toString();
      this.take(text.slice(text.indexOf(":") + 1), this.epoch, this.seq + 1);
    });
    socket.on("open", () => { this.inside = true; });
    return new Promise((done) => { socket.on("close", done); socket.on("error", done); });
  }

  cut() {}

  stop() {
    this.socket?.terminate();
  }
}

class Plain extends Bare {
  session() {
    const socket = new WebSocket(`ws://127.0.0.1:${this.proxy.port}/ws/chat`, "madang.v1");
    this.socket = socket;
    socket.on("open", () => socket.send(JSON.stringify(joinUnit(this))));
    socket.on("message", (data) => this.unit(JSON.parse(data)));
    return new Promise((done) => { socket.on("close", done); socket.on("error", done); });
  }

  cut() {
    this.proxy.cut();
  }
}

/** The published client recovers by itself; where the server says that it did not, the room is entered from the token. */
class SocketIo extends Member {
  session() {
    this.socket = io(`http://127.0.0.1:${this.proxy.port}`, { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200, timeout: 3000 });
    this.socket.on("connect", () => {
      this.sessions += 1;
      if (this.socket.recovered) this.inside = true;
      else this.socket.emit("join", { room: ROOM, resume: this.resume }, (answer) => this.joined(answer));
    });
    this.socket.on("disconnect", () => { this.inside = false; });
    this.socket.on("message", (m) => this.message(m));
    this.socket.on("gap", (g) => this.wrong.push(JSON.stringify(g)));
    return new Promise((done) => { this.done = done; });
  }

  stop() {
    this.socket?.close();
    this.done?.();
  }
}

class SockJs extends Member {
  session() {
    // In Node (not in a browser) sockjs-client never learns that a stream ended because its server did: no chunk of
    // length zero, no reset. So a server that will be killed is not given streams.
    const streams = this.world.kills ? [] : ["xhr-streaming", "eventsource"];
    const transports = ["websocket", "xhr-polling", ...streams];
    const one = transports[Math.floor(this.world.random() * transports.length)];
    this.via = one;
    this.socket = new SockJS(`http://127.0.0.1:${this.proxy.port}/sockjs`, null, { transports: one });
    this.socket.onopen = () => this.socket.send(JSON.stringify(joinUnit(this)));
    this.socket.onmessage = (event) => this.unit(JSON.parse(event.data));
    return new Promise((done) => { this.socket.onclose = done; });
  }

  stop() {
    this.socket?.close();
  }
}

class Stomp extends Member {
  async session() {
    const client = new Raw(this.proxy.port);
    this.client = client;
    await client.connectAsGuest();
    client.send("SUBSCRIBE", { id: "s", destination: `/topic/${ROOM}`, epoch: this.epoch, seq: this.seq, receipt: "in" });
    while (!this.over) {
      const frame = await client.next(3600);
      if (frame === null) return;
      if (frame.command === "MESSAGE" && !frame.headers["gap-from"]) this.take(frame.body, frame.headers.epoch, frame.headers.seq);
      else if (frame.command === "RECEIPT") this.inside = true;
      else this.wrong.push(JSON.stringify(frame));
    }
  }

  stop() {
    this.client?.close();
  }
}

/** One of each. survivors: only those that can come back to a server that was killed. */
export function everyCarrier(t, world, { survivors }) {
  const all = [
    new Typed(t, "nc", world), new TypedUnix(t, "nc -U", world), new JsonLines(t, "TCP, JSON lines", world),
    new Datagrams(t, "UDP", world), new Polls(t, "polls", world, false), new Polls(t, "long polls", world, true),
    new Streamed(t, "curl -N /stream", world), new Events(t, "eventsource", world), new Browser(t, "Chromium's EventSource", world),
    new Plain(t, "WebSocket, madang.v1", world), new SocketIo(t, "Socket.IO", world), new SockJs(t, "SockJS", world),
    new Stomp(t, "STOMP", world),
  ];
  return survivors ? all : [...all, new Bare(t, "WebSocket, bare", world)];
}
