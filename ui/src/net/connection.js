// Keeps one connection up: reconnects with exponential back-off and jitter, and notices a dead link
// by a ping that nobody answers (a phone that changed networks gets no close event for minutes).

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 30_000;
const OPEN_TIMEOUT_MS = 10_000;
const QUIET_MS = 20_000; // nothing heard for this long: ask
const ANSWER_MS = 8_000; // nothing heard after asking: the link is dead

/** Delay before attempt n (1, 2, ...): doubling, half of it random, so that a restarted server is not hit by everyone at once. */
export function backoff(attempt, random = Math.random) {
  const ceiling = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt - 1, 16));
  return Math.round(ceiling / 2 + (random() * ceiling) / 2);
}

export class Connection {
  /** events: { state(state, retryAt), open(), unit(object), down(info) } */
  constructor(connect, events) {
    this.connect = connect;
    this.events = events;
    this.attempts = 0;
    this.link = null;
    this.opened = false;
    this.timer = 0;
    this.wanted = false;
  }

  start() {
    this.wanted = true;
    this.#open();
  }

  stop() {
    this.wanted = false;
    this.#drop();
    this.events.state("closed", 0);
  }

  /** Reconnects at once: the user asked, or the browser says that the network is back. */
  retryNow() {
    if (!this.wanted || this.opened) return;
    this.#drop();
    this.#open();
  }

  /** Asks for a sign of life now, for the moment a sleeping tab wakes. */
  check() {
    if (this.opened) this.#ask();
    else this.retryNow();
  }

  /** False when there is no open link: the caller keeps what it wanted to say. */
  send(object) {
    if (!this.opened) return false;
    this.link.send(JSON.stringify(object));
    return true;
  }

  use(connect) {
    this.connect = connect;
    this.attempts = 0;
    this.#drop();
    if (this.wanted) this.#open();
  }

  #open() {
    this.events.state("connecting", 0);
    this.#arm(OPEN_TIMEOUT_MS, () => this.#down({ code: 0, reason: "timeout" }));
    try {
      this.link = this.connect({
        open: () => {
          this.opened = true;
          this.#listen();
          this.events.open();
        },
        unit: (text) => this.#unit(text),
        close: (info) => this.#down(info),
      });
    } catch (error) {
      this.#down({ code: 0, reason: String(error) });
    }
  }

  #unit(text) {
    this.#listen();
    let object;
    try {
      object = JSON.parse(text);
    } catch {
      return; // not ours to understand; the link itself is fine
    }
    if (object?.type === "welcome") {
      this.attempts = 0;
      this.events.state("open", 0);
    }
    this.events.unit(object);
  }

  #down(info) {
    this.#drop();
    if (!this.wanted) return;
    this.attempts += 1;
    const delay = backoff(this.attempts);
    this.events.state("waiting", Date.now() + delay);
    this.#arm(delay, () => this.#open());
    this.events.down({ ...info, attempts: this.attempts });
  }

  #drop() {
    clearTimeout(this.timer);
    this.opened = false;
    this.link?.close();
    this.link = null;
  }

  #listen() {
    this.#arm(QUIET_MS, () => this.#ask());
  }

  #ask() {
    this.#arm(ANSWER_MS, () => this.#down({ code: 0, reason: "silent" }));
    this.send({ type: "ping", id: "alive" });
  }

  #arm(ms, then) {
    clearTimeout(this.timer);
    this.timer = setTimeout(then, ms);
  }
}
