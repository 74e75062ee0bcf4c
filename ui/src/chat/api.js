// The three HTTP calls around the chat: who am I, sign in, sign out. The session is a cookie that
// scripts cannot read.

const at = (path) => new URL(`chat/${path}`, document.baseURI);

/** { name } when signed in, null when not. Throws when the server cannot be reached. */
export async function me() {
  const response = await fetch(at("me"), { cache: "no-store" });
  if (response.status === 401) return null;
  if (!response.ok) throw new Error(`status ${response.status}`);
  const user = await response.json();
  return user.guest ? null : user;
}

/** { name } or { code } that says why not. */
export async function login(name) {
  try {
    const response = await fetch(at("login"), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name }),
    });
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return { name: answer.name ?? name };
    return { code: answer.code ?? (response.status === 429 ? "rate_limited" : "unavailable") };
  } catch {
    return { code: "unreachable" };
  }
}

export async function logout() {
  await fetch(at("logout"), { method: "POST" }).catch(() => {});
}
