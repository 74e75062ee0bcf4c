// The page's words, in the browser's language where we have it. Both tables have the same keys
// (tests/e2e/page_logic_test.mjs checks it).

import { ko } from "./words.ko.js";
import { en } from "./words.en.js";

const tables = { ko, en };

/** The first of the browser's languages that we have; English otherwise. */
export function chooseLanguage(languages) {
  for (const tag of languages ?? []) {
    const base = String(tag).toLowerCase().split("-")[0];
    if (Object.hasOwn(tables, base)) return { words: tables[base], locale: tag, base };
  }
  return { words: en, locale: "en", base: "en" };
}

const chosen = chooseLanguage(typeof navigator === "undefined" ? [] : navigator.languages);
export const t = chosen.words;
export const locale = chosen.locale;
export const language = chosen.base;

const list = new Intl.ListFormat(locale, { type: "conjunction" });
const clock = new Intl.DateTimeFormat(locale, { hour: "numeric", minute: "2-digit" });
const day = new Intl.DateTimeFormat(locale, { weekday: "long", month: "long", day: "numeric" });
const dayAndYear = new Intl.DateTimeFormat(locale, { dateStyle: "full" });
const full = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "medium" });

export const formatList = (names) => list.format(names);
export const formatTime = (ms) => clock.format(ms);
export const formatFull = (ms) => full.format(ms);
export const formatCount = (n) => new Intl.NumberFormat(locale).format(n);

export const sameDay = (a, b) => new Date(a).toDateString() === new Date(b).toDateString();

export function formatDay(ms, now = Date.now()) {
  if (sameDay(ms, now)) return t.today;
  if (sameDay(ms, now - 86_400_000)) return t.yesterday;
  const thisYear = new Date(ms).getFullYear() === new Date(now).getFullYear();
  return (thisYear ? day : dayAndYear).format(ms);
}
