// The gate: a name, and in.

import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n.js";
import { Mark } from "./Icon.jsx";

export function SignIn({ chat }) {
  const [name, setName] = useState("");
  const [busy, setBusy] = useState(false);
  const input = useRef(null);
  const error = chat.signInError;

  useEffect(() => input.current.focus(), []);

  const submit = async (event) => {
    event.preventDefault();
    if (busy || name.trim() === "") return;
    setBusy(true);
    await chat.signIn(name.trim());
    setBusy(false);
    input.current?.focus();
  };

  return (
    <main class="gate">
      <form class="gate-form" onSubmit={submit}>
        <Mark className="mark mark-large" />
        <h1>{t.appName}</h1>
        <p class="tagline">{t.tagline}</p>
        <label for="name">{t.nameLabel}</label>
        <input
          id="name"
          ref={input}
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
          maxLength={64}
          autocomplete="nickname"
          autocapitalize="off"
          spellcheck={false}
          required
          aria-invalid={error ? "true" : undefined}
          aria-describedby={error ? "name-error" : "name-hint"}
        />
        {error
          ? <p id="name-error" class="field-error" role="alert">{t.signInErrors[error] ?? t.signInErrors.unavailable}</p>
          : <p id="name-hint" class="hint">{t.nameHint}</p>}
        <button type="submit" class="primary" disabled={busy || name.trim() === ""}>
          {busy ? t.entering : t.enter}
        </button>
      </form>
    </main>
  );
}
