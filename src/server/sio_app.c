/* Socket.IO in `madang serve`: /socket.io/ with a few events that lead to the same rooms as
 * everything else. doc/protocols.md describes them; names and members are those of madang.v1.
 *
 *     socket.emit("join", {room: "lobby", history: 50}, answer => ...)
 *     socket.emit("publish", {room: "lobby", text: "hi"}, answer => ...)
 *     socket.on("message", m => ...) */
#include "base/json.h"
#include "base/utf8.h"
#include "dialect/plain.h"
#include "server/mount.h"
#include "server/sio.h"
#include <stdlib.h>

enum { ROOMS_SHOWN_MAX = 100 };

/* An event while it is handled, and what must be remembered of it until its answer. */
struct call {
    struct mdg_sio_place *place;
    struct mdg_sio_socket *socket;
    const struct mdg_sio_args *args;
    struct mdg_input in; /* the argument, ours to change */
    struct mdg_plain_fields f;
};

struct asked {
    struct mdg_sio_place *place;
    uint64_t socket, ack_id;
    bool wanted;
};

static void answer_text(struct mdg_sio_place *p, uint64_t socket, bool wanted, uint64_t ack_id,
                        struct mdg_slice args)
{
    struct mdg_sio_socket *s = wanted ? mdg_sio_find(p->sio, socket) : NULL;
    const struct mdg_sio_emit e = {.args = args};
    if (s)
        (void)!mdg_sio_ack(s, ack_id, &e);
}

/* An answer is built twice at most: mdg_plain_build finds its length. */
static void answer_built(const struct asked *a, mdg_plain_build_fn build, const void *arg)
{
    struct mdg_buf b;
    mdg_buf_init(&b, 16 << 20);
    if (mdg_plain_build(&b, build, arg) == 0)
        answer_text(a->place, a->socket, a->wanted, a->ack_id, mdg_buf_slice(&b));
    mdg_buf_fini(&b);
}

struct failure {
    const char *code, *message;
};

static void build_failure(struct mdg_writer *w, const void *arg)
{
    const struct failure *f = arg;
    mdg_write_str(w, "[{\"error\":{\"code\":\"");
    mdg_write_str(w, f->code);
    mdg_write_str(w, "\",\"message\":");
    mdg_write_json_string(w, mdg_slice_str(f->message));
    mdg_write_str(w, "}}]");
}

static struct asked asked_of(const struct call *c)
{
    return (struct asked){c->place, mdg_sio_id(c->socket), c->args->ack_id, c->args->wants_ack};
}

static void fail(const struct asked *a, const char *code, const char *message)
{
    const struct failure f = {code, message};
    answer_built(a, build_failure, &f);
}

static void fail_call(const struct call *c, const char *code, const char *message)
{
    struct asked a = asked_of(c);
    fail(&a, code, message);
}

static const char *code_of(int err)
{
    switch (err) {
    case MDG_E_SYNTAX:
        return "room_invalid";
    case MDG_E_TOO_BIG:
        return "too_big";
    case MDG_E_DENIED:
        return "forbidden";
    case MDG_E_FULL:
        return "rate_limited";
    default:
        return "unavailable";
    }
}

static struct asked *remember(const struct call *c)
{
    struct asked *a = malloc(sizeof *a);
    if (a)
        *a = asked_of(c);
    else
        fail_call(c, "unavailable", "out of memory");
    return a;
}

/* The question was not even put: its function will not be called. */
static void not_asked(struct asked *a, int err)
{
    fail(a, code_of(err), mdg_strerror(err));
    free(a);
}

/* ---- join and leave ---- */

struct joined {
    struct mdg_slice room;
    const struct mdg_joined *info;
};

static void write_at(struct mdg_writer *w, struct mdg_position at)
{
    mdg_write_str(w, "\"epoch\":\"");
    mdg_plain_write_epoch(w, at.epoch);
    mdg_write_str(w, "\",\"seq\":");
    mdg_write_dec(w, at.seq);
}

static void write_users(struct mdg_writer *w, const struct mdg_joined *info)
{
    mdg_write_str(w, ",\"count\":");
    mdg_write_dec(w, info->count);
    if (info->users) {
        mdg_write_str(w, ",\"users\":");
        mdg_plain_write_users(w, info->users, info->user_count);
    }
}

static void build_joined(struct mdg_writer *w, const void *arg)
{
    const struct joined *j = arg;
    mdg_write_str(w, "[{\"room\":");
    mdg_write_json_string(w, j->room);
    mdg_write_u8(w, ',');
    write_at(w, j->info->at);
    mdg_write_str(w, ",\"recovered\":");
    mdg_write_str(w, j->info->recovered ? "true" : "false");
    write_users(w, j->info);
    if (j->info->asked_resume && !j->info->recovered) {
        mdg_write_str(w, ",\"missing\":[");
        mdg_write_dec(w, j->info->missing_from);
        mdg_write_u8(w, ',');
        mdg_write_dec(w, j->info->missing_to);
        mdg_write_u8(w, ']');
    }
    mdg_write_str(w, "}]");
}

/* A member's cookie is its join's ack id, shifted so that it is never NULL: 0 was not wanted. */
static void *cookie_of(const struct call *c)
{
    return (void *)(uintptr_t)(c->args->wants_ack ? c->args->ack_id * 2 + 3 : 1);
}

static void on_joined(void *arg, struct mdg_sio_socket *s, struct mdg_member *m, int err,
                      const struct mdg_joined *info)
{
    uintptr_t cookie = (uintptr_t)m->cookie;
    struct asked a = {arg, mdg_sio_id(s), (cookie - 3) / 2, cookie >= 3};
    if (err < 0) {
        fail(&a, code_of(err), mdg_strerror(err));
        return;
    }
    struct joined j = {mdg_channel_name(m->channel), info};
    answer_built(&a, build_joined, &j);
}

static bool read_u32(struct mdg_slice value, uint32_t *out)
{
    uint64_t n;
    if (!value.len)
        return true;
    if (mdg_json_u64(value, &n) < 0)
        return false;
    *out = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
    return true;
}

static bool read_resume(struct mdg_slice resume, struct mdg_position *at)
{
    struct mdg_slice epoch, seq;
    bool escaped;
    return mdg_json_find(resume, MDG_SLICE_LIT("epoch"), &epoch) &&
           mdg_json_find(resume, MDG_SLICE_LIT("seq"), &seq) &&
           mdg_plain_read_epoch(mdg_json_inside(epoch, &escaped), &at->epoch) == 0 &&
           mdg_json_u64(seq, &at->seq) == 0;
}

static void do_join(struct call *c)
{
    struct mdg_session *session = mdg_sio_session(c->socket);
    struct mdg_join_options options = {.cookie = cookie_of(c)};
    struct mdg_member *member;
    if (!read_u32(c->f.history, &options.history) ||
        (c->f.resume.len && !read_resume(c->f.resume, &options.from))) {
        fail_call(c, "bad_request", "history is a number, resume is {epoch, seq}");
        return;
    }
    options.resume = c->f.resume.len > 0;
    uint64_t most = c->place->io->server->params.history_max;
    if (options.history > most)
        options.history = (uint32_t)most;
    if (mdg_session_member(session, c->f.room)) {
        fail_call(c, "bad_request", "you are in this room already");
        return;
    }
    int err = mdg_hub_join(session->hub, session, c->f.room, &options, &member);
    if (err < 0)
        fail_call(c, code_of(err), mdg_strerror(err));
}

static void build_left(struct mdg_writer *w, const void *arg)
{
    mdg_write_str(w, "[{\"room\":");
    mdg_write_json_string(w, *(const struct mdg_slice *)arg);
    mdg_write_str(w, "}]");
}

static void do_leave(struct call *c)
{
    struct mdg_member *m = mdg_session_member(mdg_sio_session(c->socket), c->f.room);
    struct asked a = asked_of(c);
    if (!m || !m->cookie) {
        fail_call(c, "not_joined", "you are not in this room");
        return;
    }
    mdg_hub_leave(m);
    answer_built(&a, build_left, &c->f.room);
}

/* ---- publish ---- */

static void build_published(struct mdg_writer *w, const void *arg)
{
    mdg_write_str(w, "[{");
    write_at(w, *(const struct mdg_position *)arg);
    mdg_write_str(w, "}]");
}

static void on_published(void *arg, int err, struct mdg_position at)
{
    struct asked *a = arg;
    if (err < 0)
        fail(a, code_of(err), mdg_strerror(err));
    else
        answer_built(a, build_published, &at);
    free(a);
}

/* data may be an attachment: then the message is binary. */
static int payload_of(struct call *c, struct mdg_msg_draft *draft)
{
    uint64_t num;
    if (c->args->attachment_count == 0 || !mdg_sio_placeholder(c->f.data, &num))
        return mdg_plain_payload(c->in, &c->f, draft);
    draft->kind = MDG_MSG_BINARY;
    draft->payload = mdg_chunk_slice(&c->args->attachments[num]);
    return 0;
}

static void publish_draft(struct call *c, const struct mdg_msg_draft *draft)
{
    struct mdg_hub *hub = mdg_sio_session(c->socket)->hub;
    struct mdg_content *content;
    struct asked *a = remember(c);
    if (!a)
        return;
    int err = mdg_content_new(draft, mdg_hub_unix_ms(hub), &content);
    if (err == 0)
        err = mdg_hub_publish(hub, content, on_published, a);
    if (err < 0)
        not_asked(a, err);
}

static void do_publish(struct call *c)
{
    struct mdg_session *s = mdg_sio_session(c->socket);
    struct mdg_msg_draft draft = {.channel = c->f.room,
                                  .sender = s->principal,
                                  .sender_session = s->id,
                                  .flags = MDG_MSG_COMPRESS};
    if (!(s->principal->rights & MDG_RIGHT_PUBLISH))
        fail_call(c, "forbidden", "you may not publish");
    else if (!mdg_session_member(s, c->f.room))
        fail_call(c, "not_joined", "join the room first");
    else if (payload_of(c, &draft) < 0)
        fail_call(c, "bad_request",
                  "a publication has exactly one of text (a string), data (any "
                  "JSON, or binary) and base64 (a string)");
    else
        publish_draft(c, &draft);
}

/* ---- questions ---- */

static void build_history(struct mdg_writer *w, const void *arg)
{
    const struct mdg_history *h = arg;
    mdg_write_str(w, "[{\"messages\":[");
    for (size_t i = 0; i < h->count; i++) {
        if (i > 0)
            mdg_write_u8(w, ',');
        mdg_plain_write_message(w, h->msgs[i]);
    }
    mdg_write_str(w, h->more ? "],\"more\":true}]" : "],\"more\":false}]");
}

static void on_history(void *arg, int err, const struct mdg_history *history)
{
    struct asked *a = arg;
    if (err < 0)
        fail(a, code_of(err), mdg_strerror(err));
    else
        answer_built(a, build_history, history);
    free(a);
}

static bool may_read(const struct call *c)
{
    if (mdg_sio_session(c->socket)->principal->rights & MDG_RIGHT_SUBSCRIBE)
        return true;
    fail_call(c, "forbidden", "you may not read this room");
    return false;
}

static void do_history(struct call *c)
{
    uint32_t limit = 50;
    uint64_t before = 0, most = c->place->io->server->params.history_max;
    if (!may_read(c))
        return;
    if (!read_u32(c->f.limit, &limit) ||
        (c->f.before.len && mdg_json_u64(c->f.before, &before) < 0)) {
        fail_call(c, "bad_request", "limit and before are numbers");
        return;
    }
    struct asked *a = remember(c);
    if (!a)
        return;
    int err = mdg_hub_history(mdg_sio_session(c->socket)->hub, c->f.room, before,
                              limit > most ? (uint32_t)most : limit, on_history, a);
    if (err < 0)
        not_asked(a, err);
}

static void build_presence(struct mdg_writer *w, const void *arg)
{
    mdg_write_str(w, "[{\"ok\":true");
    write_users(w, arg);
    mdg_write_str(w, "}]");
}

static void on_presence(void *arg, int err, const struct mdg_joined *now)
{
    struct asked *a = arg;
    if (err < 0)
        fail(a, code_of(err), mdg_strerror(err));
    else
        answer_built(a, build_presence, now);
    free(a);
}

static void do_presence(struct call *c)
{
    if (!may_read(c))
        return;
    struct asked *a = remember(c);
    if (!a)
        return;
    int err = mdg_hub_presence(mdg_sio_session(c->socket)->hub, c->f.room, on_presence, a);
    if (err < 0)
        not_asked(a, err);
}

struct rooms {
    const struct mdg_room_info *rows;
    size_t count;
};

static void build_rooms(struct mdg_writer *w, const void *arg)
{
    const struct rooms *r = arg;
    mdg_write_str(w, "[{\"rooms\":[");
    for (size_t i = 0; i < r->count; i++) {
        mdg_write_str(w, i > 0 ? ",{\"room\":" : "{\"room\":");
        mdg_write_json_string(w, r->rows[i].name);
        mdg_write_str(w, ",\"count\":");
        mdg_write_dec(w, r->rows[i].count);
        mdg_write_u8(w, '}');
    }
    mdg_write_str(w, "]}]");
}

static void on_rooms(void *arg, int err, const struct mdg_room_info *rows, size_t count)
{
    struct asked *a = arg;
    const struct rooms r = {rows, count};
    if (err < 0)
        fail(a, code_of(err), mdg_strerror(err));
    else
        answer_built(a, build_rooms, &r);
    free(a);
}

static void do_rooms(struct call *c)
{
    struct asked *a = remember(c);
    if (!a)
        return;
    int err = mdg_hub_rooms(mdg_sio_session(c->socket)->hub, ROOMS_SHOWN_MAX, on_rooms, a);
    if (err < 0)
        not_asked(a, err);
}

/* ---- events ---- */

static const struct {
    const char *name;
    void (*fn)(struct call *c);
    bool needs_room;
} events[] = {
    {"publish", do_publish, true}, {"join", do_join, true},         {"leave", do_leave, true},
    {"history", do_history, true}, {"presence", do_presence, true}, {"rooms", do_rooms, false},
};

/* The first argument: an object, or a room's name alone. */
static bool read_argument(struct call *c, struct mdg_buf *room)
{
    struct mdg_json_iter it;
    struct mdg_slice first = MDG_SLICE_LIT("{}");
    if (mdg_json_array(c->args->args, &it))
        (void)mdg_json_element(&it, &first);
    mdg_buf_init(room, first.len + 16);
    if (mdg_json_type(first) == MDG_JSON_STRING) {
        if (mdg_buf_append(room, MDG_SLICE_LIT("{\"room\":")) < 0 ||
            mdg_buf_append(room, first) < 0 || mdg_buf_append(room, MDG_SLICE_LIT("}")) < 0)
            return false;
    } else if (mdg_buf_append(room, first) < 0) {
        return false;
    }
    c->in = (struct mdg_input){room->data, room->len};
    return mdg_plain_read(c->in, &c->f) == 0;
}

static void on_event(void *arg, struct mdg_sio_socket *s, const struct mdg_sio_args *args)
{
    struct call c = {.place = arg, .socket = s, .args = args};
    struct mdg_buf room;
    size_t i = 0;
    while (i < MDG_ARRAY_LEN(events) && !mdg_slice_eq(args->event, mdg_slice_str(events[i].name)))
        i++;
    if (i == MDG_ARRAY_LEN(events)) {
        fail_call(&c, "unknown_type",
                  "the events are join, leave, publish, history, presence and rooms");
        return;
    }
    if (!read_argument(&c, &room))
        fail_call(&c, "bad_request", "the argument is an object");
    else if (events[i].needs_room && mdg_plain_string(c.in, &c.f.room) < 0)
        fail_call(&c, "bad_request", "room is a string");
    else
        events[i].fn(&c);
    mdg_buf_fini(&room);
}

static struct mdg_principal *principal(void *arg, const struct mdg_handshake *hs)
{
    struct mdg_sio_place *p = arg;
    struct mdg_principal *who;
    return mdg_auth_handshake(&p->io->server->auth, hs, &who) == 0 ? who : NULL;
}

static bool namespace_known(void *arg, struct mdg_slice name, void **data)
{
    *data = NULL;
    (void)arg;
    return mdg_slice_eq(name, MDG_SLICE_LIT("/"));
}

/* auth: {token: "..."} is as good as a cookie. */
static void on_connect(void *arg, struct mdg_sio_socket *s)
{
    struct mdg_sio_place *p = arg;
    struct mdg_slice token;
    struct mdg_principal *who;
    bool escaped;
    if (mdg_json_find(mdg_sio_auth(s), MDG_SLICE_LIT("token"), &token) &&
        mdg_json_type(token) == MDG_JSON_STRING) {
        int err = mdg_auth_token(&p->io->server->auth, mdg_json_inside(token, &escaped),
                                 mdg_loop_unix_ms(p->worker->loop), &who);
        if (err < 0) {
            mdg_sio_refuse(s, mdg_slice_str(err == MDG_E_EXPIRED ? "expired" : "denied"),
                           mdg_slice(NULL, 0));
            return;
        }
        mdg_session_set_principal(mdg_sio_session(s), who);
        mdg_principal_unref(who);
    }
    mdg_sio_admit(s);
}

static void build_welcome(struct mdg_writer *w, const void *arg)
{
    struct mdg_sio_socket *s = *(struct mdg_sio_socket *const *)arg;
    const struct mdg_principal *who = mdg_sio_session(s)->principal;
    const struct mdg_user user = {mdg_principal_name(who), who->guest};
    mdg_write_str(w, "[{\"user\":");
    mdg_plain_write_user(w, &user);
    mdg_write_str(w, ",\"session\":");
    mdg_write_json_string(w, mdg_sio_sid(s));
    mdg_write_str(w, "}]");
}

static void on_connection(void *arg, struct mdg_sio_socket *s)
{
    struct mdg_buf b;
    (void)arg;
    if (mdg_sio_recovered(s))
        return;
    mdg_buf_init(&b, 4096);
    if (mdg_plain_build(&b, build_welcome, &s) == 0) {
        const struct mdg_sio_emit e = {
            .event = MDG_SLICE_LIT("welcome"), .args = mdg_buf_slice(&b), .once = true};
        (void)!mdg_sio_emit(s, &e);
    }
    mdg_buf_fini(&b);
}

static void foreign_args(void *arg, const struct mdg_msg *m, struct mdg_writer *w)
{
    (void)arg;
    mdg_write_u8(w, '[');
    mdg_plain_write_message(w, m);
    mdg_write_u8(w, ']');
}

static void random_bytes(void *arg, void *out, size_t len)
{
    mdg_loop_random(((struct mdg_sio_place *)arg)->worker->loop, out, len);
}

static const struct mdg_sio_hooks hooks = {
    .principal = principal,
    .namespace_known = namespace_known,
    .on_connect = on_connect,
    .on_connection = on_connection,
    .on_event = on_event,
    .foreign_args = foreign_args,
    .on_joined = on_joined,
    .random = random_bytes,
    .keep = mdg_sio_keep,
    .on_elsewhere = mdg_sio_tunnel,
};

/* madang.v1 over Engine.IO alone. */
static int open_plain(struct mdg_worker *w, struct mdg_link *l, const struct mdg_handshake *hs)
{
    struct mdg_principal *who;
    struct mdg_peer *peer;
    int err = mdg_auth_handshake(&w->server->auth, hs, &who);
    if (err < 0)
        return err;
    err = mdg_peer_new(w->peers, &mdg_plain_dialect, who, &peer);
    mdg_principal_unref(who);
    if (err < 0)
        return err;
    l->user = &mdg_peer_link_user;
    l->user_arg = peer;
    mdg_peer_attach(peer, l, hs);
    return 0;
}

static int mount_raw(struct madang *server, const struct madang_sio_options *options)
{
    struct madang_sio *io;
    int err = mdg_sio_endpoint_new(server, "/engine.io", options, true, &io);
    if (err == 0)
        io->open_raw = open_plain;
    return err;
}

int mdg_mount_sio(struct madang *server)
{
    struct madang_sio_options options;
    struct madang_sio *io;
    madang_sio_options_init(&options);
    options.allow_eio3 = server->params.allow_eio3;
    options.keep_handshake = false;
    options.recovery = true;
    int err = mdg_sio_endpoint_new(server, "/socket.io", &options, false, &io);
    if (err < 0)
        return err;
    io->hooks = &hooks;
    io->sio_options.foreign_args = true;
    return mount_raw(server, &options);
}
