// What the SockJS tests share: the target with its services, and an HTTP client that shows the
// chunks of a response as they come, which fetch hides.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import net from "node:net";
import { fileURLToPath } from "node:url";
import { Skip } from "./harness.mjs";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const FOLDERS = ["build", "build-dev"];

function targetPath() {
  if (process.env.SOCKJS_TARGET) return process.env.SOCKJS_TARGET;
  const path = FOLDERS.map((f) => `${ROOT}${f}/tests/targets/target_sockjs`).find(existsSync);
  if (!path) throw new Skip("there is no target_sockjs in build or build-dev");
  return path;
}

/** Starts tests/targets/target_sockjs on a free port. */
export async function startTarget(t, args = []) {
  const child = spawn(targetPath(), ["--port", "0", "--workers", String(t.workers), ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((done) => child.once("exit", done));
  t.after(async () => {
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 8000);
    await ended;
    clearTimeout(late);
  });
  let text = "";
  const port = await new Promise((done, fail) => {
    child.stdout.on("data", (data) => {
      text += data;
      const found = /listening on \S*?(\d+)\n/.exec(text);
      if (found) done(Number(found[1]));
    });
    child.once("exit", (code) => fail(new Error(`the target ended with ${code}`)));
  });
  return { port, url: `http://127.0.0.1:${port}` };
}

/** One connection: requests in turn, responses read as far as the test wants. */
export class Connection {
  #bytes = Buffer.alloc(0);
  #wake = () => {};

  constructor(port) {
    this.ended = false;
    this.socket = net.connect(port, "127.0.0.1");
    this.socket.on("data", (data) => {
      this.#bytes = Buffer.concat([this.#bytes, data]);
      this.#wake();
    });
    const end = () => {
      this.ended = true;
      this.#wake();
    };
    this.socket.on("close", end);
    this.socket.on("end", end);
    this.socket.on("error", end);
  }

  close() {
    this.socket.destroy();
  }

  /** Waits until find(bytes) says how many bytes to take; null at the end of the connection. */
  async #take(find) {
    for (;;) {
      const n = find(this.#bytes);
      if (n >= 0) {
        const taken = this.#bytes.subarray(0, n);
        this.#bytes = this.#bytes.subarray(n);
        return taken;
      }
      if (this.ended) return null;
      await new Promise((done) => (this.#wake = done));
    }
  }

  bytes(n) {
    return this.#take((b) => (b.length >= n ? n : -1)).then((b) => b?.toString());
  }

  async isClosed() {
    return (await this.#take(() => -1)) === null && this.#bytes.length === 0;
  }

  send(method, path, { headers = {}, body = "", version = "1.1" } = {}) {
    const all = { Host: "localhost", ...headers };
    if (method === "POST") all["Content-Length"] ??= Buffer.byteLength(body);
    const head = Object.entries(all).map(([k, v]) => `${k}: ${v}\r\n`).join("");
    this.socket.write(`${method} ${path} HTTP/${version}\r\n${head}\r\n${body}`);
  }

  async head() {
    const text = (await this.#take((b) => {
      const at = b.indexOf("\r\n\r\n");
      return at < 0 ? -1 : at + 4;
    }))?.toString();
    if (text === undefined) throw new Error("the connection ended before the response's head");
    const [first, ...lines] = text.trimEnd().split("\r\n");
    const headers = {};
    for (const line of lines) {
      const at = line.indexOf(":");
      headers[line.slice(0, at).toLowerCase()] = line.slice(at + 1).trim();
    }
    return { status: Number(first.split(" ")[1]), version: first.slice(5, 8), headers };
  }

  /** The next chunk; "" is the last one. */
  async chunk() {
    const head = await this.#take((b) => {
      const at = b.indexOf("\r\n");
      return at < 0 ? -1 : at + 2;
    });
    if (head === null) throw new Error("the connection ended between two chunks");
    const size = parseInt(head.toString(), 16);
    const body = await this.#take((b) => (b.length >= size + 2 ? size + 2 : -1));
    if (body === null) throw new Error("the connection ended within a chunk");
    return body.subarray(0, size).toString();
  }

  async response() {
    const r = await this.head();
    if (r.status === 204 || r.status === 304) return { ...r, body: "" };
    if (r.headers["transfer-encoding"] === "chunked") {
      r.body = "";
      for (let c = await this.chunk(); c !== ""; c = await this.chunk()) r.body += c;
    } else {
      r.body = await this.bytes(Number(r.headers["content-length"] ?? 0));
    }
    return r;
  }
}

/** A whole exchange on a connection of its own. */
export async function request(port, method, path, options) {
  const c = new Connection(port);
  c.send(method, path, options);
  try {
    return await c.response();
  } finally {
    c.close();
  }
}
