// The WebSocket cases against any echo endpoint:
//   node tests/e2e/ws_conformance.mjs ws://127.0.0.1:8080/ [GROUP. | TEXT IN ID OR TITLE]
// The last line is "N passed, N failed".

import { fileURLToPath } from "node:url";
import { cases } from "./lib/ws_cases.mjs";

const AT_ONCE = 4;
const CASE_TIMEOUT_MS = 60_000;

async function runCase(target, each) {
  let timer;
  const late = new Promise((_, failed) => { timer = setTimeout(() => failed(new Error("not done in time")), CASE_TIMEOUT_MS); });
  try {
    await Promise.race([each.run(target), late]);
    return null;
  } catch (error) {
    return error;
  } finally {
    clearTimeout(timer);
  }
}

/** Runs the cases of a group ("9."), or whose "id title" holds `only`; gives the failures. */
export async function runCases(url, only = "", report = () => {}) {
  const { hostname, port, pathname } = new URL(url);
  const target = { host: hostname, port: Number(port), path: pathname };
  const inGroup = /^\d+\.$/.test(only);
  const queue = cases.filter(({ id, title }) => (inGroup ? id.startsWith(only) : `${id} ${title}`.includes(only)));
  const failures = [];
  const total = queue.length;
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (queue.length > 0) {
      const each = queue.shift();
      const error = await runCase(target, each);
      if (error) failures.push({ each, error });
      report(each, error);
    }
  }));
  return { total, failures };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { total, failures } = await runCases(process.argv[2] ?? "ws://127.0.0.1:8080/", process.argv[3], (each, error) => {
    if (error) console.log(`  FAILED ${each.id} ${each.title}: ${error.message.split("\n")[0]}`);
  });
  console.log(`${total - failures.length} passed, ${failures.length} failed`);
  process.exit(failures.length > 0 ? 1 : 0);
}
