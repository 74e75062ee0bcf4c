// Starts and ends the server under test.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const TOP = fileURLToPath(new URL("../../../", import.meta.url));
/** The binary: MADANG, or the release build. */
export const BINARY = process.env.MADANG ?? join(TOP, "build/madang");

const START_S = 10;
const STOP_S = 15;
// A sanitizer's report; a server that wrote one has failed the test even when the test saw nothing.
const FAULT = /(ERROR|WARNING): (Address|Leak|Thread|Memory)Sanitizer|runtime error:|Assertion .* failed/;

export function stateFolder(t) {
  const folder = mkdtempSync(join(tmpdir(), "madang-test-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A program with its output kept; `exited` resolves to { code, signal }. */
export class Program {
  constructor(command, args, options = {}) {
    this.output = "";
    this.child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text) => { this.output += text; });
    }
    this.exited = new Promise((done) => {
      this.child.on("error", (error) => done({ code: null, signal: null, error }));
      this.child.on("close", (code, signal) => done({ code, signal }));
    });
    this.running = true;
    this.exited.then(() => { this.running = false; });
  }

  get pid() {
    return this.child.pid;
  }

  signal(name) {
    if (this.running) this.child.kill(name);
  }

  /** Asks it to end, insists after a while, and returns how it ended. */
  async end(name = "SIGTERM", seconds = STOP_S) {
    this.signal(name);
    const timer = setTimeout(() => this.signal("SIGKILL"), seconds * 1000);
    const result = await this.exited;
    clearTimeout(timer);
    return result;
  }
}

/**
 * options: workers, args (more of them), state (a folder; default: a new one), listen (addresses;
 * default: a free port), env, wrapper (a command line put in front, such as prlimit), expectExit
 * (true: the server is meant to refuse to start; returns once it ended).
 */
export async function startServer(t, options = {}) {
  if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: make build`);
  const state = options.state ?? stateFolder(t);
  const listen = options.listen ?? ["127.0.0.1:0"];
  const args = ["serve", "--workers", String(options.workers ?? 1), "--state", state];
  for (const address of listen) args.push("--listen", address);
  args.push(...(options.args ?? []));
  const line = [...(options.wrapper ?? []), BINARY, ...args];
  const program = new Program(line[0], line.slice(1), { env: { ...process.env, ...options.env }, cwd: tmpdir() });
  const server = new Server(program, state, options);
  t.after(() => server.finish());
  if (!options.expectExit) await server.ready();
  return server;
}

class Server {
  constructor(program, state, options) {
    this.program = program;
    this.state = state;
    this.options = options;
    this.addresses = [];
  }

  async ready() {
    const end = Date.now() + START_S * 1000;
    while (this.addresses.length === 0) {
      if (!this.program.running) throw new Error(`the server ended at start:\n${this.program.output}`);
      if (Date.now() > end) throw new Error(`no address after ${START_S} s:\n${this.program.output}`);
      await new Promise((done) => setTimeout(done, 10));
      this.addresses = [...this.program.output.matchAll(/\b(?:https?|tcp|udp|tls):\/\/[\w.[\]:-]+:\d+/g)].map((m) => m[0]);
    }
    this.port = Number(/:(\d+)$/.exec(this.addresses.find((a) => !a.startsWith("udp")))[1]);
    this.url = `${this.addresses[0].startsWith("https") ? "https" : "http"}://127.0.0.1:${this.port}`;
    this.ws = `${this.url.replace(/^http/, "ws")}/ws/chat`;
  }

  get output() {
    return this.program.output;
  }

  /** Graceful end; returns { code, signal }. */
  stop(seconds) {
    return this.program.end("SIGTERM", seconds);
  }

  kill() {
    return this.program.end("SIGKILL");
  }

  /** The same server again: same port, same state folder. */
  restart(t, options = {}) {
    return startServer(t, { ...this.options, state: this.state, listen: [`127.0.0.1:${this.port}`], ...options });
  }

  async finish() {
    const asked = this.program.running;
    const { code, signal } = await this.stop();
    if (FAULT.test(this.output)) throw new Error(`the server reported a fault:\n${this.output.slice(-8000)}`);
    if (asked && code !== 0) throw new Error(`the server ended with ${code ?? signal}:\n${this.output.slice(-4000)}`);
  }
}
