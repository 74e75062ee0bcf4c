/* Requests that the hub answers later: publications, history, presence, rooms; and new credentials.
 */
#include "dialect/plain_impl.h"
#include <stdlib.h>

enum { HISTORY_BYTES_FACTOR = 4 };

static void on_published(void *arg, int err, struct mdg_position at)
{
    struct mdg_plain_request *r = arg;
    if (err < 0) {
        mdg_plain_send_hub_error(r->peer, mdg_plain_request_id(r), mdg_plain_request_room(r), err);
    } else if (r->id_len) {
        struct mdg_plain_simple a = {.type = "ack",
                                     .id = mdg_plain_request_id(r),
                                     .room = mdg_plain_request_room(r),
                                     .has_at = true,
                                     .at = at};
        mdg_plain_send_built(r->peer, mdg_plain_build_simple, &a);
    }
    mdg_plain_request_free(r);
}

static void publish_draft(struct mdg_plain_call *c, struct mdg_msg_draft *draft)
{
    struct mdg_session *s = mdg_peer_session(c->peer);
    struct mdg_content *content;
    struct mdg_plain_request *r = mdg_plain_request_new(c->peer, c->f.id, c->f.room);
    if (!r) {
        mdg_plain_send_error(c->peer, c->f.id, c->f.room, "rate_limited", "too many requests wait");
        return;
    }
    int err = mdg_content_new(draft, mdg_hub_unix_ms(s->hub), &content);
    if (err == 0)
        err = mdg_hub_publish(s->hub, content, on_published, r);
    if (err < 0) {
        mdg_plain_request_free(r);
        mdg_plain_send_hub_error(c->peer, c->f.id, c->f.room, err);
    }
}

void mdg_plain_do_publish(struct mdg_plain_call *c)
{
    struct mdg_session *s = mdg_peer_session(c->peer);
    struct mdg_msg_draft draft = {
        .channel = c->f.room, .sender = s->principal, .sender_session = s->id};
    draft.flags = MDG_MSG_COMPRESS;
    if (!(s->principal->rights & MDG_RIGHT_PUBLISH)) {
        mdg_plain_send_error(c->peer, c->f.id, c->f.room, "forbidden", "you may not publish");
    } else if (!mdg_session_member(s, c->f.room)) {
        mdg_plain_send_error(c->peer, c->f.id, c->f.room, "not_joined", "join the room first");
    } else if (!mdg_peer_may_publish(c->peer)) {
        mdg_plain_send_error(c->peer, c->f.id, c->f.room, "rate_limited",
                             "too many messages a second");
    } else if (mdg_plain_payload(c->in, &c->f, &draft) < 0) {
        mdg_plain_bad_request(
            c, "a publication has exactly one of text (a string), data (any JSON) and "
               "base64 (a string); event and key are short strings");
    } else if (draft.payload.len > mdg_peers_config(mdg_peer_shared(c->peer))->message_bytes_max) {
        mdg_plain_send_error(c->peer, c->f.id, c->f.room, "too_big", "the message is too long");
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
    mdg_plain_begin(w, "history", a->room, a->id);
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
    struct mdg_plain_request *r = arg;
    if (err < 0) {
        mdg_plain_send_hub_error(r->peer, mdg_plain_request_id(r), mdg_plain_request_room(r), err);
    } else {
        size_t max = mdg_peers_config(mdg_peer_shared(r->peer))->message_bytes_max;
        struct history_answer a = {mdg_plain_request_id(r), mdg_plain_request_room(r), history,
                                   history_start(history, max * HISTORY_BYTES_FACTOR)};
        mdg_plain_send_built(r->peer, build_history, &a);
    }
    mdg_plain_request_free(r);
}

/* Answers to what did not even start. */
static void ask_failed(struct mdg_plain_call *c, struct mdg_plain_request *r, int err)
{
    mdg_plain_request_free(r);
    if (r)
        mdg_plain_send_hub_error(c->peer, c->f.id, c->f.room, err);
    else
        mdg_plain_send_error(c->peer, c->f.id, c->f.room, "rate_limited", "too many requests wait");
}

/* What a room says may be read by its members, and by those who could become one. */
static bool may_read(struct mdg_plain_call *c)
{
    if (!(mdg_peer_session(c->peer)->principal->rights & MDG_RIGHT_SUBSCRIBE)) {
        mdg_plain_send_error(c->peer, c->f.id, c->f.room, "forbidden",
                             "you may not read this room");
        return false;
    }
    /* Such an answer costs more than a message. */
    if (!mdg_peer_may_publish(c->peer)) {
        mdg_plain_send_error(c->peer, c->f.id, c->f.room, "rate_limited",
                             "too many requests a second");
        return false;
    }
    return true;
}

void mdg_plain_do_history(struct mdg_plain_call *c)
{
    uint64_t before, limit;
    uint32_t max = mdg_peers_config(mdg_peer_shared(c->peer))->history_max;
    if (!may_read(c) || !mdg_plain_read_number(c, c->f.before, 0, &before) ||
        !mdg_plain_read_number(c, c->f.limit, max, &limit))
        return;
    struct mdg_plain_request *r = mdg_plain_request_new(c->peer, c->f.id, c->f.room);
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
    mdg_plain_begin(w, "presence", a->room, a->id);
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
    struct mdg_plain_request *r = arg;
    if (err < 0) {
        mdg_plain_send_hub_error(r->peer, mdg_plain_request_id(r), mdg_plain_request_room(r), err);
    } else {
        struct users_answer a = {mdg_plain_request_id(r), mdg_plain_request_room(r), now};
        mdg_plain_send_built(r->peer, build_users, &a);
    }
    mdg_plain_request_free(r);
}

void mdg_plain_do_presence(struct mdg_plain_call *c)
{
    if (!may_read(c))
        return;
    struct mdg_plain_request *r = mdg_plain_request_new(c->peer, c->f.id, c->f.room);
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
    mdg_plain_begin(w, "rooms", mdg_slice(NULL, 0), a->id);
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
    struct mdg_plain_request *r = arg;
    if (err < 0) {
        mdg_plain_send_hub_error(r->peer, mdg_plain_request_id(r), mdg_slice(NULL, 0), err);
    } else {
        struct rooms_answer a = {mdg_plain_request_id(r), rooms, count};
        mdg_plain_send_built(r->peer, build_rooms, &a);
    }
    mdg_plain_request_free(r);
}

void mdg_plain_do_rooms(struct mdg_plain_call *c)
{
    enum { ROOMS_LISTED_MAX = 200 };
    if (!may_read(c))
        return;
    struct mdg_plain_request *r = mdg_plain_request_new(c->peer, c->f.id, mdg_slice(NULL, 0));
    int err = MDG_E_FULL;
    if (r)
        err = mdg_hub_rooms(mdg_peer_session(c->peer)->hub, ROOMS_LISTED_MAX, on_rooms, r);
    if (err < 0)
        ask_failed(c, r, err);
}

/* A token for the same user, so that the connection may live on. */
void mdg_plain_do_refresh(struct mdg_plain_call *c)
{
    const struct mdg_peers_config *config = mdg_peers_config(mdg_peer_shared(c->peer));
    struct mdg_session *s = mdg_peer_session(c->peer);
    struct mdg_handshake hs = {.carrier = mdg_peer_link(c->peer)->carrier->name};
    struct mdg_principal *who = NULL;
    if (mdg_plain_string(c->in, &c->f.token) < 0) {
        mdg_plain_bad_request(c, "refresh needs a token");
        return;
    }
    hs.token = c->f.token;
    hs.unix_ms = mdg_hub_unix_ms(s->hub);
    int err = config->auth ? config->auth(config->auth_arg, &hs, &who) : MDG_E_DENIED;
    if (err == 0 && !mdg_principal_same_user(who, s->principal))
        err = MDG_E_DENIED;
    if (err < 0) {
        mdg_plain_send_error(c->peer, c->f.id, mdg_slice(NULL, 0), mdg_plain_code(err),
                             "the token is not accepted for this user");
    } else {
        mdg_session_set_principal(s, who);
        struct mdg_plain_simple a = {.type = "refreshed",
                                     .id = c->f.id,
                                     .number_name = "expires",
                                     .number = who->expires_unix_ms};
        mdg_plain_send_built(c->peer, mdg_plain_build_simple, &a);
    }
    mdg_principal_unref(who);
}
