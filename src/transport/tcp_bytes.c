/* The byte stream as it is, for dialects that keep their own incomplete frames. */
#include "transport/tcp_link.h"

static const struct mdg_framing framing = {.name = "bytes", .joinable = true};

static int64_t on_data(struct mdg_stream *s, struct mdg_input in)
{
    struct mdg_tcp *t = s->user_arg;
    if (t->paused && !t->close_code)
        return 0;
    if (!t->close_code)
        mdg_tcp_input(t, in, true);
    mdg_stream_acknowledge(s);
    return (int64_t)in.len;
}

/* A program that has closed its side is gone: what would still be sent to it (a message of a queue)
 * would be lost. What it sent before has been processed. */
static void on_eof(struct mdg_stream *s)
{
    struct mdg_tcp *t = s->user_arg;
    mdg_tcp_close(&t->link, MDG_CLOSE_NORMAL, mdg_slice(NULL, 0));
}

static const struct mdg_stream_user stream_user = {
    .name = "tcp-bytes",
    .on_data = on_data,
    .on_eof = on_eof,
    .on_writable = mdg_tcp_on_writable,
    .on_timeout = mdg_tcp_on_timeout,
    .on_close = mdg_tcp_on_close,
};

static const struct mdg_carrier carrier = {
    .name = "tcp",
    .send = mdg_tcp_send,
    .send_unit = mdg_tcp_send_unit,
    .close = mdg_tcp_close,
    .pause = mdg_tcp_pause,
    .queued = mdg_tcp_queued,
};

int mdg_tcp_bytes_accept(struct mdg_stream *s, const struct mdg_tcp_config *config,
                         const struct mdg_link_user *user, void *user_arg, struct mdg_link **out)
{
    return mdg_tcp_new(s, config, &stream_user, &carrier, &framing, user, user_arg, out);
}
