// Small hooks that several views use.

import { useEffect, useLayoutEffect, useReducer, useState } from "preact/hooks";

/** Draws again whenever the chat changes. */
export function useChat(chat) {
  const [, draw] = useReducer((n) => n + 1, 0);
  // A layout effect: an effect runs after the next frame, and what changed until then was missed.
  useLayoutEffect(() => chat.subscribe(() => draw()), [chat]);
}

export function useMedia(query) {
  const [matches, setMatches] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const list = matchMedia(query);
    const update = () => setMatches(list.matches);
    update();
    list.addEventListener("change", update);
    return () => list.removeEventListener("change", update);
  }, [query]);
  return matches;
}

/** Whole seconds until a moment, counting down on the screen. */
export function useCountdown(until) {
  const [, tick] = useReducer((n) => n + 1, 0);
  useEffect(() => {
    if (!until) return undefined;
    const timer = setInterval(tick, 500);
    return () => clearInterval(timer);
  }, [until]);
  return until ? Math.max(0, Math.ceil((until - Date.now()) / 1000)) : 0;
}
