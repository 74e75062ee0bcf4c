// Line icons on a 20-unit grid, and the mark: the plan of a courtyard house, which is also the
// letter that 마당 begins with.

const PATHS = {
  rooms: "M3 5h14M3 10h14M3 15h9",
  people: "M7.5 9.5a2.75 2.75 0 1 0 0-5.5 2.75 2.75 0 0 0 0 5.5ZM2.5 16c.4-2.6 2.4-4 5-4s4.6 1.4 5 4M13.5 9.2a2.3 2.3 0 1 0-.8-4.5M14 12c2 .2 3.2 1.6 3.5 4",
  send: "M10 16.5V4M4.5 9.5 10 4l5.5 5.5",
  close: "M5 5l10 10M15 5 5 15",
  plus: "M10 4v12M4 10h12",
  down: "M10 4v12M4.5 10.5 10 16l5.5-5.5",
  check: "M4.5 10.5 8.5 14.5 15.5 6",
  leave: "M8 4H4.5v12H8M12 6.5 15.5 10 12 13.5M15.5 10H8",
  alert: "M10 5.5v5.5M10 14v.2",
};

export function Icon({ name }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Mark({ className = "mark" }) {
  return (
    <svg class={className} viewBox="0 0 48 48" aria-hidden="true" focusable="false">
      <path class="mark-roof" d="M20 42H6V6h36v36H28" />
      <path class="mark-eaves" d="M14.5 34V14.5h19V34" />
      <circle class="mark-person" cx="24" cy="27" r="3.2" />
    </svg>
  );
}

const HUES = 8;

/** A steady colour for a name: the same in every browser. */
export function hueOf(name) {
  let hash = 2166136261;
  for (const char of name) hash = Math.imul(hash ^ char.codePointAt(0), 16777619) >>> 0;
  return (hash >>> 8) % HUES;
}

export function Avatar({ name }) {
  const initial = [...name.trim()][0] ?? "?";
  return (
    <span class="avatar" data-hue={hueOf(name)} aria-hidden="true">
      {initial.toUpperCase()}
    </span>
  );
}
