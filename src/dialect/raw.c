/* The line dialect: what a person types, and what is said back. Answers of the server begin with
 * "* ", complaints with "! ", messages with "[room] ". */
#include "dialect/raw.h"
#include "base/utf8.h"
#include "codec/line.h"
#include "dialect/plain.h"
#include "dialect/raw_text.h"
#include <stdlib.h>

enum {
    HISTORY_DEFAULT = 20,
    QUESTIONS_MAX = 16,
    HELD_BYTES_MAX = 128 * 1024, /* of lines that wait for a room to be entered */
    ADDRESS_BYTES_MAX = 128,     /* a unix socket's path is the longest */
};

/* A question that waits for the hub. */
struct question {
    struct mdg_node in_peer;
    struct mdg_peer *peer;
    uint16_t room_len;
    uint8_t room[];
};

struct raw {
    struct mdg_node *questions;
    struct mdg_member *current; /* the room that text goes to; NULL: none */
    struct mdg_buf *held;       /* lines, each with a LF behind it; NULL: none */
    uint8_t question_count;
    bool joining; /* we are not in `current` yet: text is held */
};

static_assert(sizeof(struct raw) <= 32, "an idle TCP member costs 512 bytes in all");

/* ---- Saying something ---- */

struct line {
    struct mdg_slice a, b;
    const char *before, *between, *after;
};

static void build_line(struct mdg_writer *w, const void *arg)
{
    const struct line *l = arg;
    mdg_write_str(w, l->before);
    mdg_raw_write_clean(w, l->a);
    if (l->between)
        mdg_write_str(w, l->between);
    mdg_raw_write_clean(w, l->b);
    if (l->after)
        mdg_write_str(w, l->after);
}

static void say_built(struct mdg_peer *p, mdg_plain_build_fn build, const void *arg)
{
    struct mdg_buf *b = mdg_peer_scratch(p);
    if (mdg_plain_build(b, build, arg) < 0)
        mdg_peer_close(p, MDG_CLOSE_INTERNAL, MDG_SLICE_LIT("out of memory"));
    else
        mdg_peer_send_unit(p, mdg_buf_slice(b), NULL);
}

static void say(struct mdg_peer *p, const char *text)
{
    mdg_peer_send_unit(p, mdg_slice_str(text), NULL);
}

static void complain(struct mdg_peer *p, const char *code, const char *text)
{
    struct line l = {
        .before = "! ", .a = mdg_slice_str(code), .between = ": ", .b = mdg_slice_str(text)};
    say_built(p, build_line, &l);
}

static void complain_of(struct mdg_peer *p, int err)
{
    const char *code = err == MDG_E_SYNTAX    ? "room_invalid"
                       : err == MDG_E_TOO_BIG ? "too_big"
                       : err == MDG_E_DENIED  ? "forbidden"
                       : err == MDG_E_EXPIRED ? "expired"
                       : err == MDG_E_FULL    ? "rate_limited"
                                              : "unavailable";
    complain(p, code, mdg_strerror(err));
}

/* ---- Questions ---- */

static struct question *ask(struct mdg_peer *p, struct mdg_slice room)
{
    struct raw *raw = mdg_peer_state(p);
    if (raw->question_count >= QUESTIONS_MAX || room.len > UINT16_MAX) {
        complain(p, "rate_limited", "too many questions at once");
        return NULL;
    }
    struct question *q = malloc(sizeof *q + room.len);
    if (!q)
        return NULL;
    *q = (struct question){.peer = p, .room_len = (uint16_t)room.len};
    memcpy(q->room, room.data, room.len);
    mdg_node_push(&raw->questions, &q->in_peer);
    raw->question_count++;
    return q;
}

static void answered(struct question *q)
{
    struct raw *raw = mdg_peer_state(q->peer);
    mdg_node_remove(&q->in_peer);
    raw->question_count--;
    free(q);
}

struct users_line {
    struct mdg_slice room;
    const struct mdg_joined *info;
    bool joined; /* we have come in; else the answer to /who */
};

static void write_missing(struct mdg_writer *w, const struct mdg_joined *info)
{
    if (info->recovered) {
        mdg_write_str(w, "; nothing is missing");
        return;
    }
    mdg_write_str(w, "; not recovered, missing: ");
    if (info->missing_from == 0) {
        mdg_write_str(w, "unknown");
        return;
    }
    mdg_write_dec(w, info->missing_from);
    mdg_write_str(w, " to ");
    mdg_write_dec(w, info->missing_to);
}

static void write_resume(struct mdg_writer *w, struct mdg_slice room, struct mdg_position at)
{
    mdg_write_str(w, "; /resume ");
    mdg_raw_write_clean(w, room);
    mdg_write_u8(w, ' ');
    mdg_plain_write_position(w, at);
    mdg_write_str(w, " continues from here");
}

static void build_users(struct mdg_writer *w, const void *arg)
{
    const struct users_line *l = arg;
    mdg_write_str(w, "* [");
    mdg_raw_write_clean(w, l->room);
    mdg_write_str(w, l->joined ? "] you are in, " : "] ");
    mdg_raw_write_users(w, l->info->count, l->info->users, l->info->user_count);
    if (!l->joined)
        return;
    if (l->info->asked_resume)
        write_missing(w, l->info);
    write_resume(w, l->room, l->info->at);
}

static void on_users(void *arg, int err, const struct mdg_joined *now)
{
    struct question *q = arg;
    struct users_line l = {.room = {q->room, q->room_len}, .info = now};
    if (err < 0)
        complain_of(q->peer, err);
    else
        say_built(q->peer, build_users, &l);
    answered(q);
}

static void build_message(struct mdg_writer *w, const void *arg)
{
    mdg_raw_write_message(w, arg);
}

static void on_history(void *arg, int err, const struct mdg_history *history)
{
    struct question *q = arg;
    struct line l = {.before = "* [",
                     .a = {q->room, q->room_len},
                     .after =
                         history && history->count ? "] what was said:" : "] nothing was said yet"};
    if (err < 0) {
        complain_of(q->peer, err);
    } else {
        say_built(q->peer, build_line, &l);
        for (size_t i = 0; i < history->count; i++)
            say_built(q->peer, build_message, history->msgs[i]);
    }
    answered(q);
}

/* ---- Rooms ---- */

static struct mdg_slice current_room(const struct raw *raw)
{
    return raw->current ? mdg_channel_name(raw->current->channel) : mdg_slice(NULL, 0);
}

static void on_published(void *arg, int err, struct mdg_position at)
{
    (void)at;
    if (err < 0)
        complain_of(arg, err);
}

static void publish(struct mdg_peer *p, struct mdg_slice text)
{
    struct raw *raw = mdg_peer_state(p);
    struct mdg_session *s = mdg_peer_session(p);
    struct mdg_content *content;
    if (!raw->current) {
        complain(p, "not_joined", "you are in no room: /join NAME");
        return;
    }
    struct mdg_msg_draft draft = {.kind = MDG_MSG_TEXT,
                                  .flags = MDG_MSG_COMPRESS,
                                  .channel = current_room(raw),
                                  .sender = s->principal,
                                  .sender_session = s->id,
                                  .payload = text};
    int err = 0;
    if (!(s->principal->rights & MDG_RIGHT_PUBLISH))
        err = MDG_E_DENIED;
    else if (text.len > mdg_peers_config(mdg_peer_shared(p))->message_bytes_max)
        err = MDG_E_TOO_BIG;
    else if (!mdg_peer_may_publish(p))
        err = MDG_E_FULL;
    if (err == 0)
        err = mdg_content_new(&draft, mdg_hub_unix_ms(s->hub), &content);
    if (err == 0)
        err = mdg_hub_publish(s->hub, content, on_published, p);
    if (err < 0)
        complain_of(p, err);
}

static void say_held(struct mdg_peer *p);

static void on_joined(struct mdg_member *m, int err, const struct mdg_joined *info)
{
    struct mdg_peer *p = mdg_peer_of(m->session);
    struct raw *raw = mdg_peer_state(p);
    bool held = raw->joining && raw->current == m;
    if (held)
        raw->joining = false;
    if (err < 0) {
        complain_of(p, err);
        if (raw->current == m)
            raw->current = NULL;
    } else {
        struct users_line l = {mdg_channel_name(m->channel), info, true};
        say_built(p, build_users, &l);
    }
    if (held)
        say_held(p);
}

static void leave(struct raw *raw, struct mdg_member *m)
{
    if (raw->current == m) {
        raw->current = NULL;
        raw->joining = false;
    }
    mdg_hub_leave(m);
}

static void join(struct mdg_peer *p, struct mdg_slice room, const struct mdg_join_options *options)
{
    struct raw *raw = mdg_peer_state(p);
    struct mdg_session *s = mdg_peer_session(p);
    struct mdg_member *m = mdg_session_member(s, room);
    if (m && !options->resume && !options->history) {
        struct line l = {.before = "* [", .a = room, .after = "] is where you talk now"};
        raw->current = m;
        say_built(p, build_line, &l);
        return;
    }
    if (m)
        leave(raw, m);
    int err = mdg_hub_join(s->hub, s, room, options, &m);
    if (err < 0) {
        complain_of(p, err);
        return;
    }
    raw->current = m;
    raw->joining = true;
}

/* ---- Commands ---- */

static void do_join(struct mdg_peer *p, struct mdg_slice argument)
{
    struct mdg_slice rest, room = mdg_line_word(argument, &rest);
    struct mdg_join_options options = {0};
    uint64_t history = 0;
    if (room.len == 0 || (rest.len && mdg_slice_u64(rest, &history) < 0)) {
        complain(p, "bad_request", "/join ROOM [number of earlier messages]");
        return;
    }
    uint32_t max = mdg_peers_config(mdg_peer_shared(p))->history_max;
    options.history = history < max ? (uint32_t)history : max;
    join(p, room, &options);
}

static void do_resume(struct mdg_peer *p, struct mdg_slice argument)
{
    struct mdg_slice position, room = mdg_line_word(argument, &position);
    /* The history is for a room whose order began anew: then nobody knows what is missing. */
    struct mdg_join_options options = {.resume = true, .history = HISTORY_DEFAULT};
    if (mdg_plain_read_position(position, &options.from) < 0)
        complain(p, "bad_request", "/resume ROOM EPOCH:SEQ, as it was told when you joined");
    else
        join(p, room, &options);
}

static struct mdg_member *member_or_current(struct mdg_peer *p, struct mdg_slice room)
{
    struct raw *raw = mdg_peer_state(p);
    struct mdg_member *m = room.len ? mdg_session_member(mdg_peer_session(p), room) : raw->current;
    if (!m)
        complain(p, "not_joined", "you are not in this room");
    return m;
}

static void do_leave(struct mdg_peer *p, struct mdg_slice argument)
{
    struct raw *raw = mdg_peer_state(p);
    struct mdg_member *m = member_or_current(p, argument);
    if (!m)
        return;
    struct line l = {.before = "* [", .a = mdg_channel_name(m->channel), .after = "] you left"};
    say_built(p, build_line, &l);
    leave(raw, m);
    if (!raw->current)
        raw->current = mdg_session_first(mdg_peer_session(p));
}

static void do_who(struct mdg_peer *p, struct mdg_slice argument)
{
    struct mdg_member *m = member_or_current(p, argument);
    struct question *q = m ? ask(p, mdg_channel_name(m->channel)) : NULL;
    if (!q)
        return;
    int err = mdg_hub_presence(m->session->hub, mdg_slice(q->room, q->room_len), on_users, q);
    if (err < 0) {
        complain_of(p, err);
        answered(q);
    }
}

static void do_history(struct mdg_peer *p, struct mdg_slice argument)
{
    struct raw *raw = mdg_peer_state(p);
    uint64_t limit = HISTORY_DEFAULT;
    uint32_t max = mdg_peers_config(mdg_peer_shared(p))->history_max;
    struct mdg_member *m = raw->current;
    if (!m || (argument.len && mdg_slice_u64(argument, &limit) < 0)) {
        complain(p, m ? "bad_request" : "not_joined", "/history [number], in a room");
        return;
    }
    struct question *q = ask(p, mdg_channel_name(m->channel));
    if (!q)
        return;
    int err = mdg_hub_history(m->session->hub, mdg_slice(q->room, q->room_len), 0,
                              limit < max ? (uint32_t)limit : max, on_history, q);
    if (err < 0) {
        complain_of(p, err);
        answered(q);
    }
}

/* A name of one's own choice, a login with a password, or a signed token. */
static void become(struct mdg_peer *p, const struct mdg_handshake *hs)
{
    const struct mdg_peers_config *config = mdg_peers_config(mdg_peer_shared(p));
    struct mdg_principal *who;
    int err = config->auth ? config->auth(config->auth_arg, hs, &who) : MDG_E_UNSUPPORTED;
    if (err == MDG_E_FULL) {
        complain(p, "rate_limited", "too many logins were tried, try again later");
        return;
    }
    if (err < 0) {
        complain(p,
                 err == MDG_E_EXISTS   ? "name_taken"
                 : err == MDG_E_SYNTAX ? "name_invalid"
                                       : "forbidden",
                 err == MDG_E_EXISTS ? "somebody has this name already" : mdg_strerror(err));
        return;
    }
    struct line l = {.before = "* you are ", .a = mdg_principal_name(who)};
    mdg_session_set_principal(mdg_peer_session(p), who);
    say_built(p, build_line, &l);
    mdg_principal_unref(who);
}

static struct mdg_handshake handshake_now(struct mdg_peer *p)
{
    return (struct mdg_handshake){.carrier = mdg_peer_link(p)->carrier->name,
                                  .unix_ms = mdg_hub_unix_ms(mdg_peer_session(p)->hub)};
}

static void do_nick(struct mdg_peer *p, struct mdg_slice argument)
{
    struct mdg_handshake hs = handshake_now(p);
    hs.login = argument; /* a login without a passcode is a guest's name */
    if (argument.len)
        become(p, &hs);
    else
        complain(p, "bad_request", "/nick NAME");
}

static void do_login(struct mdg_peer *p, struct mdg_slice argument)
{
    struct mdg_handshake hs = handshake_now(p);
    uint8_t address[ADDRESS_BYTES_MAX];
    hs.address = mdg_link_address(mdg_peer_link(p), address, sizeof address);
    hs.login = mdg_line_word(argument, &hs.passcode);
    if (hs.passcode.len)
        become(p, &hs);
    else
        complain(p, "bad_request", "/login NAME PASSWORD");
}

static void do_token(struct mdg_peer *p, struct mdg_slice argument)
{
    struct mdg_handshake hs = handshake_now(p);
    hs.token = argument;
    if (argument.len)
        become(p, &hs);
    else
        complain(p, "bad_request", "/token TOKEN");
}

struct place {
    struct mdg_slice room;
    struct mdg_position at;
};

/* How far the person is there, as /resume wants it. */
static void build_place(struct mdg_writer *w, const void *arg)
{
    const struct place *place = arg;
    mdg_write_str(w, "* [");
    mdg_raw_write_clean(w, place->room);
    mdg_write_u8(w, ']');
    if (place->at.epoch == 0)
        return; /* not in yet */
    write_resume(w, place->room, place->at);
}

static void do_rooms(struct mdg_peer *p, struct mdg_slice argument)
{
    (void)argument;
    MDG_SESSION_FOR(m, mdg_peer_session(p))
    {
        struct place place = {mdg_channel_name(m->channel), mdg_member_position(m)};
        say_built(p, build_place, &place);
    }
}

static void do_json(struct mdg_peer *p, struct mdg_slice argument)
{
    (void)argument;
    mdg_peer_become(p, &mdg_plain_dialect);
}

static void do_quit(struct mdg_peer *p, struct mdg_slice argument)
{
    (void)argument;
    say(p, "* bye");
    mdg_peer_close(p, MDG_CLOSE_NORMAL, mdg_slice(NULL, 0));
}

static void do_help(struct mdg_peer *p, struct mdg_slice argument);

static const struct command {
    const char *word;
    void (*run)(struct mdg_peer *p, struct mdg_slice argument);
    const char *help;
} commands[] = {
    {"join", do_join, "* /join ROOM [N]      go to a room, with its last N messages"},
    {"leave", do_leave, "* /leave [ROOM]       leave it, or the present room"},
    {"who", do_who, "* /who [ROOM]         who is there"},
    {"history", do_history, "* /history [N]        what was said in the present room"},
    {"rooms", do_rooms, "* /rooms              the rooms that you are in, and how to come back"},
    {"nick", do_nick, "* /nick NAME          choose a name, as a guest"},
    {"login", do_login, "* /login NAME PASSWORD"},
    {"token", do_token, "* /token TOKEN        sign in with a token"},
    {"resume", do_resume, "* /resume ROOM EPOCH:SEQ  what was said since then"},
    {"json", do_json, "* /json               madang.v1 from now on: a JSON object a line"},
    {"quit", do_quit, "* /quit"},
    {"help", do_help, "* //text              says /text; anything else is said as it is"},
};

static void do_help(struct mdg_peer *p, struct mdg_slice argument)
{
    (void)argument;
    for (size_t i = 0; i < MDG_ARRAY_LEN(commands); i++)
        say(p, commands[i].help);
}

static void run_command(struct mdg_peer *p, const struct mdg_line_command *c)
{
    for (size_t i = 0; i < MDG_ARRAY_LEN(commands); i++) {
        if (mdg_slice_eq_nocase(c->word, mdg_slice_str(commands[i].word))) {
            commands[i].run(p, c->argument);
            return;
        }
    }
    complain(p, "unknown_command", "/help lists what there is");
}

/* ---- The link ---- */

static void greet(struct mdg_peer *p)
{
    struct mdg_principal *who = mdg_peer_session(p)->principal;
    struct mdg_join_options options = {0};
    struct line l = {.before = "* Welcome to madang. You are ",
                     .a = mdg_principal_name(who),
                     .between = who->guest ? ", a guest" : "",
                     .after = "; /help tells more."};
    say_built(p, build_line, &l);
    join(p, mdg_peers_config(mdg_peer_shared(p))->default_room, &options);
}

static int on_open(struct mdg_peer *p, const struct mdg_handshake *hs)
{
    (void)hs;
    greet(p);
    return 0;
}

static void free_held(struct mdg_buf *held)
{
    if (held)
        mdg_buf_fini(held);
    free(held);
}

static void on_close(struct mdg_peer *p, int code)
{
    struct raw *raw = mdg_peer_state(p);
    (void)code;
    while (raw->questions) {
        struct question *q = MDG_CONTAINER_OF(raw->questions, struct question, in_peer);
        mdg_hub_forget(mdg_peer_session(p)->hub, q);
        answered(q);
    }
    free_held(raw->held);
    raw->held = NULL;
    raw->current = NULL;
    raw->joining = false;
}

static int hold_line(struct raw *raw, struct mdg_slice line)
{
    if (!raw->held) {
        raw->held = malloc(sizeof *raw->held);
        if (!raw->held)
            return MDG_E_NO_MEMORY;
        mdg_buf_init(raw->held, HELD_BYTES_MAX);
    }
    int err = mdg_buf_reserve(raw->held, line.len + 1);
    if (err < 0)
        return err;
    (void)!mdg_buf_append(raw->held, line);
    return mdg_buf_append(raw->held, MDG_SLICE_LIT("\n"));
}

static void take_line(struct mdg_peer *p, struct mdg_slice line)
{
    struct raw *raw = mdg_peer_state(p);
    struct mdg_line_command command;
    struct mdg_slice text;
    if (raw->joining) {
        /* Somebody who pipes "/join games" and "hello" into nc means to be there when it is said.
         */
        if (hold_line(raw, line) < 0)
            complain_of(p, MDG_E_FULL);
    } else if (mdg_line_command(line, &command, &text)) {
        run_command(p, &command);
    } else if (mdg_slice_trim(text).len) {
        publish(p, text);
    }
}

/* We are in. A line may bring the next room to be entered: then what is behind it waits again,
 * where it is; attack: thousands of joins in one piece, each of which would copy the rest. */
static void say_held(struct mdg_peer *p)
{
    struct raw *raw = mdg_peer_state(p);
    const struct mdg_dialect *dialect = mdg_peer_dialect(p);
    struct mdg_buf *held = raw->held;
    if (!held)
        return;
    struct mdg_slice rest = mdg_buf_slice(held);
    raw->held = NULL;
    while (rest.len && !mdg_peer_closing(p)) {
        bool lines = mdg_peer_dialect(p) == dialect;
        if (lines && raw->joining) {
            assert(!raw->held);
            mdg_buf_consume(held, held->len - rest.len);
            raw->held = held;
            return;
        }
        struct mdg_slice line = mdg_slice_split(&rest, '\n');
        struct mdg_input in = {held->data + (line.data - held->data), line.len};
        if (lines)
            take_line(p, line);
        else if (mdg_peer_dialect(p)->on_input(p, in, true) < 0) /* "/json" was among them */
            break;
    }
    free_held(held);
}

static int on_input(struct mdg_peer *p, struct mdg_input in, bool binary)
{
    struct mdg_slice line = mdg_slice(in.data, in.len);
    if (!in.data)
        complain(p, "too_big", "the line was too long and was dropped");
    else if (binary && !mdg_utf8_valid(line))
        complain(p, "bad_text", "this is not UTF-8");
    else
        take_line(p, line);
    return 0;
}

static int on_encode(const struct mdg_msg *m, bool text_only, struct mdg_unit_sink *sink)
{
    static const struct mdg_unit_meta meta = {.compress = false};
    (void)text_only;
    int err = mdg_plain_build(sink->work, build_message, m);
    if (err < 0 || sink->work->len == 0)
        return err;
    return sink->unit(sink, mdg_buf_slice(sink->work), &meta);
}

struct gap {
    struct mdg_slice room;
    uint64_t from, to;
};

static void build_gap(struct mdg_writer *w, const void *arg)
{
    const struct gap *g = arg;
    mdg_write_str(w, "! [");
    mdg_raw_write_clean(w, g->room);
    mdg_write_str(w, "] messages ");
    mdg_write_dec(w, g->from);
    mdg_write_str(w, " to ");
    mdg_write_dec(w, g->to);
    mdg_write_str(w, " did not reach you");
}

static int on_gap(struct mdg_member *m, uint64_t from, uint64_t to)
{
    struct mdg_peer *p = mdg_peer_of(m->session);
    struct mdg_buf *b = mdg_peer_scratch(p);
    struct gap g = {mdg_channel_name(m->channel), from, to};
    if (mdg_plain_build(b, build_gap, &g) < 0)
        return MDG_E_FULL;
    int err = mdg_peer_try_unit(p, mdg_buf_slice(b), NULL);
    return err == MDG_E_FULL ? err : 0;
}

static void on_kick(struct mdg_session *s, int reason)
{
    struct mdg_peer *p = mdg_peer_of(s);
    if (reason == MDG_E_FULL)
        complain(p, "too_slow", "you could not keep up");
    else if (reason == MDG_E_EXISTS)
        complain(p, "name_taken", "somebody has proved that this name is theirs");
    else
        complain_of(p, reason);
    mdg_peer_close(p, mdg_peer_close_code(reason), mdg_slice(NULL, 0));
}

static void on_direct(struct mdg_session *s, struct mdg_msg *m)
{
    say_built(mdg_peer_of(s), build_message, m);
}

const struct mdg_dialect mdg_raw_dialect = {
    .name = "lines",
    .open = on_open,
    .on_input = on_input,
    .close = on_close,
    .encode = on_encode,
    .session = {on_joined, mdg_peer_deliver, on_gap, on_kick, on_direct, mdg_peer_close_session},
    .state_bytes = sizeof(struct raw),
};

static int quiet_open(struct mdg_peer *p, const struct mdg_handshake *hs)
{
    (void)p;
    (void)hs;
    return 0;
}

static int quiet_input(struct mdg_peer *p, struct mdg_input in, bool binary)
{
    bool json = in.len && in.data[0] == '{';
    mdg_peer_become(p, json ? &mdg_plain_dialect : &mdg_raw_dialect);
    return mdg_peer_dialect(p)->on_input(p, in, binary);
}

/* The session is in no room: only a kick comes, of one whose time is over, or a private message. */
const struct mdg_dialect mdg_raw_quiet_dialect = {
    .name = "quiet",
    .open = quiet_open,
    .on_input = quiet_input,
    .encode = on_encode,
    .session = {on_joined, mdg_peer_deliver, on_gap, on_kick, on_direct, mdg_peer_close_session},
    .state_bytes = sizeof(struct raw),
};
