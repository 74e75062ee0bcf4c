// The command-line tool, as a person at a terminal uses it.

import { spawn } from "node:child_process";
import { BINARY } from "./server.mjs";
import { until } from "./harness.mjs";

const DONE_S = 20;
// A sanitizer's report, when the tool is such a build.
const FAULT = /(ERROR|WARNING): (Address|Leak|Thread|Memory)Sanitizer|runtime error:|Assertion .* failed/;

/** Runs the tool to its end; `input` (null: left open) is what is typed. */
export class Tool {
  constructor(t, args, { input = "", env = {} } = {}) {
    this.out = "";
    this.err = "";
    const clean = { ...process.env, http_proxy: "", https_proxy: "", all_proxy: "", no_proxy: "" };
    this.child = spawn(BINARY, args, { stdio: ["pipe", "pipe", "pipe"], env: { ...clean, ...env } });
    this.child.stdout.setEncoding("utf8").on("data", (d) => { this.out += d; });
    this.child.stderr.setEncoding("utf8").on("data", (d) => { this.err += d; });
    this.child.stdin.on("error", () => {});
    this.exited = new Promise((done) => this.child.on("close", done));
    if (input !== null) this.child.stdin.end(input);
    t.after(() => { this.child.kill("SIGKILL"); });
  }

  async end() {
    const timer = setTimeout(() => this.child.kill("SIGKILL"), DONE_S * 1000);
    const code = await this.exited;
    clearTimeout(timer);
    if (FAULT.test(this.err)) throw new Error(`the tool reported a fault:\n${this.err.slice(-8000)}`);
    return { code, out: this.out, err: this.err, lines: this.out.split("\n").slice(0, -1) };
  }

  /** A line is typed; `input` was null. */
  type(line) {
    this.child.stdin.write(`${line}\n`);
  }

  heard(what) {
    return until(`the tool says ${what}`, () => this.out.includes(what) || this.err.includes(what));
  }
}

export const run = (t, args, options) => new Tool(t, args, options).end();
