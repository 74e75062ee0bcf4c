// The rooms one is in, the other rooms there are, and a way to open a new one.

import { useRef, useState } from "preact/hooks";
import { t, formatCount } from "../i18n.js";
import { transportNames } from "../net/transports.js";
import { Avatar, Icon, Mark } from "./Icon.jsx";

export function Rooms({ chat, onChosen }) {
  const counts = new Map(chat.list.map((r) => [r.room, r.count]));
  const others = chat.list.filter((r) => !chat.rooms.has(r.room));
  const choose = (name) => {
    chat.open(name);
    onChosen();
  };
  return (
    <>
      <p class="brand"><Mark />{t.appName}</p>
      <div class="side-scroll">
        <h2>{t.rooms}</h2>
        <ul class="rooms">
          {[...chat.rooms.values()].map((room) => (
            <Room
              key={room.name}
              name={room.name}
              count={room.joined ? room.count : counts.get(room.name)}
              unread={room.unread}
              current={room.name === chat.current}
              onChoose={choose}
            />
          ))}
        </ul>
        {others.length > 0 && <h2>{t.otherRooms}</h2>}
        {others.length > 0 && (
          <ul class="rooms">
            {others.map((r) => (
              <Room key={r.room} name={r.room} count={r.count} unread={0} current={false} onChoose={choose} />
            ))}
          </ul>
        )}
        <NewRoom onCreate={choose} />
      </div>
      <Me chat={chat} />
    </>
  );
}

function Room({ name, count, unread, current, onChoose }) {
  return (
    <li>
      <button
        type="button"
        class="room"
        aria-current={current ? "true" : undefined}
        onClick={() => onChoose(name)}
      >
        <bdi class={unread > 0 ? "room-name has-unread" : "room-name"}>{name}</bdi>
        {unread > 0
          ? (
            <span class="badge">
              <span aria-hidden="true">{unread > 99 ? "99+" : formatCount(unread)}</span>
              <span class="visually-hidden">{t.unread(unread)}</span>
            </span>
          )
          : count > 0 && (
            <span class="room-count">
              <span aria-hidden="true">{formatCount(count)}</span>
              <span class="visually-hidden">{t.here(count)}</span>
            </span>
          )}
      </button>
    </li>
  );
}

function NewRoom({ onCreate }) {
  const [open, setOpen] = useState(false);
  const button = useRef(null);
  const close = () => {
    setOpen(false);
    requestAnimationFrame(() => button.current?.focus());
  };
  const submit = (event) => {
    event.preventDefault();
    const name = new FormData(event.currentTarget).get("room").trim();
    if (name === "") return;
    setOpen(false);
    onCreate(name);
  };
  if (!open) {
    return (
      <button type="button" ref={button} class="quiet new-room" onClick={() => setOpen(true)}>
        <Icon name="plus" />{t.newRoom}
      </button>
    );
  }
  return (
    <form class="new-room-form" onSubmit={submit} onKeyDown={(e) => e.key === "Escape" && (e.stopPropagation(), close())}>
      <label for="new-room" class="visually-hidden">{t.roomName}</label>
      <input id="new-room" name="room" maxLength={64} placeholder={t.roomName} autocomplete="off" required
        ref={(element) => element?.focus()} />
      <div class="row">
        <button type="submit" class="primary small">{t.create}</button>
        <button type="button" class="quiet small" onClick={close}>{t.cancel}</button>
      </div>
    </form>
  );
}

function Me({ chat }) {
  const up = chat.link.state === "open";
  return (
    <div class="me">
      <Avatar name={chat.me} />
      <span class="me-text">
        <bdi class="me-name" title={t.signedInAs(chat.me)}>{chat.me}</bdi>
        <span class={up ? "me-link up" : "me-link"}>{up ? t.online : t.offline}</span>
      </span>
      <button type="button" class="quiet small" onClick={() => chat.signOut()}>{t.signOut}</button>
      <label class="via">
        {t.transport}
        <select value={chat.transport.split(":")[0]} onChange={(event) => chat.use(event.currentTarget.value)}>
          {transportNames.map((name) => <option key={name} value={name}>{t.transports[name]}</option>)}
        </select>
      </label>
    </div>
  );
}
