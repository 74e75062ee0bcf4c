/* Server-sent events (WHATWG HTML 9.2): id, event, data, and the empty line, as one chunk. */
#include "codec/sse.h"
#include "codec/url.h"
#include "transport/push.h"

/* A field with a line break in it would forge others, one without a name says nothing. */
static bool may_print(struct mdg_slice s)
{
    return s.len && !memchr(s.data, '\n', s.len) && !memchr(s.data, '\r', s.len) &&
           !memchr(s.data, '\0', s.len);
}

static void write_fields(struct mdg_writer *w, const struct mdg_unit_meta *meta)
{
    if (may_print(meta->id)) {
        mdg_write_str(w, "id: ");
        mdg_write_slice(w, meta->id);
        mdg_write_u8(w, '\n');
    }
    if (may_print(meta->event) && !mdg_slice_eq(meta->event, MDG_SLICE_LIT("message"))) {
        mdg_write_str(w, "event: ");
        mdg_write_slice(w, meta->event);
        mdg_write_u8(w, '\n');
    }
}

static void plain_head(const struct mdg_framing *f, struct mdg_writer *w, size_t body_len,
                       const struct mdg_unit_meta *meta)
{
    (void)f;
    (void)body_len;
    write_fields(w, meta);
}

static void chunk_head(const struct mdg_framing *f, struct mdg_writer *w, size_t body_len,
                       const struct mdg_unit_meta *meta)
{
    struct mdg_writer dry;
    (void)f;
    mdg_writer_init(&dry, NULL, 0);
    write_fields(&dry, meta);
    mdg_push_chunk_head(w, dry.len + body_len);
    write_fields(w, meta);
}

static void escape(const struct mdg_framing *f, struct mdg_writer *w, struct mdg_slice unit)
{
    (void)f;
    mdg_sse_write_data(w, unit);
}

static void chunk_tail(const struct mdg_framing *f, struct mdg_writer *w,
                       const struct mdg_unit_meta *meta)
{
    (void)f;
    (void)meta;
    mdg_write_str(w, "\r\n");
}

static const struct mdg_push_kind kind = {
    .carrier = {.name = "sse",
                .one_way = true,
                .send = mdg_push_send,
                .send_unit = mdg_push_send_unit,
                .close = mdg_push_close,
                .pause = mdg_push_pause,
                .queued = mdg_push_queued},
    .content_type = "text/event-stream",
    .chunked = {.name = "sse+chunked",
                .joinable = true,
                .text_only = true,
                .head = chunk_head,
                .escape = escape,
                .tail = chunk_tail},
    .plain =
        {.name = "sse", .joinable = true, .text_only = true, .head = plain_head, .escape = escape},
    .heartbeat = {(const uint8_t *)":\n\n", 3},
    .chunked_heartbeat = {(const uint8_t *)"3\r\n:\n\n\r\n", 8},
};

int mdg_sse_open(struct mdg_exchange *x, const struct mdg_push_options *options,
                 const struct mdg_link_user *user, void *user_arg, struct mdg_link **out)
{
    uint8_t room[64];
    struct mdg_writer w;
    mdg_writer_init(&w, room, sizeof room);
    if (options->retry_ms)
        mdg_sse_write_retry(&w, options->retry_ms);
    else
        mdg_write_str(&w, ":\n\n"); /* a proxy passes the head on with the first byte */
    assert(mdg_writer_fits(&w));
    return mdg_push_open(&kind, x, options, mdg_slice(room, w.len), user, user_arg, out);
}

struct mdg_slice mdg_sse_last_id(const struct mdg_exchange *x, uint8_t *room, size_t cap)
{
    struct mdg_slice id = mdg_exchange_header(x, "last-event-id");
    if (id.data) {
        if (id.len > cap)
            return mdg_slice(NULL, 0);
        memcpy(room, id.data, id.len);
        return mdg_slice(room, id.len);
    }
    id = mdg_exchange_query(x, "lastEventId");
    int64_t n = mdg_url_decode(id, true, room, cap);
    return n > 0 ? mdg_slice(room, (size_t)n) : mdg_slice(NULL, 0);
}
