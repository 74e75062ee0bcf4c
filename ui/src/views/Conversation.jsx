// One room: its head, what was said, and the place to write.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n.js";
import { timeline } from "../timeline.js";
import { oldestSeq } from "../chat/room.js";
import { Icon } from "./Icon.jsx";
import { Row } from "./Message.jsx";
import { Composer } from "./Composer.jsx";
import { Status } from "./Status.jsx";

const NEAR_END_PX = 48;

export function Conversation({ chat, onRooms, onPeople }) {
  const { room } = chat;
  return (
    <main class="yard">
      <header class="yard-head">
        {onRooms && (
          <button type="button" class="quiet" onClick={onRooms} aria-label={t.showRooms}>
            <Icon name="rooms" />
            {chat.unread - room.unread > 0 && <span class="dot" />}
          </button>
        )}
        <div class="yard-title">
          <h1><bdi>{room.name}</bdi></h1>
          {room.joined && <p>{t.here(room.count)}</p>}
        </div>
        {onPeople && (
          <button type="button" class="quiet" onClick={onPeople} aria-label={t.showPeople}>
            <Icon name="people" />
          </button>
        )}
        {chat.rooms.size > 1 && (
          <button type="button" class="quiet" onClick={() => chat.leave(room.name)} aria-label={t.leaveRoom} title={t.leaveRoom}>
            <Icon name="leave" />
          </button>
        )}
      </header>
      <Status chat={chat} />
      {room.error && (
        <p class="room-error" role="alert">{t.roomErrors[room.error] ?? t.roomErrors.other}</p>
      )}
      <Log chat={chat} />
      <Composer chat={chat} />
    </main>
  );
}

function Log({ chat }) {
  const { room, me } = chat;
  const log = useRef(null);
  const atEnd = useRef(true);
  const anchor = useRef(null); // height before older messages were put above
  const [away, setAway] = useState(false);
  const rows = timeline(room, me);
  const first = oldestSeq(room);
  const hasOlder = room.joined && room.more && first !== null && first > 1;

  const onScroll = () => {
    const { scrollHeight, scrollTop, clientHeight } = log.current;
    atEnd.current = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    setAway(!atEnd.current);
    chat.setReading(atEnd.current && document.visibilityState === "visible");
  };

  useLayoutEffect(() => {
    const element = log.current;
    if (anchor.current !== null && element.scrollHeight !== anchor.current) {
      element.scrollTop += element.scrollHeight - anchor.current;
      anchor.current = null;
    } else if (atEnd.current) {
      element.scrollTop = element.scrollHeight;
    }
  });

  // A room with unread messages opens at the first of them.
  useEffect(() => {
    const mark = log.current.querySelector(".unread-line");
    if (mark) mark.scrollIntoView({ block: "center" });
    onScroll();
    const visible = () => onScroll();
    document.addEventListener("visibilitychange", visible);
    const element = log.current;
    const observer = new ResizeObserver(() => {
      if (atEnd.current) element.scrollTop = element.scrollHeight;
    });
    observer.observe(element);
    return () => {
      document.removeEventListener("visibilitychange", visible);
      observer.disconnect();
    };
  }, []);

  const older = () => {
    anchor.current = log.current.scrollHeight;
    chat.older();
  };
  const toEnd = () => {
    log.current.scrollTo({ top: log.current.scrollHeight });
    document.getElementById("composer")?.focus();
  };

  return (
    <div class="log-frame">
      <div
        class="log"
        ref={log}
        role="log"
        aria-label={t.messages(room.name)}
        tabIndex={0}
        onScroll={onScroll}
      >
        <div class="log-column">
          {hasOlder && (
            <button type="button" class="quiet older" onClick={older}>{t.older}</button>
          )}
          {room.joined && !hasOlder && rows.length > 0 && first !== null && (
            <p class="beginning">{t.beginning(room.name)}</p>
          )}
          {rows.map((row) => <Row key={row.id} row={row} chat={chat} />)}
          {room.joined && rows.length === 0 && (
            <div class="empty">
              <p>{t.empty}</p>
              <p class="hint">{t.emptyHint}</p>
            </div>
          )}
        </div>
      </div>
      {away && (
        <button type="button" class="to-end" onClick={toEnd} aria-label={t.jumpLabel(room.unread)}>
          <Icon name="down" />
          {room.unread > 0 && t.jumpToNew(room.unread)}
        </button>
      )}
    </div>
  );
}
