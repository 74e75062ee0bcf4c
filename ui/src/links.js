// Finds web addresses in plain text. Only http and https, nothing with a user name in front of the
// host (it reads like another site), and without the punctuation that ends the sentence.

const CANDIDATE = /\bhttps?:\/\/[^\s<>"'`\u200b-\u200f\u202a-\u202e\u2066-\u2069]+/giu;
const PAIRS = { ")": "(", "]": "[", "}": "{" };

function trimEnd(text) {
  for (;;) {
    const last = text.at(-1);
    if (/[.,;:!?…。、]/u.test(last)) text = text.slice(0, -1);
    else if (PAIRS[last] && count(text, last) > count(text, PAIRS[last])) text = text.slice(0, -1);
    else return text;
  }
}

const count = (text, char) => text.split(char).length - 1;

function safeHref(text) {
  try {
    const url = new URL(text);
    const plain = url.protocol === "http:" || url.protocol === "https:";
    return plain && url.username === "" && url.password === "" ? url.href : null;
  } catch {
    return null;
  }
}

/** [{ text }, { text, href }, ...] that together are the text given. */
export function splitLinks(text) {
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(CANDIDATE)) {
    const shown = trimEnd(match[0]);
    const href = safeHref(shown);
    if (!href) continue;
    if (match.index > from) parts.push({ text: text.slice(from, match.index) });
    parts.push({ text: shown, href });
    from = match.index + shown.length;
  }
  if (from < text.length) parts.push({ text: text.slice(from) });
  return parts;
}
