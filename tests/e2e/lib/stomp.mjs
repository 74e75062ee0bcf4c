// STOMP for the tests: the target, a client on a bare socket, and the published one with promises.

import { Client } from "@stomp/stompjs";
import { existsSync } from "node:fs";
import net from "node:net";
import { dirname, join } from "node:path";
import WebSocket from "ws";
import { BINARY, Program } from "./server.mjs";
import { until } from "./harness.mjs";

/** Starts tests/targets/target_stomp on free ports (or options.port). */
export async function startTarget(t, options = {}) {
  const path = join(dirname(BINARY), "tests/targets/target_stomp");
  if (!existsSync(path)) throw new Error(`${path} is missing: make build`);
  const args = ["--port", String(options.port ?? 0), "--ws-port", String(options.wsPort ?? 0), "--workers", String(options.workers ?? 1)];
  if (options.store) args.push("--store", options.store);
  args.push("--state_dir", options.state, ...(options.args ?? []));
  const program = new Program(path, args);
  t.after(async () => {
    const { code, signal } = await program.end();
    if (code !== 0 && signal !== "SIGKILL") throw new Error(`target_stomp ended with ${code ?? signal}\n${program.output}`);
  });
  const ports = await until("the ports are printed", () => {
    if (!program.running) throw new Error(program.output);
    return /tcp \S+:(\d+)\nws \S+:(\d+)/.exec(program.output);
  });
  return { program, port: Number(ports[1]), wsPort: Number(ports[2]) };
}

/** One connection on TCP; frames come from next(), which skips heart-beats. */
export class Raw {
  constructor(port) {
    this.bytes = Buffer.alloc(0);
    this.frames = [];
    this.wake = () => {};
    this.over = false;
    this.socket = net.connect(port, "127.0.0.1");
    this.socket.on("data", (data) => { this.bytes = Buffer.concat([this.bytes, data]); this.#parse(); });
    this.socket.on("close", () => { this.over = true; this.wake(); });
    this.socket.on("error", () => {});
  }

  #parse() {
    for (;;) {
      let at = 0;
      while (this.bytes[at] === 10) at++;
      const head = this.bytes.indexOf("\n\n", at);
      if (head < 0) break;
      const [command, ...lines] = this.bytes.subarray(at, head).toString().split("\n");
      const headers = {};
      for (const line of lines) {
        const colon = line.indexOf(":");
        headers[line.slice(0, colon)] ??= line.slice(colon + 1);
      }
      const start = head + 2;
      const length = headers["content-length"] === undefined ? this.bytes.indexOf(0, start) - start : Number(headers["content-length"]);
      if (length < 0 || this.bytes.length <= start + length) break;
      this.frames.push({ command, headers, body: this.bytes.subarray(start, start + length).toString() });
      this.bytes = this.bytes.subarray(start + length + 1);
    }
    this.wake();
  }

  send(command, headers = {}, body = "") {
    const lines = Object.entries(headers).map(([k, v]) => `${k}:${v}\n`).join("");
    this.socket.write(`${command}\n${lines}\n${body}\0`);
  }

  /** The next frame; null when the connection is over. */
  async next(seconds = 10) {
    const end = Date.now() + seconds * 1000;
    while (this.frames.length === 0) {
      if (this.over) return null;
      if (Date.now() > end) throw new Error(`no frame within ${seconds} s`);
      await new Promise((done) => { const timer = setTimeout(done, 100); this.wake = () => { clearTimeout(timer); done(); }; });
    }
    return this.frames.shift();
  }

  async connect(version = "1.2", headers = {}) {
    this.send("CONNECT", { "accept-version": version, host: "/", login: "guest", passcode: "guest", ...headers });
    return this.next();
  }

  /** Without a login: a guest of `madang serve`. */
  connectAsGuest() {
    this.send("CONNECT", { "accept-version": "1.2", host: "/" });
    return this.next();
  }

  close() {
    this.socket.destroy();
  }
}

/** A published client that is connected. */
export async function connectJs(t, options) {
  const client = new Client({
    connectHeaders: { login: "guest", passcode: "guest" },
    reconnectDelay: 0,
    heartbeatIncoming: 0,
    heartbeatOutgoing: 0,
    ...options,
    webSocketFactory: options.webSocketFactory ?? (() => new WebSocket(options.url, options.protocols ?? ["v12.stomp", "v11.stomp", "v10.stomp"])),
  });
  delete client.url;
  t.after(() => client.deactivate({ force: true }));
  await new Promise((resolve, reject) => {
    client.onConnect = resolve;
    client.onStompError = (frame) => reject(Object.assign(new Error(frame.headers.message), { frame }));
    client.onWebSocketError = (event) => reject(new Error(event.message ?? "websocket error"));
    client.activate();
  });
  return client;
}

/** What a subscription received, one after the other. */
export function subscribeJs(client, destination, headers = {}) {
  const messages = [];
  let wake = () => {};
  const subscription = client.subscribe(destination, (m) => { messages.push(m); wake(); }, headers);
  return {
    subscription,
    messages,
    async next(seconds = 10) {
      const end = Date.now() + seconds * 1000;
      while (messages.length === 0) {
        if (Date.now() > end) throw new Error(`no message within ${seconds} s`);
        await new Promise((done) => { const timer = setTimeout(done, 100); wake = () => { clearTimeout(timer); done(); }; });
      }
      return messages.shift();
    },
  };
}

/** Resolves when the receipt for what `act(headers)` sends has come. */
export function receipt(client, act) {
  return new Promise((done) => {
    const id = `r-${Math.random()}`;
    client.watchForReceipt(id, done);
    act({ receipt: id });
  });
}
