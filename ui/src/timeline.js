// Turns a room's items into what is drawn: days, and runs of messages by one person.

import { sameDay } from "./i18n.js";

const RUN_MS = 5 * 60_000;

/** [{ kind: "day" | "unread" | "notice" | "lost" | "run", ... }]; a run has the messages of one author. */
export function timeline(room, me) {
  const rows = [];
  let lastTime = null;
  let run = null;
  for (const item of room.items) {
    if (lastTime === null || !sameDay(lastTime, item.time)) {
      rows.push({ kind: "day", id: `day:${item.id}`, time: item.time });
      run = null;
    }
    lastTime = item.time;
    if (item.id === room.firstUnread) {
      rows.push({ kind: "unread", id: "unread" });
      run = null;
    }
    if (item.kind !== "message") {
      rows.push(item);
      run = null;
      continue;
    }
    run = addToRun(rows, run, item, me);
  }
  for (const pending of room.pending) {
    run = addToRun(rows, run, { ...pending, id: `pending:${pending.key}`, from: { name: me }, pending: true }, me);
  }
  return rows;
}

function addToRun(rows, run, item, me) {
  const name = item.from?.name ?? "";
  const guest = item.from?.guest === true;
  const last = run?.messages.at(-1);
  const continues = run && run.name === name && run.guest === guest && item.time - last.time < RUN_MS;
  if (continues) {
    run.messages.push(item);
    return run;
  }
  const fresh = { kind: "run", id: `run:${item.id}`, name, guest, own: name === me && !guest, messages: [item] };
  rows.push(fresh);
  return fresh;
}
