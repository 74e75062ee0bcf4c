/* madang.v1: JSON requests in, JSON answers and messages out (doc/protocols.md). */
#include "dialect/plain.h"
#include "base/json.h"
#include "base/utf8.h"
#include <stdlib.h>

enum { TOKEN_BYTES_MAX = 4096, HISTORY_BYTES_FACTOR = 4 };

/* A request that waits for the hub. */
struct request {
    struct mdg_list in_peer;
    struct mdg_peer *peer;
    uint16_t id_len, room_len;
    uint8_t text[]; /* the id as JSON, then the room */
};

struct plain {
    struct mdg_list requests;
    uint32_t request_count;
};

static struct mdg_slice request_id(const struct request *r)
{
    return mdg_slice(r->text, r->id_len);
}

static struct mdg_slice request_room(const struct request *r)
{
    return mdg_slice(r->text + r->id_len, r->room_len);
}

static struct request *new_request(struct mdg_peer *p, struct mdg_slice id, struct mdg_slice room)
{
    struct plain *plain = mdg_peer_state(p);
    const struct mdg_peers_config *config = mdg_peers_config(mdg_peer_shared(p));
    if (plain->request_count >= config->requests_max || room.len > UINT16_MAX)
        return NULL;
    struct request *r = malloc(sizeof *r + id.len + room.len);
    if (!r)
        return NULL;
    *r = (struct request){.peer = p, .id_len = (uint16_t)id.len, .room_len = (uint16_t)room.len};
    if (id.len)
        memcpy(r->text, id.data, id.len);
    if (room.len)
        memcpy(r->text + id.len, room.data, room.len);
    mdg_list_push(&plain->requests, &r->in_peer);
    plain->request_count++;
    return r;
}

static void free_request(struct request *r)
{
    if (!r)
        return;
    struct plain *plain = mdg_peer_state(r->peer);
    mdg_list_remove(&r->in_peer);
    plain->request_count--;
    free(r);
}

/* ---- Answers ---- */

static void send_event(struct mdg_peer *p, struct mdg_slice event, struct mdg_slice id,
                       mdg_plain_build_fn build, const void *arg)
{
    struct mdg_buf *b = mdg_peer_scratch(p);
    if (mdg_plain_build(b, build, arg) < 0) {
        mdg_peer_close(p, MDG_CLOSE_INTERNAL, MDG_SLICE_LIT("out of memory"));
        return;
    }
    struct mdg_unit_meta meta = {.id = id, .event = event, .compress = true};
    mdg_peer_send_unit(p, mdg_buf_slice(b), &meta);
}

static void send_built(struct mdg_peer *p, mdg_plain_build_fn build, const void *arg)
{
    send_event(p, mdg_slice(NULL, 0), mdg_slice(NULL, 0), build, arg);
}

/* {"type":"...","room":"...","id":... : how every answer begins. */
static void begin(struct mdg_writer *w, const char *type, struct mdg_slice room,
                  struct mdg_slice id)
{
    mdg_write_str(w, "{\"type\":\"");
    mdg_write_str(w, type);
    mdg_write_u8(w, '"');
    if (room.len) {
        mdg_write_str(w, ",\"room\":");
        mdg_write_json_string(w, room);
    }
    if (id.len) {
        mdg_write_str(w, ",\"id\":");
        mdg_write_slice(w, id);
    }
}

static void write_at(struct mdg_writer *w, struct mdg_position at)
{
    mdg_write_str(w, ",\"epoch\":\"");
    mdg_plain_write_epoch(w, at.epoch);
    mdg_write_str(w, "\",\"seq\":");
    mdg_write_dec(w, at.seq);
}

struct error_answer {
    struct mdg_slice id, room;
    const char *code, *message;
};

static void build_error(struct mdg_writer *w, const void *arg)
{
    const struct error_answer *a = arg;
    begin(w, "error", a->room, a->id);
    mdg_write_str(w, ",\"code\":\"");
    mdg_write_str(w, a->code);
    mdg_write_str(w, "\",\"message\":");
    mdg_write_json_string(w, mdg_slice_str(a->message));
    mdg_write_u8(w, '}');
}

static void send_error(struct mdg_peer *p, struct mdg_slice id, struct mdg_slice room,
                       const char *code, const char *message)
{
    struct error_answer a = {id, room, code, message};
    send_built(p, build_error, &a);
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
    case MDG_E_EXPIRED:
        return "expired";
    case MDG_E_FULL:
        return "rate_limited";
    default:
        return "unavailable";
    }
}

static void send_hub_error(struct mdg_peer *p, struct mdg_slice id, struct mdg_slice room, int err)
{
    send_error(p, id, room, code_of(err), mdg_strerror(err));
}

struct simple_answer {
    const char *type;
    struct mdg_slice id, room;
    bool has_at;
    struct mdg_position at;
    const char *number_name; /* NULL: none */
    uint64_t number;
};

static void build_simple(struct mdg_writer *w, const void *arg)
{
    const struct simple_answer *a = arg;
    begin(w, a->type, a->room, a->id);
    if (a->has_at)
        write_at(w, a->at);
    if (a->number_name) {
        mdg_write_str(w, ",\"");
        mdg_write_str(w, a->number_name);
        mdg_write_str(w, "\":");
        mdg_write_dec(w, a->number);
    }
    mdg_write_u8(w, '}');
}

static void send_simple(struct mdg_peer *p, const char *type, struct mdg_slice id,
                        struct mdg_slice room)
{
    struct simple_answer a = {.type = type, .id = id, .room = room};
    send_built(p, build_simple, &a);
}

/* ---- Welcome ---- */

static void build_welcome(struct mdg_writer *w, const void *arg)
{
    struct mdg_peer *p = *(struct mdg_peer *const *)arg;
    const struct mdg_session *s = mdg_peer_session(p);
    struct mdg_user user = {mdg_principal_name(s->principal), s->principal->guest};
    begin(w, "welcome", mdg_slice(NULL, 0), mdg_slice(NULL, 0));
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
    struct plain *plain = mdg_peer_state(p);
    (void)hs;
    mdg_list_init(&plain->requests);
    send_event(p, MDG_SLICE_LIT("welcome"), mdg_slice(NULL, 0), build_welcome, &p);
    return 0;
}

static void on_close(struct mdg_peer *p, int code)
{
    struct plain *plain = mdg_peer_state(p);
    (void)code;
    if (!plain->requests.next)
        return;
    while (!mdg_list_empty(&plain->requests)) {
        struct request *r =
            MDG_CONTAINER_OF(mdg_list_first(&plain->requests), struct request, in_peer);
        mdg_hub_forget(mdg_peer_session(p)->hub, r);
        free_request(r);
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
    begin(w, "joined", a->room, a->id);
    write_at(w, info->at);
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
    struct request *r = m->cookie;
    struct mdg_slice room = mdg_channel_name(m->channel);
    struct mdg_slice id = r ? request_id(r) : mdg_slice(NULL, 0);
    if (err < 0) {
        send_hub_error(p, id, room, err);
    } else {
        struct joined_answer a = {id, room, info};
        uint8_t token[TOKEN_BYTES_MAX];
        struct mdg_writer w;
        /* On an event stream: where to go on if the connection breaks before any message. */
        mdg_writer_init(&w, token, sizeof token);
        if (mdg_peer_link(p)->carrier->one_way)
            mdg_plain_write_token(&w, p);
        if (!mdg_writer_fits(&w))
            w.len = 0;
        send_event(p, MDG_SLICE_LIT("joined"), mdg_slice(token, w.len), build_joined, &a);
    }
    m->cookie = NULL;
    free_request(r);
}

static void leave(struct mdg_member *m)
{
    free_request(m->cookie);
    mdg_hub_leave(m);
}

static int join(struct mdg_peer *p, struct mdg_slice id, struct mdg_slice room,
                struct mdg_join_options *options)
{
    struct mdg_session *s = mdg_peer_session(p);
    struct mdg_member *m = mdg_session_member(s, room);
    if (m) /* once more: from the start */
        leave(m);
    struct request *r = new_request(p, id, room);
    if (!r)
        return MDG_E_FULL;
    options->cookie = r;
    int err = mdg_hub_join(s->hub, s, room, options, &m);
    if (err < 0)
        free_request(r);
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

struct call {
    struct mdg_peer *peer;
    struct mdg_input in;
    struct mdg_plain_fields f;
};

static void bad_request(struct call *c, const char *message)
{
    send_error(c->peer, c->f.id, c->f.room, "bad_request", message);
}

/* A number of the request; absent: the given value. False: answered with an error. */
static bool read_number(struct call *c, struct mdg_slice value, uint64_t absent, uint64_t *out)
{
    *out = absent;
    if (value.len == 0 || mdg_json_type(value) == MDG_JSON_NULL)
        return true;
    if (mdg_json_u64(value, out) == 0)
        return true;
    bad_request(c, "history, before, limit and seq are whole numbers");
    return false;
}

/* {"epoch":"..","seq":12}, or the token "epoch:seq". False: answered with an error. */
static bool read_resume(struct call *c, struct mdg_join_options *options)
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
    bad_request(c, "resume is {\"epoch\":\"16 hex digits\",\"seq\":number}");
    return false;
}

static void do_join(struct call *c)
{
    uint64_t history;
    uint32_t max = mdg_peers_config(mdg_peer_shared(c->peer))->history_max;
    struct mdg_join_options options = {0};
    if (!read_resume(c, &options) || !read_number(c, c->f.history, 0, &history))
        return;
    options.history = history < max ? (uint32_t)history : max;
    int err = join(c->peer, c->f.id, c->f.room, &options);
    if (err < 0)
        send_hub_error(c->peer, c->f.id, c->f.room, err);
}

static void do_leave(struct call *c)
{
    struct mdg_member *m = mdg_session_member(mdg_peer_session(c->peer), c->f.room);
    if (!m) {
        send_error(c->peer, c->f.id, c->f.room, "not_joined", "you are not in this room");
        return;
    }
    leave(m);
    send_simple(c->peer, "left", c->f.id, c->f.room);
}

static void on_published(void *arg, int err, struct mdg_position at)
{
    struct request *r = arg;
    if (err < 0) {
        send_hub_error(r->peer, request_id(r), request_room(r), err);
    } else if (r->id_len) {
        struct simple_answer a = {
            .type = "ack", .id = request_id(r), .room = request_room(r), .has_at = true, .at = at};
        send_built(r->peer, build_simple, &a);
    }
    free_request(r);
}

static void publish_draft(struct call *c, struct mdg_msg_draft *draft)
{
    struct mdg_session *s = mdg_peer_session(c->peer);
    struct mdg_content *content;
    struct request *r = new_request(c->peer, c->f.id, c->f.room);
    if (!r) {
        send_error(c->peer, c->f.id, c->f.room, "rate_limited", "too many requests wait");
        return;
    }
    int err = mdg_content_new(draft, mdg_hub_unix_ms(s->hub), &content);
    if (err == 0)
        err = mdg_hub_publish(s->hub, content, on_published, r);
    if (err < 0) {
        free_request(r);
        send_hub_error(c->peer, c->f.id, c->f.room, err);
    }
}

static void do_publish(struct call *c)
{
    struct mdg_session *s = mdg_peer_session(c->peer);
    struct mdg_msg_draft draft = {
        .channel = c->f.room, .sender = s->principal, .sender_session = s->id};
    draft.flags = MDG_MSG_COMPRESS;
    if (!(s->principal->rights & MDG_RIGHT_PUBLISH)) {
        send_error(c->peer, c->f.id, c->f.room, "forbidden", "you may not publish");
    } else if (!mdg_session_member(s, c->f.room)) {
        send_error(c->peer, c->f.id, c->f.room, "not_joined", "join the room first");
    } else if (!mdg_peer_may_publish(c->peer)) {
        send_error(c->peer, c->f.id, c->f.room, "rate_limited", "too many messages a second");
    } else if (mdg_plain_payload(c->in, &c->f, &draft) < 0) {
        bad_request(c, "a publication has exactly one of text (a string), data (any JSON) and "
                       "base64 (a string); event and key are short strings");
    } else if (draft.payload.len > mdg_peers_config(mdg_peer_shared(c->peer))->message_bytes_max) {
        send_error(c->peer, c->f.id, c->f.room, "too_big", "the message is too long");
    } else {
        publish_draft(c, &draft);
    }
}

struct history_answer {
    struct mdg_slice id, room;
    const struct mdg_history *history;
    size_t from; /* the first message that is shown */
};

static void build_history(struct mdg_writer *w, const void *arg)
{
    const struct history_answer *a = arg;
    begin(w, "history", a->room, a->id);
    mdg_write_str(w, ",\"messages\":[");
    for (size_t i = a->from; i < a->history->count; i++) {
        if (i > a->from)
            mdg_write_u8(w, ',');
        mdg_plain_write_message(w, a->history->msgs[i]);
    }
    bool more = a->history->more || a->from > 0;
    mdg_write_str(w, more ? "],\"more\":true}" : "],\"more\":false}");
}

/* The newest that fit in one unit of a sensible size. */
static size_t history_start(const struct mdg_history *h, size_t bytes_max)
{
    size_t from = h->count, bytes = 0;
    while (from > 0) {
        bytes += mdg_msg_payload(h->msgs[from - 1]).len;
        if (bytes > bytes_max && from < h->count)
            break;
        from--;
    }
    return from;
}

static void on_history(void *arg, int err, const struct mdg_history *history)
{
    struct request *r = arg;
    if (err < 0) {
        send_hub_error(r->peer, request_id(r), request_room(r), err);
    } else {
        size_t max = mdg_peers_config(mdg_peer_shared(r->peer))->message_bytes_max;
        struct history_answer a = {request_id(r), request_room(r), history,
                                   history_start(history, max * HISTORY_BYTES_FACTOR)};
        send_built(r->peer, build_history, &a);
    }
    free_request(r);
}

/* Answers to what did not even start. */
static void ask_failed(struct call *c, struct request *r, int err)
{
    free_request(r);
    if (r)
        send_hub_error(c->peer, c->f.id, c->f.room, err);
    else
        send_error(c->peer, c->f.id, c->f.room, "rate_limited", "too many requests wait");
}

/* What a room says may be read by its members, and by those who could become one. */
static bool may_read(struct call *c)
{
    if (!(mdg_peer_session(c->peer)->principal->rights & MDG_RIGHT_SUBSCRIBE)) {
        send_error(c->peer, c->f.id, c->f.room, "forbidden", "you may not read this room");
        return false;
    }
    /* Such an answer costs more than a message. */
    if (!mdg_peer_may_publish(c->peer)) {
        send_error(c->peer, c->f.id, c->f.room, "rate_limited", "too many requests a second");
        return false;
    }
    return true;
}

static void do_history(struct call *c)
{
    uint64_t before, limit;
    uint32_t max = mdg_peers_config(mdg_peer_shared(c->peer))->history_max;
    if (!may_read(c) || !read_number(c, c->f.before, 0, &before) ||
        !read_number(c, c->f.limit, max, &limit))
        return;
    struct request *r = new_request(c->peer, c->f.id, c->f.room);
    int err = MDG_E_FULL;
    if (r)
        err = mdg_hub_history(mdg_peer_session(c->peer)->hub, c->f.room, before,
                              limit < max ? (uint32_t)limit : max, on_history, r);
    if (err < 0)
        ask_failed(c, r, err);
}

struct users_answer {
    struct mdg_slice id, room;
    const struct mdg_joined *now;
};

static void build_users(struct mdg_writer *w, const void *arg)
{
    const struct users_answer *a = arg;
    begin(w, "presence", a->room, a->id);
    mdg_write_str(w, ",\"count\":");
    mdg_write_dec(w, a->now->count);
    if (a->now->users) {
        mdg_write_str(w, ",\"users\":");
        mdg_plain_write_users(w, a->now->users, a->now->user_count);
    }
    mdg_write_u8(w, '}');
}

static void on_users(void *arg, int err, const struct mdg_joined *now)
{
    struct request *r = arg;
    if (err < 0) {
        send_hub_error(r->peer, request_id(r), request_room(r), err);
    } else {
        struct users_answer a = {request_id(r), request_room(r), now};
        send_built(r->peer, build_users, &a);
    }
    free_request(r);
}

static void do_presence(struct call *c)
{
    if (!may_read(c))
        return;
    struct request *r = new_request(c->peer, c->f.id, c->f.room);
    int err = MDG_E_FULL;
    if (r)
        err = mdg_hub_presence(mdg_peer_session(c->peer)->hub, c->f.room, on_users, r);
    if (err < 0)
        ask_failed(c, r, err);
}

struct rooms_answer {
    struct mdg_slice id;
    const struct mdg_room_info *rooms;
    size_t count;
};

static void build_rooms(struct mdg_writer *w, const void *arg)
{
    const struct rooms_answer *a = arg;
    begin(w, "rooms", mdg_slice(NULL, 0), a->id);
    mdg_write_str(w, ",\"rooms\":[");
    for (size_t i = 0; i < a->count; i++) {
        mdg_write_str(w, i ? ",{\"room\":" : "{\"room\":");
        mdg_write_json_string(w, a->rooms[i].name);
        mdg_write_str(w, ",\"count\":");
        mdg_write_dec(w, a->rooms[i].count);
        mdg_write_u8(w, '}');
    }
    mdg_write_str(w, "]}");
}

static void on_rooms(void *arg, int err, const struct mdg_room_info *rooms, size_t count)
{
    struct request *r = arg;
    if (err < 0) {
        send_hub_error(r->peer, request_id(r), mdg_slice(NULL, 0), err);
    } else {
        struct rooms_answer a = {request_id(r), rooms, count};
        send_built(r->peer, build_rooms, &a);
    }
    free_request(r);
}

static void do_rooms(struct call *c)
{
    enum { ROOMS_LISTED_MAX = 200 };
    if (!may_read(c))
        return;
    struct request *r = new_request(c->peer, c->f.id, mdg_slice(NULL, 0));
    int err = MDG_E_FULL;
    if (r)
        err = mdg_hub_rooms(mdg_peer_session(c->peer)->hub, ROOMS_LISTED_MAX, on_rooms, r);
    if (err < 0)
        ask_failed(c, r, err);
}

/* A token for the same user, so that the connection may live on. */
static void do_refresh(struct call *c)
{
    const struct mdg_peers_config *config = mdg_peers_config(mdg_peer_shared(c->peer));
    struct mdg_session *s = mdg_peer_session(c->peer);
    struct mdg_handshake hs = {.carrier = mdg_peer_link(c->peer)->carrier->name};
    struct mdg_principal *who = NULL;
    if (mdg_plain_string(c->in, &c->f.token) < 0) {
        bad_request(c, "refresh needs a token");
        return;
    }
    hs.token = c->f.token;
    hs.unix_ms = mdg_hub_unix_ms(s->hub);
    int err = config->auth ? config->auth(config->auth_arg, &hs, &who) : MDG_E_DENIED;
    if (err == 0 && !mdg_principal_same_user(who, s->principal))
        err = MDG_E_DENIED;
    if (err < 0) {
        send_error(c->peer, c->f.id, mdg_slice(NULL, 0), code_of(err),
                   "the token is not accepted for this user");
    } else {
        mdg_session_set_principal(s, who);
        struct simple_answer a = {.type = "refreshed",
                                  .id = c->f.id,
                                  .number_name = "expires",
                                  .number = who->expires_unix_ms};
        send_built(c->peer, build_simple, &a);
    }
    mdg_principal_unref(who);
}

static void do_ping(struct call *c)
{
    send_simple(c->peer, "pong", c->f.id, mdg_slice(NULL, 0));
}

static const struct {
    const char *type;
    void (*fn)(struct call *c);
    bool wants_room;
} calls[] = {
    {"publish", do_publish, true},  {"join", do_join, true},    {"leave", do_leave, true},
    {"history", do_history, true},  {"ping", do_ping, false},   {"presence", do_presence, true},
    {"refresh", do_refresh, false}, {"rooms", do_rooms, false},
};

/* An id is echoed as it came, so it must be small and flat. */
static bool check_id(struct call *c)
{
    enum mdg_json_type type = mdg_json_type(c->f.id);
    if (type == MDG_JSON_NULL)
        c->f.id = mdg_slice(NULL, 0);
    if (c->f.id.len == 0 || ((type == MDG_JSON_STRING || type == MDG_JSON_NUMBER) &&
                             c->f.id.len <= MDG_PLAIN_ID_BYTES_MAX))
        return true;
    c->f.id = mdg_slice(NULL, 0);
    bad_request(c, "id is a number or a short string");
    return false;
}

static bool check_room(struct call *c)
{
    const struct mdg_hub *h = mdg_peer_session(c->peer)->hub;
    if (mdg_plain_string(c->in, &c->f.room) == 0 && mdg_channel_name_ok(h, c->f.room))
        return true;
    c->f.room = mdg_slice(NULL, 0);
    send_error(c->peer, c->f.id, c->f.room, "room_invalid",
               "room is a short name without control characters");
    return false;
}

static int on_input(struct mdg_peer *p, struct mdg_input in, bool binary)
{
    struct call c = {.peer = p, .in = in};
    struct mdg_slice none = mdg_slice(NULL, 0);
    if (binary && !mdg_utf8_valid(mdg_slice(in.data, in.len))) {
        send_error(p, none, none, "bad_json", "this is not UTF-8");
        return 0;
    }
    int err = mdg_plain_read(in, &c.f);
    if (err < 0) {
        send_error(p, none, none, err == MDG_E_PROTO ? "bad_request" : "bad_json",
                   err == MDG_E_PROTO ? "a request is a JSON object" : "this is not JSON");
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
    send_error(p, c.f.id, none, "unknown_type", "there is no such request");
    return 0;
}

/* ---- Messages ---- */

/* The event of an event stream; EventSource calls the usual one "message" without being told. */
static struct mdg_slice stream_event(const struct mdg_msg *m)
{
    const struct mdg_content *c = m->content;
    if (c->kind == MDG_MSG_PRESENCE)
        return MDG_SLICE_LIT("presence");
    return mdg_slice_eq(c->event, MDG_SLICE_LIT("message")) ? mdg_slice(NULL, 0) : c->event;
}

static void build_message(struct mdg_writer *w, const void *arg)
{
    mdg_plain_write_message(w, arg);
}

static int on_encode(const struct mdg_msg *m, bool text_only, struct mdg_unit_sink *sink)
{
    uint8_t position[MDG_PLAIN_POSITION_BYTES];
    struct mdg_writer id;
    (void)text_only; /* everything is text */
    mdg_writer_init(&id, position, sizeof position);
    if (m->seq)
        mdg_plain_write_position(&id, (struct mdg_position){m->epoch, m->seq});
    int err = mdg_plain_build(sink->work, build_message, m);
    if (err < 0)
        return err;
    struct mdg_unit_meta meta = {.id = mdg_slice(position, id.len),
                                 .event = stream_event(m),
                                 .compress = m->content->flags & MDG_MSG_COMPRESS};
    return sink->unit(sink, mdg_buf_slice(sink->work), &meta);
}

static void write_escaped_room(struct mdg_writer *w, struct mdg_slice room)
{
    for (size_t i = 0; i < room.len; i++) {
        uint8_t c = room.data[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     c == '-' || c == '_' || c == '.' || c == '~';
        if (!plain)
            mdg_write_u8(w, '%');
        if (plain)
            mdg_write_u8(w, c);
        else
            mdg_write_hex(w, mdg_slice(&c, 1));
    }
}

/* next_seq: the one member's, whose message is just going out. */
static void write_token(struct mdg_writer *w, struct mdg_session *s, const struct mdg_member *now,
                        uint64_t next_seq)
{
    size_t count = 0;
    MDG_LIST_FOR(it, next, &s->members)
    {
        const struct mdg_member *m = MDG_CONTAINER_OF(it, struct mdg_member, in_session);
        struct mdg_position at = {mdg_member_epoch(m), (m == now ? next_seq : m->next_seq) - 1};
        if (!m->channel || at.epoch == 0)
            continue;
        if (count++)
            mdg_write_u8(w, ',');
        write_escaped_room(w, mdg_channel_name(m->channel));
        mdg_write_u8(w, '@');
        mdg_plain_write_position(w, at);
    }
}

void mdg_plain_write_token(struct mdg_writer *w, struct mdg_peer *p)
{
    write_token(w, mdg_peer_session(p), NULL, 0);
}

/* True when the slice, unescaped, is the room. */
static bool is_room(struct mdg_slice escaped, struct mdg_slice room)
{
    uint8_t buffer[3 * 256];
    struct mdg_writer w;
    mdg_writer_init(&w, buffer, sizeof buffer);
    write_escaped_room(&w, room);
    return mdg_writer_fits(&w) && mdg_slice_eq_nocase(escaped, mdg_slice(buffer, w.len)) &&
           escaped.len == w.len;
}

int mdg_plain_read_token(struct mdg_slice token, const struct mdg_slice *rooms, size_t count,
                         struct mdg_position *out)
{
    memset(out, 0, count * sizeof *out);
    if (count == 1 && mdg_plain_read_position(token, out) == 0)
        return 0;
    struct mdg_slice rest = token;
    while (rest.data) {
        struct mdg_position at;
        struct mdg_slice position = mdg_slice_split(&rest, ',');
        struct mdg_slice room = mdg_slice_split(&position, '@');
        if (!position.data || mdg_plain_read_position(position, &at) < 0)
            return MDG_E_SYNTAX;
        for (size_t i = 0; i < count; i++) {
            if (is_room(room, rooms[i]))
                out[i] = at;
        }
    }
    return 0;
}

struct token_sink {
    struct mdg_unit_sink sink;
    struct mdg_peer *peer;
    struct mdg_slice id;
};

static int unit_with_token(struct mdg_unit_sink *sink, struct mdg_slice unit,
                           const struct mdg_unit_meta *meta)
{
    struct token_sink *s = MDG_CONTAINER_OF(sink, struct token_sink, sink);
    struct mdg_unit_meta with_token = *meta;
    with_token.id = s->id;
    return mdg_peer_try_unit(s->peer, unit, &with_token);
}

/* An event stream of several rooms: its `id:` is the vector of all positions, so it is not shared
 * with anyone. */
static int deliver_with_token(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n)
{
    struct mdg_peer *p = mdg_peer_of(m->session);
    uint64_t next_seq = m->next_seq;
    uint8_t token[TOKEN_BYTES_MAX];
    for (size_t i = 0; i < n; i++) {
        struct mdg_writer w;
        mdg_writer_init(&w, token, sizeof token);
        if (msgs[i]->seq)
            next_seq = msgs[i]->seq + 1;
        write_token(&w, m->session, m, next_seq);
        struct token_sink s = {{unit_with_token, mdg_peer_scratch(p)}, p, {token, w.len}};
        if (!mdg_writer_fits(&w))
            s.id = mdg_slice(NULL, 0);
        int err = on_encode(msgs[i], true, &s.sink);
        if (err == MDG_E_FULL)
            return (int)i;
    }
    return (int)n;
}

static int on_deliver(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n)
{
    struct mdg_peer *p = mdg_peer_of(m->session);
    if (MDG_UNLIKELY(m->session->member_count > 1 && mdg_peer_link(p)->carrier->one_way &&
                     !mdg_peer_closing(p)))
        return deliver_with_token(m, msgs, n);
    return mdg_peer_deliver(m, msgs, n);
}

struct gap_unit {
    struct mdg_slice room;
    uint64_t from, to;
};

static void build_gap(struct mdg_writer *w, const void *arg)
{
    const struct gap_unit *g = arg;
    begin(w, "gap", g->room, mdg_slice(NULL, 0));
    mdg_write_str(w, ",\"from\":");
    mdg_write_dec(w, g->from);
    mdg_write_str(w, ",\"to\":");
    mdg_write_dec(w, g->to);
    mdg_write_u8(w, '}');
}

static int on_gap(struct mdg_member *m, uint64_t from, uint64_t to)
{
    struct mdg_peer *p = mdg_peer_of(m->session);
    struct gap_unit g = {mdg_channel_name(m->channel), from, to};
    struct mdg_buf *b = mdg_peer_scratch(p);
    if (mdg_plain_build(b, build_gap, &g) < 0)
        return MDG_E_FULL;
    int err = mdg_peer_try_unit(p, mdg_buf_slice(b), NULL);
    return err == MDG_E_FULL ? err : 0;
}

static void on_kick(struct mdg_session *s, int reason)
{
    struct mdg_peer *p = mdg_peer_of(s);
    struct mdg_slice none = mdg_slice(NULL, 0);
    const char *why = reason == MDG_E_FULL ? "too slow" : mdg_strerror(reason);
    if (reason == MDG_E_EXPIRED)
        send_error(p, none, none, "expired", why);
    mdg_peer_close(p, mdg_peer_close_code(reason), mdg_slice_str(why));
}

static void on_direct(struct mdg_session *s, struct mdg_msg *m)
{
    send_built(mdg_peer_of(s), build_message, m);
}

static const struct mdg_session_ops session_ops = {on_joined, on_deliver, on_gap, on_kick,
                                                   on_direct};

const struct mdg_dialect mdg_plain_dialect = {
    .name = "madang.v1",
    .open = on_open,
    .on_input = on_input,
    .close = on_close,
    .encode = on_encode,
    .session = &session_ops,
    .state_bytes = sizeof(struct plain),
};
