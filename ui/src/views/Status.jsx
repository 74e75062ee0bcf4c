// The state of the connection, in words, only while there is something to say. Always in the page,
// so that a screen reader hears it change.

import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n.js";
import { useCountdown } from "./hooks.js";

const BACK_MS = 2500;

export function Status({ chat }) {
  const { state, retryAt, ever } = chat.link;
  const seconds = useCountdown(state === "waiting" ? retryAt : 0);
  const back = useJustBack(state);
  const down = state !== "open";
  const kind = down ? "down" : back ? "back" : "none";
  return (
    <div class="status" data-kind={kind} data-state={state}>
      {/* The seconds are for the eyes: spoken once each they would be noise. */}
      <span role="status">
        {down && <span class={state === "waiting" ? "visually-hidden" : ""}>{ever ? t.reconnecting : t.connecting}</span>}
        {!down && back && t.back}
      </span>
      {state === "waiting" && <span aria-hidden="true">{t.retryIn(seconds)}</span>}
      {state === "waiting" && (
        <button type="button" class="quiet small" onClick={() => chat.retryNow()}>{t.retryNow}</button>
      )}
    </div>
  );
}

/** True for a moment after the connection came back, not after the first one. */
function useJustBack(state) {
  const [back, setBack] = useState(false);
  const lost = useRef(false);
  useEffect(() => {
    if (state === "waiting") lost.current = true;
    if (state !== "open" || !lost.current) return undefined;
    lost.current = false;
    setBack(true);
    const timer = setTimeout(() => setBack(false), BACK_MS);
    return () => clearTimeout(timer);
  }, [state]);
  return back;
}
