#include "transport/push.h"
#include "codec/http_write.h"
#include "loop/loop.h"
#include <stdlib.h>

struct push {
    struct mdg_link link;   /* first: a link is a push */
    struct mdg_exchange *x; /* NULL once closed */
    struct mdg_defer later; /* forget the request; later, tell the close */
    uint32_t heartbeat_s;
    uint16_t close_code;
};

static const struct mdg_push_kind *kind_of(const struct push *p)
{
    return MDG_CONTAINER_OF(p->link.carrier, const struct mdg_push_kind, carrier);
}

static void free_push(struct push *p)
{
    mdg_defer_cancel(&p->later);
    free(p);
}

/* Later in the turn of mdg_push_open: nobody looks at the request any more. */
static void forget_request(struct mdg_loop *loop, void *arg)
{
    struct push *p = arg;
    (void)loop;
    if (p->x)
        mdg_exchange_forget_request(p->x);
}

static void tell_close(struct mdg_loop *loop, void *arg)
{
    struct push *p = arg;
    (void)loop;
    p->link.user->on_close(&p->link, p->close_code, mdg_slice(NULL, 0));
    free_push(p);
}

static void on_writable(struct mdg_exchange *x)
{
    struct push *p = mdg_exchange_arg(x);
    p->link.user->on_writable(&p->link);
}

static void on_abort(struct mdg_exchange *x)
{
    struct push *p = mdg_exchange_arg(x);
    p->x = NULL;
    p->link.user->on_close(&p->link, MDG_CLOSE_ABNORMAL, mdg_slice(NULL, 0));
    free_push(p);
}

/* Silence: a sign of life for proxies, and for us a way to notice a peer that is gone. */
static void on_timeout(struct mdg_exchange *x)
{
    struct push *p = mdg_exchange_arg(x);
    struct mdg_blob *blob = mdg_blob_copy(kind_of(p)->heartbeat);
    if (blob) {
        struct mdg_chunk c = mdg_chunk_all(blob);
        if (mdg_exchange_queued(x) > 0 || mdg_exchange_write(x, &c, 1) < 0)
            mdg_blob_unref(blob); /* what waits is sign enough */
    }
    mdg_exchange_set_timeout(x, p->heartbeat_s);
}

static const struct mdg_http_handler handler = {
    .on_writable = on_writable,
    .on_abort = on_abort,
    .on_timeout = on_timeout,
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

int mdg_push_open(const struct mdg_push_kind *kind, struct mdg_exchange *x,
                  const struct mdg_push_options *options, struct mdg_slice first,
                  const struct mdg_link_user *user, void *user_arg, struct mdg_link **out)
{
    if (mdg_exchange_method(x) != MDG_HTTP_GET)
        return MDG_E_UNSUPPORTED;
    struct push *p = calloc(1, sizeof *p);
    struct mdg_blob *blob = p && first.len ? mdg_blob_copy(first) : NULL;
    if (!p || (first.len && !blob)) {
        free(p);
        return MDG_E_NO_MEMORY;
    }
    int err = begin(kind, x);
    if (err < 0) {
        mdg_blob_unref(blob);
        free(p);
        return err;
    }
    struct mdg_chunk c = blob ? mdg_chunk_all(blob) : (struct mdg_chunk){0};
    if (blob && mdg_exchange_write(x, &c, 1) < 0)
        mdg_blob_unref(blob); /* closing: on_abort follows */
    p->link = (struct mdg_link){
        .carrier = &kind->carrier,
        .framing = mdg_exchange_chunked(x) ? &kind->chunked : &kind->plain,
        .user = user,
        .user_arg = user_arg,
    };
    p->x = x;
    p->heartbeat_s = options->heartbeat_s;
    p->later = (struct mdg_defer){.fn = forget_request, .arg = p};
    mdg_exchange_set_handler(x, &handler);
    mdg_exchange_set_arg(x, p);
    mdg_exchange_abort_on_eof(x);
    mdg_exchange_set_timeout(x, p->heartbeat_s);
    mdg_loop_defer(mdg_exchange_loop(x), &p->later);
    *out = &p->link;
    return 0;
}

int mdg_push_send(struct mdg_link *l, struct mdg_chunk *framed, size_t n)
{
    struct push *p = (struct push *)l;
    if (!p->x)
        return MDG_E_CLOSED;
    int err = mdg_exchange_write_framed(p->x, framed, n);
    if (err == 0)
        mdg_exchange_set_timeout(p->x, p->heartbeat_s);
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
    struct push *p = (struct push *)l;
    (void)reason; /* HTTP has no place for it: the dialect has said it in a unit */
    if (!p->x)
        return;
    struct mdg_loop *loop = mdg_exchange_loop(p->x);
    mdg_exchange_end(p->x);
    p->x = NULL;
    p->close_code = (uint16_t)code;
    mdg_defer_cancel(&p->later);
    p->later = (struct mdg_defer){.fn = tell_close, .arg = p};
    mdg_loop_defer(loop, &p->later);
}

void mdg_push_pause(struct mdg_link *l, bool paused)
{
    (void)l; /* nothing comes up this way */
    (void)paused;
}

size_t mdg_push_queued(const struct mdg_link *l)
{
    const struct push *p = (const struct push *)l;
    return p->x ? mdg_exchange_queued(p->x) : 0;
}

void mdg_push_chunk_head(struct mdg_writer *w, size_t len)
{
    uint8_t head[MDG_HTTP_CHUNK_HEAD_MAX];
    mdg_write_bytes(w, head, mdg_http_chunk_head(head, len));
}
