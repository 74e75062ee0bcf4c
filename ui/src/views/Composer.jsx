// Where one writes. Enter sends, Shift+Enter makes a line; Enter that ends the composition of a
// syllable (Korean, Japanese, Chinese input) does not send.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n.js";
import { Icon } from "./Icon.jsx";

const ENVELOPE_BYTES = 512; // what the protocol puts around a text
const HEIGHT_MAX_PX = 160;
const encoder = new TextEncoder();
const drafts = new Map(); // what was begun in each room, for the life of the page

export function Composer({ chat }) {
  const { room } = chat;
  const [text, setText] = useState(drafts.get(room.name) ?? "");
  const area = useRef(null);
  const tooLong = text.length * 3 > chat.maxBytes - ENVELOPE_BYTES
    && encoder.encode(JSON.stringify(text)).length > chat.maxBytes - ENVELOPE_BYTES;
  const ready = text.trim() !== "" && !tooLong;

  useEffect(() => {
    // A keyboard that slides up on its own would hide the conversation on a phone.
    if (matchMedia("(hover: hover)").matches) area.current.focus();
  }, []);
  useEffect(() => {
    drafts.set(room.name, text);
  }, [room.name, text]);
  useLayoutEffect(() => {
    const element = area.current;
    element.style.height = "auto";
    element.style.height = `${Math.min(HEIGHT_MAX_PX, element.scrollHeight)}px`;
  }, [text]);

  const submit = (event) => {
    event?.preventDefault();
    if (!ready) return;
    chat.say(text.trim());
    setText("");
    area.current.focus();
  };
  const onKeyDown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    submit(event);
  };

  return (
    <form class="composer" onSubmit={submit}>
      <label for="composer" class="visually-hidden">{t.say(room.name)}</label>
      <textarea
        id="composer"
        ref={area}
        rows={1}
        dir="auto"
        value={text}
        placeholder={t.sayPlaceholder}
        enterkeyhint="send"
        aria-invalid={tooLong ? "true" : undefined}
        aria-describedby={tooLong ? "composer-error" : undefined}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      <button type="submit" class="send" disabled={!ready} aria-label={t.send} title={t.send}>
        <Icon name="send" />
      </button>
      {tooLong && <p id="composer-error" class="field-error" role="alert">{t.tooLong}</p>}
    </form>
  );
}
