// What stays in this browser: the rooms that are open. A browser that refuses storage only forgets.

const KEY = "madang.rooms";
const ROOMS_MAX = 50;

export function storedRooms() {
  try {
    const rooms = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(rooms) ? rooms.filter((r) => typeof r === "string").slice(0, ROOMS_MAX) : [];
  } catch {
    return [];
  }
}

export function storeRooms(rooms) {
  try {
    localStorage.setItem(KEY, JSON.stringify(rooms.slice(0, ROOMS_MAX)));
  } catch {
    // private mode or a full store: the rooms last as long as the page
  }
}

/** Not crypto.randomUUID: that one is missing on plain http outside localhost. */
export function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}
