/* SEND: a frame becomes a message that every protocol can carry. */
#include "base/json.h"
#include "base/utf8.h"
#include "dialect/stomp_impl.h"

/* What is between the client and us, or is said by the message in another way. */
static bool is_ours(const struct mdg_stomp *c, struct mdg_slice name)
{
    /* Where subscribers are told these by us, nobody else may. */
    static const char *const told[] = {"sender", "guest", "room",      "epoch",
                                       "seq",    "event", "timestamp", "user-name"};
    static const char *const names[] = {
        "destination",    "receipt",    "transaction",  "login", "passcode",
        "content-length", "persistent", "subscription", "ack",   "redelivered"};
    for (size_t i = 0; i < MDG_ARRAY_LEN(names); i++) {
        if (mdg_slice_eq(name, mdg_slice_str(names[i])))
            return true;
    }
    for (size_t i = 0; c->server->config->room_headers && i < MDG_ARRAY_LEN(told); i++) {
        if (mdg_slice_eq(name, mdg_slice_str(told[i])))
            return true;
    }
    return false;
}

/* The other headers travel with the message. */
static size_t take_headers(const struct mdg_stomp *c, const struct mdg_stomp_frame *f,
                           struct mdg_slice reply_to, struct mdg_msg_header *out)
{
    size_t n = 0;
    for (uint32_t i = 0; i < f->header_count; i++) {
        const struct mdg_stomp_header *h = &f->headers[i];
        if (is_ours(c, h->name) || !mdg_stomp_is_first(f, i) ||
            mdg_slice_eq(h->name, MDG_SLICE_LIT("content-type")))
            continue;
        out[n] = (struct mdg_msg_header){h->name, h->value};
        if (reply_to.data && mdg_slice_eq(h->name, MDG_SLICE_LIT("reply-to")))
            out[n].value = reply_to;
        n++;
    }
    return n;
}

static bool headers_are_utf8(const struct mdg_stomp_frame *f)
{
    for (uint32_t i = 0; i < f->header_count; i++) {
        if (!mdg_utf8_valid(f->headers[i].name) || !mdg_utf8_valid(f->headers[i].value))
            return false;
    }
    return true;
}

static bool check(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    if (mdg_stomp_find(f, "message-id").data) {
        mdg_stomp_fail(c, f, "Invalid header", "'message-id' is not allowed on 'SEND'.\n");
        return false;
    }
    if (!headers_are_utf8(f)) {
        mdg_stomp_fail(c, f, "Invalid header", "The headers are not UTF-8.\n");
        return false;
    }
    if (!(c->who->rights & MDG_RIGHT_PUBLISH)) {
        mdg_stomp_fail_code(c, f, MDG_E_DENIED);
        return false;
    }
    return true;
}

/* A reply-to that names a temporary queue subscribes this connection to it and becomes the name by
 * which everybody can reach that queue. data NULL: nothing to change. */
static bool take_reply_to(struct mdg_stomp *c, const struct mdg_stomp_frame *f, uint8_t *room,
                          size_t room_len, struct mdg_slice *out)
{
    struct mdg_slice asked = mdg_stomp_find(f, "reply-to");
    struct mdg_writer w;
    *out = mdg_slice(NULL, 0);
    if (!asked.data || !mdg_slice_starts(asked, MDG_SLICE_LIT("/temp-queue/")))
        return true;
    mdg_writer_init(&w, room, room_len);
    if (!mdg_stomp_temp_key(c, asked, &w)) {
        mdg_stomp_fail(c, f, "Invalid destination", "The reply-to is not a temporary queue.\n");
        return false;
    }
    *out = mdg_slice(room, w.len);
    int err = mdg_stomp_subscribe_reply(c, asked, *out);
    if (err < 0)
        mdg_stomp_fail_code(c, f, err);
    return err >= 0;
}

int mdg_stomp_publish(struct mdg_stomp *c, enum mdg_stomp_kind kind, bool keep,
                      struct mdg_slice name, struct mdg_content *content,
                      struct mdg_stomp_pending *p)
{
    if (kind == MDG_STOMP_TOPIC)
        return mdg_hub_publish(c->server->hub, content, mdg_stomp_published, p);
    return mdg_queue_publish(c->server->queues, name, content, keep ? MDG_QUEUE_KEEP : 0,
                             &c->waiter, (uint64_t)(uintptr_t)p);
}

/* JSON is told apart so that clients of other protocols get it as a value. */
static enum mdg_msg_kind kind_of(struct mdg_slice type, struct mdg_slice body)
{
    enum { JSON_DEPTH_MAX = 32 };
    struct mdg_slice value;
    if (!mdg_utf8_valid(body))
        return MDG_MSG_BINARY;
    bool json = mdg_slice_starts(type, MDG_SLICE_LIT("application/json")) &&
                mdg_json_check(body, JSON_DEPTH_MAX, &value) >= 0;
    return json ? MDG_MSG_JSON : MDG_MSG_TEXT;
}

static int make_content(struct mdg_stomp *c, const struct mdg_stomp_frame *f,
                        const struct mdg_stomp_dest *dest, struct mdg_slice reply_to,
                        struct mdg_content **out)
{
    struct mdg_msg_header headers[MDG_STOMP_HEADERS_CAP];
    static_assert((int)MDG_STOMP_HEADERS_CAP <= (int)MDG_MSG_HEADERS_MAX, "all of them fit");
    struct mdg_slice type = mdg_stomp_find(f, "content-type");
    struct mdg_msg_draft draft = {
        .kind = kind_of(type, f->body),
        .channel = dest->name,
        .content_type = type,
        .event = c->server->config->room_headers ? mdg_stomp_find(f, "event") : mdg_slice(NULL, 0),
        .sender = c->who,
        .sender_session = c->session.id,
        .headers = headers,
        .header_count = take_headers(c, f, reply_to, headers),
        .payload = f->body,
    };
    return mdg_content_new(&draft, mdg_hub_unix_ms(c->server->hub), out);
}

void mdg_stomp_on_send(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    struct mdg_stomp_dest dest;
    struct mdg_slice reply_to;
    struct mdg_content *content;
    uint8_t reply_room[1024];
    const struct mdg_stomp_hooks *hooks = &c->server->hooks;
    if (!check(c, f) || !mdg_stomp_dest_parse(c, f, &dest))
        return;
    const char *refusal =
        hooks->may_send ? hooks->may_send(hooks->arg, c->who, f, dest.shown) : NULL;
    if (refusal) {
        mdg_stomp_fail(c, f, "Access refused", "%s\n", refusal);
        return;
    }
    if (!take_reply_to(c, f, reply_room, sizeof reply_room, &reply_to))
        return;
    int err = make_content(c, f, &dest, reply_to, &content);
    if (err < 0) {
        mdg_stomp_fail_code(c, f, err);
        return;
    }
    bool keep = dest.kind != MDG_STOMP_TEMP_QUEUE &&
                !mdg_slice_eq(mdg_stomp_find(f, "persistent"), MDG_SLICE_LIT("false"));
    if (mdg_stomp_find(f, "transaction").data) {
        (void)mdg_stomp_tx_send(c, f, dest.kind, keep, dest.name, content);
        return;
    }
    struct mdg_stomp_pending *p = mdg_stomp_pend(c, f);
    if (!p) {
        mdg_content_unref(content);
        return;
    }
    err = mdg_stomp_publish(c, dest.kind, keep, dest.name, content, p);
    if (err < 0)
        mdg_stomp_pend_done(p, err);
}
