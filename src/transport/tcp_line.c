/* Lines up and down. */
#include "base/utf8.h"
#include "transport/tcp_link.h"

/* A unit with a line break in it would be read as two lines, and the second one as anybody's. */
static void escape(const struct mdg_framing *f, struct mdg_writer *w, struct mdg_slice unit)
{
    (void)f;
    size_t start = w->len;
    mdg_write_slice(w, unit);
    if (!mdg_writer_fits(w))
        return;
    for (size_t i = start; i < w->len; i++) {
        if (w->data[i] == '\n' || w->data[i] == '\r')
            w->data[i] = ' ';
    }
}

static void tail(const struct mdg_framing *f, struct mdg_writer *w,
                 const struct mdg_unit_meta *meta)
{
    (void)f;
    (void)meta;
    mdg_write_u8(w, '\n');
}

static const struct mdg_framing framing = {
    .name = "line",
    .joinable = true,
    .text_only = true,
    .escape = escape,
    .tail = tail,
};

static void take(struct mdg_tcp *t, const struct mdg_line_event *ev, bool *more)
{
    struct mdg_slice text = {ev->text.data, ev->text.len};
    if (mdg_line_is_http(text)) {
        mdg_tcp_close(&t->link, MDG_CLOSE_POLICY, mdg_slice(NULL, 0));
        *more = false;
        return;
    }
    *more = mdg_tcp_input(t, ev->text, !mdg_utf8_valid(text));
}

/* Attack: tens of thousands of commands in one piece, each of which takes microseconds that the
 * others wait. */
enum { LINES_PER_TURN = 256 };

static int64_t on_data(struct mdg_stream *s, struct mdg_input in)
{
    struct mdg_tcp *t = s->user_arg;
    struct mdg_line_event ev;
    size_t len = in.len;
    bool more = !t->close_code && !t->paused;
    int lines = 0;
    while (more && lines < LINES_PER_TURN && mdg_line_dec_next(&t->lines, &in, &ev) == 1) {
        take(t, &ev, &more);
        lines++;
    }
    if (more && lines == LINES_PER_TURN && in.len > 0)
        mdg_stream_yield(s);
    else if (more && t->eof && mdg_line_dec_end(&t->lines, &in, &ev) == 1)
        take(t, &ev, &more);
    mdg_stream_acknowledge(s);
    return (int64_t)(t->close_code ? len : len - in.len);
}

static const struct mdg_stream_user stream_user = {
    .name = "tcp-line",
    .on_data = on_data,
    .on_eof = mdg_tcp_on_eof,
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
    .address = mdg_tcp_address,
};

int mdg_tcp_line_accept(struct mdg_stream *s, const struct mdg_tcp_config *config,
                        const struct mdg_link_user *user, void *user_arg, struct mdg_link **out)
{
    return mdg_tcp_new(s, config, &stream_user, &carrier, &framing, user, user_arg, out);
}
