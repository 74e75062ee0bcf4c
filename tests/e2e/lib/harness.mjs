// The tests' own frame. A file *_test.mjs calls test(name, [options], body); run.mjs runs each file
// in a process of its own and every test once with one worker and once with two.
//
//   test("two clients meet", async (t) => { const server = await t.server(); ... });
//
// options: { once: true } needs no server with several workers; { timeout: seconds }.
// What a test starts it hands to t.after, and it is ended in reverse order, whatever happened.

const tests = [];
const TIMEOUT_S = 30;

export function test(name, options, body) {
  if (typeof options === "function") [options, body] = [{}, options];
  tests.push({ name, options, body });
}

/** Thrown by a test that cannot run on this machine, with the reason. */
export class Skip extends Error {}

export class Context {
  #ends = [];

  constructor(workers) {
    this.workers = workers;
  }

  after(end) {
    this.#ends.push(end);
  }

  /** Starts `madang serve` on a free port with a state folder of its own (lib/server.mjs). */
  async server(options = {}) {
    const { startServer } = await import("./server.mjs");
    return startServer(this, { workers: this.workers, ...options });
  }

  async finish() {
    const problems = [];
    for (const end of this.#ends.reverse()) {
      try {
        await end();
      } catch (error) {
        problems.push(error);
      }
    }
    this.#ends = [];
    if (problems.length > 0) throw problems[0];
  }
}

function withTimeout(promise, seconds) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function runOne({ options, body }, workers) {
  const context = new Context(workers);
  try {
    await withTimeout(body(context), options.timeout ?? TIMEOUT_S);
    await withTimeout(context.finish(), TIMEOUT_S);
    return { result: "passed" };
  } catch (error) {
    const more = await withTimeout(context.finish(), TIMEOUT_S).catch((e) => e);
    if (error instanceof Skip) return { result: "skipped", why: error.message };
    const detail = `${error.stack ?? error}${more ? `\nand then: ${more.stack ?? more}` : ""}`;
    return { result: "failed", why: detail };
  }
}

/**
 * A test that failed gets one more try, since browsers and proxies on a busy machine are late now and then; the
 * report says so. A server that crashed or leaked gets none.
 */
async function runTwice(each, count) {
  const first = await runOne(each, count);
  if (first.result !== "failed" || /server (ended|reported a fault)/.test(first.why)) return first;
  const second = await runOne(each, count);
  return second.result === "passed" ? { ...second, again: first.why } : first;
}

/** Runs the tests that the file has registered; `report` gets each one's outcome. */
export async function runAll({ workers, only }, report) {
  for (const each of tests) {
    for (const count of each.options.once ? [1] : workers) {
      const name = each.options.once ? each.name : `${each.name} (${count === 1 ? "1 worker" : `${count} workers`})`;
      if (only && !name.includes(only)) continue;
      const start = Date.now();
      const outcome = await runTwice(each, count);
      report({ name, ms: Date.now() - start, ...outcome });
    }
  }
}

/** Waits until the function gives something true, and returns it. */
export async function until(what, condition, seconds = 10) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`still not true after ${seconds} s: ${what}`);
    await sleep(20);
  }
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
