// The rows of a conversation. Text is only ever put into text nodes: what people type is never HTML.

import { t, formatDay, formatFull, formatList, formatTime } from "../i18n.js";
import { splitLinks } from "../links.js";
import { Avatar, Icon } from "./Icon.jsx";

export function Row({ row, chat }) {
  switch (row.kind) {
    case "day":
      return <h2 class="day"><time dateTime={new Date(row.time).toISOString()}>{formatDay(row.time)}</time></h2>;
    case "unread":
      return <p class="unread-line"><span>{t.newMessages}</span></p>;
    case "notice":
      return <p class="notice">{t[row.what](formatList(row.names))}</p>;
    case "lost":
      return <p class="lost">{row.restarted ? t.lostRestart : t.lost(row.count)}</p>;
    default:
      return <Run run={row} chat={chat} />;
  }
}

function Run({ run, chat }) {
  return (
    <section class={run.own ? "run own" : "run"}>
      {!run.own && <Avatar name={run.name} />}
      <div class="run-body">
        <p class={run.own ? "visually-hidden" : "author"}>
          <bdi>{run.own ? t.you : run.name}</bdi>
          {run.guest && <span class="tag">{t.guest}</span>}
        </p>
        {run.messages.map((message, i) => {
          const next = run.messages[i + 1];
          const timed = !next || formatTime(next.time) !== formatTime(message.time) || next.pending;
          return <Message key={message.key ?? message.id} message={message} timed={timed} chat={chat} />;
        })}
      </div>
    </section>
  );
}

function Message({ message, timed, chat }) {
  const failed = message.pending && message.state === "failed";
  return (
    <div class={`line${message.pending ? " pending" : ""}${failed ? " failed" : ""}`} data-seq={message.seq}>
      <div class="bubble" dir="auto"><Body message={message} /></div>
      {message.pending
        ? <Pending message={message} chat={chat} />
        : timed && (
          <time class="when" dateTime={new Date(message.time).toISOString()} title={formatFull(message.time)}>
            {formatTime(message.time)}
          </time>
        )}
    </div>
  );
}

function Body({ message }) {
  if (typeof message.text === "string") {
    return splitLinks(message.text).map((part) =>
      part.href
        ? <a href={part.href} target="_blank" rel="noopener noreferrer nofollow">{part.text}</a>
        : part.text);
  }
  if (typeof message.base64 === "string") {
    return <em>{t.binary(Math.floor((message.base64.replace(/=+$/, "").length * 3) / 4))}</em>;
  }
  return (
    <>
      {message.event && <span class="tag">{message.event}</span>}
      <code>{JSON.stringify(message.data)}</code>
    </>
  );
}

function Pending({ message, chat }) {
  if (message.state === "failed") {
    const why = t.messageErrors[message.error] ?? t.messageErrors.other;
    return (
      <span class="when">
        <span role="alert">{`${t.failed}: ${why}`}</span>
        <button type="button" class="link" onClick={() => chat.sayAgain(message.key)}>{t.again}</button>
        <button type="button" class="link" onClick={() => chat.discard(message.key)}>{t.discard}</button>
      </span>
    );
  }
  const up = chat.link.state === "open";
  return (
    <span class="when">
      <span class={up ? "spinner" : "spinner still"} aria-hidden="true" />
      {up ? t.sending : t.waiting}
    </span>
  );
}
