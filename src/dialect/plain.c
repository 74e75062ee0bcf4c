/* madang.v1: JSON requests in, JSON answers and messages out (doc/protocols.md). */
#include "base/json.h"
#include "base/utf8.h"
#include "dialect/plain_impl.h"

/* ---- Welcome ---- */

static void build_welcome(struct mdg_writer *w, const void *arg)
{
    struct mdg_peer *p = *(struct mdg_peer *const *)arg;
    const struct mdg_session *s = mdg_peer_session(p);
    struct mdg_user user = {mdg_principal_name(s->principal), s->principal->guest};
    mdg_plain_begin(w, "welcome", mdg_slice(NULL, 0), mdg_slice(NULL, 0));
    mdg_write_str(w, ",\"user\":");
    mdg_plain_write_user(w, &user);
    mdg_write_str(w, ",\"session\":\"");
    mdg_plain_write_epoch(w, s->id);
    mdg_write_str(w, "\",\"max_message_bytes\":");
    mdg_write_dec(w, mdg_peers_config(mdg_peer_shared(p))->message_bytes_max);
    mdg_write_u8(w, '}');
}

static int on_open(struct mdg_peer *p, const struct mdg_handshake *hs)
{
    (void)hs;
    mdg_plain_send_event(p, MDG_SLICE_LIT("welcome"), mdg_slice(NULL, 0), build_welcome, &p);
    return 0;
}

static void on_close(struct mdg_peer *p, int code)
{
    struct plain *plain = mdg_peer_state(p);
    (void)code;
    while (plain->requests) {
        struct mdg_plain_request *r =
            MDG_CONTAINER_OF(plain->requests, struct mdg_plain_request, in_peer);
        mdg_hub_forget(mdg_peer_session(p)->hub, r);
        mdg_plain_request_free(r);
    }
}

/* ---- Join and leave ---- */

struct joined_answer {
    struct mdg_slice id, room;
    const struct mdg_joined *info;
};

static void build_joined(struct mdg_writer *w, const void *arg)
{
    const struct joined_answer *a = arg;
    const struct mdg_joined *info = a->info;
    mdg_plain_begin(w, "joined", a->room, a->id);
    mdg_plain_write_at(w, info->at);
    mdg_write_str(w, info->recovered ? ",\"recovered\":true" : ",\"recovered\":false");
    if (info->asked_resume && !info->recovered) {
        mdg_write_str(w, ",\"missing\":");
        if (info->missing_from) {
            mdg_write_u8(w, '[');
            mdg_write_dec(w, info->missing_from);
            mdg_write_u8(w, ',');
            mdg_write_dec(w, info->missing_to);
            mdg_write_u8(w, ']');
        } else {
            mdg_write_str(w, "null"); /* another epoch: nobody knows how many */
        }
    }
    mdg_write_str(w, ",\"count\":");
    mdg_write_dec(w, info->count);
    if (info->users) {
        mdg_write_str(w, ",\"users\":");
        mdg_plain_write_users(w, info->users, info->user_count);
    }
    mdg_write_u8(w, '}');
}

static void on_joined(struct mdg_member *m, int err, const struct mdg_joined *info)
{
    struct mdg_peer *p = mdg_peer_of(m->session);
    struct mdg_plain_request *r = m->cookie;
    struct mdg_slice room = mdg_channel_name(m->channel);
    struct mdg_slice id = r ? mdg_plain_request_id(r) : mdg_slice(NULL, 0);
    if (err < 0) {
        mdg_plain_send_hub_error(p, id, room, err);
    } else {
        struct joined_answer a = {id, room, info};
        uint8_t token[MDG_PLAIN_TOKEN_BYTES_MAX];
        struct mdg_writer w;
        /* On an event stream: where to go on if the connection breaks before any message. */
        mdg_writer_init(&w, token, sizeof token);
        if (mdg_peer_link(p)->carrier->one_way)
            mdg_plain_write_token(&w, p);
        if (!mdg_writer_fits(&w))
            w.len = 0;
        mdg_plain_send_event(p, MDG_SLICE_LIT("joined"), mdg_slice(token, w.len), build_joined, &a);
    }
    m->cookie = NULL;
    mdg_plain_request_free(r);
}

static void leave(struct mdg_member *m)
{
    mdg_plain_request_free(m->cookie);
    mdg_hub_leave(m);
}

static int join(struct mdg_peer *p, struct mdg_slice id, struct mdg_slice room,
                struct mdg_join_options *options)
{
    struct mdg_session *s = mdg_peer_session(p);
    struct mdg_member *m = mdg_session_member(s, room);
    if (m) /* once more: from the start */
        leave(m);
    struct mdg_plain_request *r = mdg_plain_request_new(p, id, room);
    if (!r)
        return MDG_E_FULL;
    options->cookie = r;
    int err = mdg_hub_join(s->hub, s, room, options, &m);
    if (err < 0)
        mdg_plain_request_free(r);
    return err;
}

int mdg_plain_join(struct mdg_peer *p, struct mdg_slice room, uint32_t history,
                   const struct mdg_position *resume)
{
    uint32_t max = mdg_peers_config(mdg_peer_shared(p))->history_max;
    struct mdg_join_options options = {.history = history < max ? history : max};
    if (resume && resume->epoch) {
        options.resume = true;
        options.from = *resume;
    }
    return join(p, mdg_slice(NULL, 0), room, &options);
}

/* ---- Requests ---- */

/* {"epoch":"..","seq":12}, or the token "epoch:seq". False: answered with an error. */
static bool read_resume(struct mdg_plain_call *c, struct mdg_join_options *options)
{
    struct mdg_slice resume = c->f.resume, epoch, seq;
    if (resume.len == 0 || mdg_json_type(resume) == MDG_JSON_NULL)
        return true;
    options->resume = true;
    if (mdg_json_type(resume) == MDG_JSON_STRING) {
        if (mdg_plain_string(c->in, &resume) == 0 &&
            mdg_plain_read_position(resume, &options->from) == 0)
            return true;
    } else if (mdg_json_find(resume, MDG_SLICE_LIT("epoch"), &epoch) &&
               mdg_json_find(resume, MDG_SLICE_LIT("seq"), &seq) &&
               mdg_plain_string(c->in, &epoch) == 0 &&
               mdg_plain_read_epoch(epoch, &options->from.epoch) == 0 &&
               mdg_json_u64(seq, &options->from.seq) == 0) {
        return true;
    }
    mdg_plain_bad_request(c, "resume is {\"epoch\":\"16 hex digits\",\"seq\":number}");
    return false;
}

static void do_join(struct mdg_plain_call *c)
{
    uint64_t history;
    uint32_t max = mdg_peers_config(mdg_peer_shared(c->peer))->history_max;
    struct mdg_join_options options = {0};
    if (!read_resume(c, &options) || !mdg_plain_read_number(c, c->f.history, 0, &history))
        return;
    options.history = history < max ? (uint32_t)history : max;
    int err = join(c->peer, c->f.id, c->f.room, &options);
    if (err < 0)
        mdg_plain_send_hub_error(c->peer, c->f.id, c->f.room, err);
}

static void do_leave(struct mdg_plain_call *c)
{
    struct mdg_member *m = mdg_session_member(mdg_peer_session(c->peer), c->f.room);
    if (!m) {
        mdg_plain_send_error(c->peer, c->f.id, c->f.room, "not_joined", "you are not in this room");
        return;
    }
    leave(m);
    mdg_plain_send_simple(c->peer, "left", c->f.id, c->f.room);
}

static void do_ping(struct mdg_plain_call *c)
{
    mdg_plain_send_simple(c->peer, "pong", c->f.id, mdg_slice(NULL, 0));
}

static const struct {
    const char *type;
    void (*fn)(struct mdg_plain_call *c);
    bool wants_room;
} calls[] = {
    {"publish", mdg_plain_do_publish, true},
    {"join", do_join, true},
    {"leave", do_leave, true},
    {"history", mdg_plain_do_history, true},
    {"ping", do_ping, false},
    {"presence", mdg_plain_do_presence, true},
    {"refresh", mdg_plain_do_refresh, false},
    {"rooms", mdg_plain_do_rooms, false},
};

/* An id is echoed as it came, so it must be small and flat. */
static bool check_id(struct mdg_plain_call *c)
{
    enum mdg_json_type type = mdg_json_type(c->f.id);
    if (type == MDG_JSON_NULL)
        c->f.id = mdg_slice(NULL, 0);
    if (c->f.id.len == 0 || ((type == MDG_JSON_STRING || type == MDG_JSON_NUMBER) &&
                             c->f.id.len <= MDG_PLAIN_ID_BYTES_MAX))
        return true;
    c->f.id = mdg_slice(NULL, 0);
    mdg_plain_bad_request(c, "id is a number or a short string");
    return false;
}

static bool check_room(struct mdg_plain_call *c)
{
    const struct mdg_hub *h = mdg_peer_session(c->peer)->hub;
    if (mdg_plain_string(c->in, &c->f.room) == 0 && mdg_channel_name_ok(h, c->f.room))
        return true;
    c->f.room = mdg_slice(NULL, 0);
    mdg_plain_send_error(c->peer, c->f.id, c->f.room, "room_invalid",
                         "room is a short name without control characters");
    return false;
}

static int on_input(struct mdg_peer *p, struct mdg_input in, bool binary)
{
    struct mdg_plain_call c = {.peer = p, .in = in};
    struct mdg_slice none = mdg_slice(NULL, 0);
    if (binary && !mdg_utf8_valid(mdg_slice(in.data, in.len))) {
        mdg_plain_send_error(p, none, none, "bad_json", "this is not UTF-8");
        return 0;
    }
    int err = mdg_plain_read(in, &c.f);
    if (err < 0) {
        mdg_plain_send_error(p, none, none, err == MDG_E_PROTO ? "bad_request" : "bad_json",
                             err == MDG_E_PROTO ? "a request is a JSON object"
                                                : "this is not JSON");
        return 0;
    }
    struct mdg_slice room = c.f.room;
    c.f.room = none; /* raw until it was checked: not for an error's answer */
    if (!check_id(&c))
        return 0;
    for (size_t i = 0; i < MDG_ARRAY_LEN(calls); i++) {
        if (!mdg_json_string_eq(c.f.type, mdg_slice_str(calls[i].type)))
            continue;
        c.f.room = room;
        if (!calls[i].wants_room || check_room(&c))
            calls[i].fn(&c);
        return 0;
    }
    mdg_plain_send_error(p, c.f.id, none, "unknown_type", "there is no such request");
    return 0;
}

const struct mdg_dialect mdg_plain_dialect = {
    .name = "madang.v1",
    .open = on_open,
    .on_input = on_input,
    .close = on_close,
    .encode = mdg_plain_encode,
    .session = {on_joined, mdg_plain_deliver, mdg_plain_gap, mdg_plain_kick, mdg_plain_direct,
                mdg_peer_close_session},
    .state_bytes = sizeof(struct plain),
};
