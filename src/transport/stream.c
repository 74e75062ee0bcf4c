/* JSON lines in a response that does not end: for curl -N and for programs. A unit is one line, so
 * it must not hold a line break, which JSON never does. */
#include "transport/push.h"

static void chunk_head(const struct mdg_framing *f, struct mdg_writer *w, size_t body_len,
                       const struct mdg_unit_meta *meta)
{
    (void)f;
    (void)meta;
    mdg_push_chunk_head(w, body_len + 1);
}

static void chunk_tail(const struct mdg_framing *f, struct mdg_writer *w,
                       const struct mdg_unit_meta *meta)
{
    (void)f;
    (void)meta;
    mdg_write_str(w, "\n\r\n");
}

static void plain_tail(const struct mdg_framing *f, struct mdg_writer *w,
                       const struct mdg_unit_meta *meta)
{
    (void)f;
    (void)meta;
    mdg_write_u8(w, '\n');
}

static const struct mdg_push_kind kind = {
    .carrier = {.name = "stream",
                .one_way = true,
                .send = mdg_push_send,
                .send_unit = mdg_push_send_unit,
                .close = mdg_push_close,
                .pause = mdg_push_pause,
                .queued = mdg_push_queued},
    .content_type = "application/x-ndjson",
    .chunked = {.name = "stream+chunked",
                .joinable = true,
                .text_only = true,
                .head = chunk_head,
                .tail = chunk_tail},
    .plain = {.name = "stream", .joinable = true, .text_only = true, .tail = plain_tail},
    .heartbeat = {(const uint8_t *)"\n", 1},
    .chunked_heartbeat = {(const uint8_t *)"1\r\n\n\r\n", 6},
};

int mdg_lines_open(struct mdg_exchange *x, const struct mdg_push_options *options,
                   const struct mdg_link_user *user, void *user_arg, struct mdg_link **out)
{
    return mdg_push_open(&kind, x, options, mdg_slice(NULL, 0), user, user_arg, out);
}
