/* A response without end is one small object on the stream itself: the exchange and the HTTP
 * connection are gone once its head is on the way, and come back when it ends. */
#include "transport/push.h"
#include "base/pool.h"
#include "codec/http_write.h"
#include "loop/loop.h"
#include "net/net.h"
#include "net/stream.h"

enum {
    /* What a client sends behind its request waits until the response ends; little enough not to
     * buffer for one that floods. */
    PIPELINED_BYTES_MAX = 16 * 1024,
    CLOSING_S = 2, /* for the last bytes to go, and for the peer to close */
};

struct push {
    struct mdg_link link; /* first: a link is a push */
    struct mdg_stream *stream;
    struct mdg_http_server *server; /* gets the stream back */
    uint16_t heartbeat_s;
    uint16_t close_code; /* 0: open */
    bool keep_alive;     /* the connection serves other requests afterwards */
};

static_assert(sizeof(struct push) <= 56, "an idle event stream costs this beside its net stream");

static const struct mdg_push_kind *kind_of(const struct push *p)
{
    return MDG_CONTAINER_OF(p->link.carrier, const struct mdg_push_kind, carrier);
}

static bool is_chunked(const struct push *p)
{
    return p->link.framing == &kind_of(p)->chunked;
}

static void tell_close(struct push *p, struct mdg_small *small)
{
    int code = p->close_code ? p->close_code : MDG_CLOSE_ABNORMAL;
    p->close_code = (uint16_t)code;
    p->link.user->on_close(&p->link, code, mdg_slice(NULL, 0));
    mdg_small_put(small, p, sizeof *p);
}

/* Requests that follow stay unread; below the limit reading goes on, to see the peer go away. */
static int64_t on_data(struct mdg_stream *s, struct mdg_input in)
{
    if (in.len > PIPELINED_BYTES_MAX)
        mdg_stream_pause_read(s, true);
    return 0;
}

/* A client that finishes sending counts as gone. */
static void on_eof(struct mdg_stream *s)
{
    mdg_stream_close(s, 0);
}

static int64_t no_data(struct mdg_stream *s, struct mdg_input in)
{
    (void)s;
    return (int64_t)in.len;
}

static void on_end(struct mdg_stream *s, int reason)
{
    (void)reason;
    mdg_http_loan_lost(s->user_arg);
}

/* Nothing more is served on the stream; it waits for its peer to close. */
static const struct mdg_stream_user ended_user = {
    .name = "push-end",
    .on_data = no_data,
    .on_close = on_end,
};

/* The end of the response is on its way: the next request may come. */
static void give_back(struct push *p)
{
    struct mdg_stream *s = p->stream;
    if (p->keep_alive && mdg_http_loan_return(p->server, s) == 0) {
        mdg_stream_pause_read(s, false);
    } else {
        mdg_stream_adopt(s, &ended_user, p->server);
        mdg_stream_finish(s, 0, CLOSING_S);
    }
    tell_close(p, mdg_net_small(mdg_stream_net(s)));
}

static void on_writable(struct mdg_stream *s)
{
    struct push *p = s->user_arg;
    if (p->close_code)
        give_back(p);
    else
        p->link.user->on_writable(&p->link);
}

/* Silence: a sign of life for proxies, and for us a way to notice a peer that is gone. */
static void on_timeout(struct mdg_stream *s)
{
    struct push *p = s->user_arg;
    if (p->close_code) {
        mdg_stream_close(s, MDG_E_TIMEOUT);
        return;
    }
    struct mdg_slice text = is_chunked(p) ? kind_of(p)->chunked_heartbeat : kind_of(p)->heartbeat;
    if (s->out_bytes == 0 && mdg_stream_write(s, &text, 1) < 0)
        mdg_stream_close(s, MDG_E_NO_MEMORY);
    mdg_stream_set_timeout(s, p->heartbeat_s);
}

static void on_close(struct mdg_stream *s, int reason)
{
    struct push *p = s->user_arg;
    (void)reason;
    mdg_http_loan_lost(p->server);
    tell_close(p, mdg_net_small(mdg_stream_net(s)));
}

static const struct mdg_stream_user stream_user = {
    .name = "push",
    .read_max = PIPELINED_BYTES_MAX,
    .on_data = on_data,
    .on_eof = on_eof,
    .on_writable = on_writable,
    .on_timeout = on_timeout,
    .on_close = on_close,
};

static int begin(const struct mdg_push_kind *kind, struct mdg_exchange *x)
{
    const struct mdg_header h[] = {
        {MDG_SLICE_LIT("Content-Type"), mdg_slice_str(kind->content_type)},
        {MDG_SLICE_LIT("Cache-Control"), MDG_SLICE_LIT("no-store, no-transform")},
        {MDG_SLICE_LIT("X-Accel-Buffering"), MDG_SLICE_LIT("no")},
        {MDG_SLICE_LIT("X-Content-Type-Options"), MDG_SLICE_LIT("nosniff")},
    };
    return mdg_exchange_begin(x, 200, h, MDG_ARRAY_LEN(h));
}

/* The first bytes go with the head: a proxy passes it on with the first byte. */
static void write_first(struct mdg_exchange *x, struct mdg_slice first)
{
    struct mdg_blob *blob = first.len ? mdg_blob_copy(first) : NULL;
    if (!blob)
        return; /* nothing to say, or nothing that anybody needs */
    struct mdg_chunk c = mdg_chunk_all(blob);
    if (mdg_exchange_write(x, &c, 1) < 0)
        mdg_blob_unref(blob);
}

int mdg_push_open(const struct mdg_push_kind *kind, struct mdg_exchange *x,
                  const struct mdg_push_options *options, struct mdg_slice first,
                  const struct mdg_link_user *user, void *user_arg, struct mdg_link **out)
{
    struct mdg_http_loan loan;
    struct mdg_small *small = mdg_net_small(mdg_stream_net(mdg_exchange_stream(x)));
    if (mdg_exchange_method(x) != MDG_HTTP_GET || mdg_exchange_has_body(x))
        return MDG_E_UNSUPPORTED;
    struct push *p = mdg_small_get(small, sizeof *p);
    if (!p)
        return MDG_E_NO_MEMORY;
    int err = begin(kind, x);
    if (err < 0) {
        mdg_small_put(small, p, sizeof *p);
        return err;
    }
    write_first(x, first);
    err = mdg_exchange_lend(x, &loan);
    assert(err == 0); /* it has just begun */
    p->link = (struct mdg_link){
        .carrier = &kind->carrier,
        .framing = loan.chunked ? &kind->chunked : &kind->plain,
        .user = user,
        .user_arg = user_arg,
    };
    p->stream = loan.stream;
    p->server = loan.server;
    p->keep_alive = loan.keep_alive;
    p->heartbeat_s = (uint16_t)mdg_min_size(options->heartbeat_s, UINT16_MAX);
    mdg_stream_adopt(p->stream, &stream_user, p);
    mdg_stream_set_timeout(p->stream, p->heartbeat_s);
    *out = &p->link;
    return 0;
}

int mdg_push_send(struct mdg_link *l, struct mdg_chunk *framed, size_t n)
{
    struct push *p = (struct push *)l;
    if (p->close_code)
        return MDG_E_CLOSED;
    int err = mdg_stream_send(p->stream, framed, n);
    if (err == 0)
        mdg_stream_set_timeout(p->stream, p->heartbeat_s);
    return err;
}

int mdg_push_send_unit(struct mdg_link *l, struct mdg_slice unit, const struct mdg_unit_meta *meta)
{
    struct mdg_writer w;
    if (meta->binary)
        return MDG_E_UNSUPPORTED;
    mdg_writer_init(&w, NULL, 0);
    int err = mdg_frame(l->framing, &w, unit, meta);
    if (err < 0)
        return err;
    struct mdg_blob *blob = w.len <= UINT32_MAX ? mdg_blob_new((uint32_t)w.len) : NULL;
    if (!blob)
        return MDG_E_NO_MEMORY;
    mdg_writer_init(&w, blob->data, blob->len);
    err = mdg_frame(l->framing, &w, unit, meta);
    struct mdg_chunk c = mdg_chunk_all(blob);
    if (err == 0)
        err = mdg_push_send(l, &c, 1);
    if (err < 0)
        mdg_blob_unref(blob);
    return err;
}

void mdg_push_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    static const char last_chunk[] = "0\r\n\r\n";
    struct push *p = (struct push *)l;
    struct mdg_slice last = MDG_SLICE_LIT(last_chunk);
    (void)reason; /* HTTP has no place for it: the dialect has said it in a unit */
    if (p->close_code)
        return;
    p->close_code = (uint16_t)code;
    if (!is_chunked(p)) {
        mdg_stream_finish(p->stream, 0, CLOSING_S);
        return;
    }
    /* However full the queue: this was promised. on_writable says that it is (nearly) gone. */
    uint32_t out_max = p->stream->out_max;
    mdg_stream_set_out_max(p->stream, UINT32_MAX);
    int err = mdg_stream_write(p->stream, &last, 1);
    mdg_stream_set_out_max(p->stream, out_max);
    mdg_stream_set_timeout(p->stream, CLOSING_S);
    mdg_stream_want_writable(p->stream);
    if (err < 0)
        mdg_stream_close(p->stream, err);
}

void mdg_push_pause(struct mdg_link *l, bool paused)
{
    (void)l; /* nothing comes up this way */
    (void)paused;
}

size_t mdg_push_queued(const struct mdg_link *l)
{
    const struct push *p = (const struct push *)l;
    return p->close_code ? 0 : p->stream->out_bytes;
}

void mdg_push_chunk_head(struct mdg_writer *w, size_t len)
{
    uint8_t head[MDG_HTTP_CHUNK_HEAD_MAX];
    mdg_write_bytes(w, head, mdg_http_chunk_head(head, len));
}
