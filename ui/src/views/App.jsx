// The whole page: the gate (signing in), or the courtyard with rooms on one side and people on the
// other. On a small screen the sides are drawers.

import { useEffect, useState } from "preact/hooks";
import { t } from "../i18n.js";
import { useChat, useMedia } from "./hooks.js";
import { SignIn } from "./SignIn.jsx";
import { Rooms } from "./Rooms.jsx";
import { Conversation } from "./Conversation.jsx";
import { People } from "./People.jsx";
import { Drawer } from "./Drawer.jsx";
import { Mark } from "./Icon.jsx";

export function App({ chat }) {
  useChat(chat);
  if (chat.phase === "starting") {
    return (
      <div class="gate" role="status">
        <Mark className="mark mark-large" />
        <span class="visually-hidden">{t.connecting}</span>
      </div>
    );
  }
  return chat.phase === "in" ? <Courtyard chat={chat} /> : <SignIn chat={chat} />;
}

function Courtyard({ chat }) {
  const narrow = useMedia("(max-width: 760px)");
  const medium = useMedia("(max-width: 1040px)");
  const [drawer, setDrawer] = useState(null);
  const { unread, room } = chat;
  useEffect(() => {
    document.title = `${unread > 0 ? `(${unread}) ` : ""}${room.name} · ${t.appName}`;
  }, [unread, room.name]);

  const rooms = <Rooms chat={chat} onChosen={() => setDrawer(null)} />;
  const people = <People chat={chat} />;
  return (
    <div class="courtyard">
      <a class="skip" href="#composer" onClick={focusComposer}>{t.skip}</a>
      {!narrow && <nav class="side side-rooms" aria-label={t.rooms}>{rooms}</nav>}
      <Conversation
        key={room.name}
        chat={chat}
        onRooms={narrow ? () => setDrawer("rooms") : null}
        onPeople={medium ? () => setDrawer("people") : null}
      />
      {!medium && <aside class="side side-people" aria-label={t.hereHeading}>{people}</aside>}
      {narrow && drawer === "rooms" && (
        <Drawer side="left" label={t.rooms} onClose={() => setDrawer(null)}>{rooms}</Drawer>
      )}
      {medium && drawer === "people" && (
        <Drawer side="right" label={t.hereHeading} onClose={() => setDrawer(null)}>{people}</Drawer>
      )}
    </div>
  );
}

function focusComposer(event) {
  event.preventDefault();
  document.getElementById("composer")?.focus();
}
