// Who is here. Above a size of room the server gives a number only.

import { t } from "../i18n.js";
import { Avatar } from "./Icon.jsx";

export function People({ chat }) {
  const { room, me } = chat;
  const rest = room.count - room.users.length;
  return (
    <>
      <h2>{t.hereHeading}</h2>
      <ul class="people">
        {room.users.map((user) => (
          <li key={`${user.guest}:${user.name}`}>
            <Avatar name={user.name} />
            <bdi class="person-name">{user.name}</bdi>
            {user.name === me && !user.guest && <span class="tag">{t.you}</span>}
            {user.guest && <span class="tag">{t.guest}</span>}
          </li>
        ))}
      </ul>
      {rest > 0 && <p class="hint">{t.moreHere(rest)}</p>}
    </>
  );
}
