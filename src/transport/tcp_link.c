/* A connection whose peer has finished sending may still want the answers to what it sent
 * (`printf '/who\n' | nc -N host port`): it is kept for linger_s, then closed. */
#include "transport/tcp_link.h"
#include "base/pool.h"
#include "net/net.h"

static struct mdg_tcp *tcp_of(const struct mdg_link *l)
{
    return MDG_CONTAINER_OF(l, struct mdg_tcp, link);
}

int mdg_tcp_new(struct mdg_stream *s, const struct mdg_tcp_config *config,
                const struct mdg_stream_user *stream_user, const struct mdg_carrier *carrier,
                const struct mdg_framing *framing, const struct mdg_link_user *user, void *user_arg,
                struct mdg_link **out)
{
    assert(config->linger_s > 0 && config->linger_s <= UINT8_MAX);
    struct mdg_tcp *t = mdg_small_get(mdg_net_small(mdg_stream_net(s)), sizeof *t);
    if (!t)
        return MDG_E_NO_MEMORY;
    t->link = (struct mdg_link){carrier, framing, user, user_arg};
    t->stream = s;
    t->linger_s = (uint8_t)config->linger_s;
    mdg_line_dec_init(&t->lines, config->line_bytes_max);
    mdg_stream_set_out_max(s, config->out_bytes_max);
    mdg_stream_set_timeout(s, 0);
    mdg_stream_adopt(s, stream_user, t);
    *out = &t->link;
    return 0;
}

struct mdg_stream *mdg_tcp_stream(const struct mdg_link *l)
{
    return tcp_of(l)->stream;
}

int mdg_tcp_send(struct mdg_link *l, struct mdg_chunk *framed, size_t n)
{
    struct mdg_tcp *t = tcp_of(l);
    return t->close_code ? MDG_E_CLOSED : mdg_stream_send(t->stream, framed, n);
}

/* Short units, the usual ones, are framed on the stack. */
static int send_small(struct mdg_tcp *t, struct mdg_slice unit, const struct mdg_unit_meta *meta,
                      size_t *needed)
{
    uint8_t text[1024];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text);
    int err = mdg_frame(t->link.framing, &w, unit, meta);
    *needed = w.len;
    if (err)
        return err;
    if (!mdg_writer_fits(&w))
        return MDG_E_NO_SPACE;
    const struct mdg_slice part = {text, w.len};
    return mdg_stream_write(t->stream, &part, 1);
}

int mdg_tcp_send_unit(struct mdg_link *l, struct mdg_slice unit, const struct mdg_unit_meta *meta)
{
    static const struct mdg_unit_meta no_meta = {0};
    struct mdg_tcp *t = tcp_of(l);
    size_t needed;
    meta = meta ? meta : &no_meta;
    if (t->close_code)
        return MDG_E_CLOSED;
    if (meta->binary && l->framing->text_only)
        return MDG_E_UNSUPPORTED;
    int err = send_small(t, unit, meta, &needed);
    if (err != MDG_E_NO_SPACE)
        return err;
    struct mdg_blob *blob = needed <= UINT32_MAX ? mdg_blob_new((uint32_t)needed) : NULL;
    if (!blob)
        return MDG_E_NO_MEMORY;
    struct mdg_writer w;
    mdg_writer_init(&w, blob->data, blob->len);
    struct mdg_chunk chunk = mdg_chunk_all(blob);
    err = mdg_frame(l->framing, &w, unit, meta);
    if (err == 0)
        err = mdg_stream_send(t->stream, &chunk, 1);
    if (err)
        mdg_blob_unref(blob);
    return err;
}

void mdg_tcp_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct mdg_tcp *t = tcp_of(l);
    (void)reason; /* the dialect has said it in its own words */
    if (t->close_code)
        return;
    t->close_code = (uint16_t)code;
    mdg_stream_finish(t->stream, 0, t->linger_s);
}

void mdg_tcp_pause(struct mdg_link *l, bool paused)
{
    struct mdg_tcp *t = tcp_of(l);
    t->paused = paused;
    if (!t->close_code)
        mdg_stream_pause_read(t->stream, paused);
}

size_t mdg_tcp_queued(const struct mdg_link *l)
{
    const struct mdg_tcp *t = tcp_of(l);
    return t->close_code ? 0 : t->stream->out_bytes;
}

void mdg_tcp_address(const struct mdg_link *l, struct mdg_writer *w)
{
    struct mdg_addr peer;
    if (mdg_stream_peer(tcp_of(l)->stream, &peer) == 0)
        mdg_addr_write_ip(w, &peer);
}

bool mdg_tcp_input(struct mdg_tcp *t, struct mdg_input in, bool binary)
{
    int err = t->link.user->on_input(&t->link, in, binary);
    if (err < 0)
        mdg_tcp_close(&t->link, err == MDG_E_TOO_BIG ? MDG_CLOSE_TOO_BIG : MDG_CLOSE_PROTOCOL,
                      mdg_slice(NULL, 0));
    return !t->close_code && !t->paused;
}

void mdg_tcp_on_writable(struct mdg_stream *s)
{
    struct mdg_tcp *t = s->user_arg;
    if (!t->close_code)
        t->link.user->on_writable(&t->link);
}

void mdg_tcp_on_eof(struct mdg_stream *s)
{
    struct mdg_tcp *t = s->user_arg;
    t->eof = true;
    mdg_stream_set_timeout(s, t->linger_s);
    /* what was left unread is the last line, without its end: it is offered once more */
    mdg_stream_adopt(s, s->user, t);
}

void mdg_tcp_on_timeout(struct mdg_stream *s)
{
    struct mdg_tcp *t = s->user_arg;
    if (t->eof)
        mdg_tcp_close(&t->link, MDG_CLOSE_NORMAL, mdg_slice(NULL, 0));
}

void mdg_tcp_on_close(struct mdg_stream *s, int reason)
{
    struct mdg_tcp *t = s->user_arg;
    int code =
        t->close_code ? t->close_code : (reason == 0 ? MDG_CLOSE_NORMAL : MDG_CLOSE_ABNORMAL);
    t->close_code = (uint16_t)code;
    t->link.user->on_close(&t->link, code, mdg_slice(NULL, 0));
    mdg_small_put(mdg_net_small(mdg_stream_net(s)), t, sizeof *t);
}
