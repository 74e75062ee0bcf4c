// Runs the end-to-end tests: node tests/e2e/run.mjs [--workers 1,2] [--only TEXT] [FILE_test.mjs...]
// Each file runs in a process of its own, two at a time; the last line is "N passed, N failed".
// MADANG names another binary than build/madang.

import { fork } from "node:child_process";
import { readdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const AT_ONCE = 2;
const FILE_TIMEOUT_MS = 10 * 60_000;

function parse(argv) {
  const options = { workers: [1, 2], only: null, files: [], child: null };
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === "--workers") options.workers = argv[++i].split(",").map(Number);
    else if (argv[i] === "--only") options.only = argv[++i];
    else if (argv[i] === "--child") options.child = argv[++i];
    else options.files.push(resolve(argv[i]));
  }
  return options;
}

async function child(options) {
  const { runAll } = await import("./lib/harness.mjs");
  await import(pathToFileURL(options.child));
  await runAll(options, (outcome) => process.send(outcome));
  const { closeBrowser } = await import("./lib/browser.mjs");
  await closeBrowser();
  process.exit(0);
}

const counts = { passed: 0, failed: 0, skipped: 0 };

function report(file, { name, ms, result, why, again }) {
  counts[result] += 1;
  const time = ms >= 1000 ? ` (${(ms / 1000).toFixed(1)} s)` : "";
  if (again) console.log(`  AGAIN ${file}: ${name}: passed at the second try, after\n      ${again.replaceAll("\n", "\n      ")}`);
  if (result === "passed") console.log(`  ok ${file}: ${name}${time}`);
  else console.log(`  ${result.toUpperCase()} ${file}: ${name}${time}\n      ${why.replaceAll("\n", "\n      ")}`);
}

function runFile(path, argv) {
  const file = basename(path, "_test.mjs");
  return new Promise((done) => {
    const process_ = fork(fileURLToPath(import.meta.url), ["--child", path, ...argv]);
    const timer = setTimeout(() => process_.kill("SIGKILL"), FILE_TIMEOUT_MS);
    process_.on("message", (outcome) => report(file, outcome));
    process_.on("exit", (code) => {
      clearTimeout(timer);
      if (code !== 0) report(file, { name: "the file itself", ms: 0, result: "failed", why: `ended with ${code}` });
      done();
    });
  });
}

const argv = process.argv.slice(2);
const options = parse(argv);
if (options.child) {
  await child(options);
} else {
  const files = options.files.length > 0 ? options.files
    : readdirSync(HERE).filter((f) => f.endsWith("_test.mjs")).sort().map((f) => join(HERE, f));
  const pass = ["--workers", options.workers.join(","), ...(options.only ? ["--only", options.only] : [])];
  const queue = [...files];
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (queue.length > 0) await runFile(queue.shift(), pass);
  }));
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
  console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`);
  process.exit(counts.failed > 0 || counts.passed === 0 ? 1 : 0);
}
