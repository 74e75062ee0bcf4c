// Starts the programs under tests/targets, which the suites of the protocols talk to. MADANG_BUILD
// names another build folder than build or build-dev.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Skip } from "./harness.mjs";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const FOLDERS = ["build", "build-dev"];

export function programPath(path) {
  const folders = process.env.MADANG_BUILD ? [process.env.MADANG_BUILD] : FOLDERS.map((f) => ROOT + f);
  const found = folders.map((f) => `${f}/${path}`).find(existsSync);
  if (!found) throw new Skip(`there is no ${path} in build or build-dev`);
  return found;
}

/** Starts a program that prints "listening on port N"; t ends it. */
export async function startProgram(t, path, args = []) {
  const child = spawn(programPath(path), ["--port", "0", ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((done) => child.once("exit", (code, signal) => done(signal ?? code)));
  let wanted = 0;
  const stop = async (signal = "SIGTERM") => {
    if (signal !== "SIGTERM") wanted = signal;
    child.kill(signal);
    const late = setTimeout(() => child.kill("SIGKILL"), 8000);
    const how = await ended;
    clearTimeout(late);
    return how;
  };
  t.after(async () => {
    const how = await stop();
    if (how !== wanted) throw new Error(`${path} ended with ${how}`);
  });
  let text = "";
  const port = await new Promise((done, fail) => {
    child.stdout.on("data", (data) => {
      text += data;
      const found = /listening on \S*?\s?(\d+)\n/.exec(text);
      if (found) done(Number(found[1]));
    });
    child.once("exit", (code) => fail(new Error(`${path} ended with ${code}`)));
  });
  return { port, url: `http://127.0.0.1:${port}`, ws: `ws://127.0.0.1:${port}`, stop, child };
}

export const startTarget = (t, name, args = []) =>
  startProgram(t, `tests/targets/${name}`, ["--workers", String(t.workers ?? 1), ...args]);
