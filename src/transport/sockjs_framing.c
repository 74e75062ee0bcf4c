/* How one message looks on each kind of connection, the same for all sessions of that kind. */
#include "codec/ws.h"
#include "transport/sockjs_session.h"

/* RFC 9112 7.1: the size of a chunk in hexadecimal digits, then CR LF. */
static void write_chunk_size(struct mdg_writer *w, size_t len)
{
    char digits[16];
    size_t n = sizeof digits;
    do {
        digits[--n] = "0123456789abcdef"[len & 15];
        len >>= 4;
    } while (len);
    mdg_write_bytes(w, digits + n, sizeof digits - n);
    mdg_write_str(w, "\r\n");
}

static const struct mdg_slice no_callback = {NULL, 0};

static void write_before(struct mdg_writer *w, enum mdg_sockjs_wrap wrap)
{
    mdg_sockjs_write_head(w, wrap, no_callback);
    mdg_sockjs_write_escaped(w, wrap, MDG_SLICE_LIT("a[\""));
}

static void write_after(struct mdg_writer *w, enum mdg_sockjs_wrap wrap)
{
    mdg_sockjs_write_escaped(w, wrap, MDG_SLICE_LIT("\"]"));
    mdg_sockjs_write_tail(w, wrap);
}

/* Three kinds of stream. */
struct stream_framing {
    struct mdg_framing f;
    enum mdg_sockjs_wrap wrap;
};

static enum mdg_sockjs_wrap wrap_of(const struct mdg_framing *f)
{
    return MDG_CONTAINER_OF(f, const struct stream_framing, f)->wrap;
}

static void stream_head(const struct mdg_framing *f, struct mdg_writer *w, size_t body_len,
                        const struct mdg_unit_meta *meta)
{
    (void)meta;
    struct mdg_writer dry;
    mdg_writer_init(&dry, NULL, 0);
    write_before(&dry, wrap_of(f));
    write_after(&dry, wrap_of(f));
    write_chunk_size(w, dry.len + body_len);
    write_before(w, wrap_of(f));
}

static void stream_escape(const struct mdg_framing *f, struct mdg_writer *w, struct mdg_slice unit)
{
    mdg_sockjs_write_message(w, wrap_of(f), unit);
}

static void stream_tail(const struct mdg_framing *f, struct mdg_writer *w,
                        const struct mdg_unit_meta *meta)
{
    (void)meta;
    write_after(w, wrap_of(f));
    mdg_write_str(w, "\r\n");
}

const struct mdg_framing *mdg_sockjs_framing_stream(enum mdg_sockjs_wrap wrap)
{
    static const struct stream_framing xhr = {{"sockjs+xhr", true, true, stream_head, stream_escape,
                                               stream_tail, NULL, NULL},
                                              MDG_SOCKJS_NEWLINE},
                                       event = {{"sockjs+event", true, true, stream_head,
                                                 stream_escape, stream_tail, NULL, NULL},
                                                MDG_SOCKJS_EVENT},
                                       script = {{"sockjs+script", true, true, stream_head,
                                                  stream_escape, stream_tail, NULL, NULL},
                                                 MDG_SOCKJS_SCRIPT};
    if (wrap == MDG_SOCKJS_EVENT)
        return &event.f;
    return wrap == MDG_SOCKJS_SCRIPT ? &script.f : &xhr.f;
}

static void message_escape(const struct mdg_framing *f, struct mdg_writer *w, struct mdg_slice unit)
{
    (void)f;
    mdg_sockjs_write_message(w, MDG_SOCKJS_PLAIN, unit);
}

static void quote_head(const struct mdg_framing *f, struct mdg_writer *w, size_t body_len,
                       const struct mdg_unit_meta *meta)
{
    (void)f;
    (void)body_len;
    (void)meta;
    mdg_write_u8(w, '"');
}

static void quote_tail(const struct mdg_framing *f, struct mdg_writer *w,
                       const struct mdg_unit_meta *meta)
{
    (void)f;
    (void)meta;
    mdg_write_u8(w, '"');
}

const struct mdg_framing mdg_sockjs_framing_waiting = {
    .name = "sockjs",
    .text_only = true,
    .head = quote_head,
    .escape = message_escape,
    .tail = quote_tail,
};

static void websocket_head(const struct mdg_framing *f, struct mdg_writer *w, size_t body_len,
                           const struct mdg_unit_meta *meta)
{
    (void)f;
    (void)meta;
    uint8_t head[MDG_WS_HEAD_MAX];
    size_t n =
        mdg_ws_enc_head(head, MDG_WS_TEXT, true, false, body_len + sizeof "a[\"\"]" - 1, NULL);
    mdg_write_bytes(w, head, n);
    write_before(w, MDG_SOCKJS_PLAIN);
}

static void websocket_tail(const struct mdg_framing *f, struct mdg_writer *w,
                           const struct mdg_unit_meta *meta)
{
    (void)f;
    (void)meta;
    write_after(w, MDG_SOCKJS_PLAIN);
}

const struct mdg_framing mdg_sockjs_framing_websocket = {
    .name = "sockjs+ws",
    .joinable = true,
    .text_only = true,
    .head = websocket_head,
    .escape = message_escape,
    .tail = websocket_tail,
};

struct mdg_blob *mdg_sockjs_frame_blob(const struct mdg_framing *f, struct mdg_slice unit)
{
    const struct mdg_unit_meta meta = {0};
    struct mdg_writer w;
    mdg_writer_init(&w, NULL, 0);
    if (mdg_frame(f, &w, unit, &meta) < 0 || w.len > UINT32_MAX)
        return NULL;
    struct mdg_blob *blob = mdg_blob_new((uint32_t)w.len);
    if (!blob)
        return NULL;
    mdg_writer_init(&w, blob->data, blob->len);
    int err = mdg_frame(f, &w, unit, &meta);
    assert(err == 0 && w.len == blob->len);
    (void)err;
    return blob;
}
