/* A recovering client may come back to another worker than the one that remembers it. Its
 * connection stays where it is; its packets travel to the worker that remembers (the far end),
 * whose Socket.IO sees a link like any other.
 *
 * What travels is a parcel, posted to the other worker's loop. Each parcel and each end holds a
 * reference to the tunnel; the last one frees it. */
#include "server/sio.h"
#include <stdlib.h>

enum {
    TUNNEL_BYTES_MAX = 1 << 20, /* on their way to the client, before the far end hears "full" */
    UNITS_MAX = 4096,           /* that wait for a slow client; attack: many tiny ones */
};

enum parcel_kind { PARCEL_UNIT, PARCEL_CLOSE, PARCEL_CLOSED, PARCEL_ROOM };

struct parcel {
    struct mdg_post post;
    struct tunnel *tunnel;
    struct parcel *next; /* in the near end's queue */
    enum parcel_kind kind;
    int code;
    bool binary;
    size_t len;
    uint8_t data[];
};

struct tunnel {
    atomic_uint refs;
    struct mdg_worker *near_worker, *far_worker;
    struct madang_sio *io;
    /* The near end's thread only. */
    struct mdg_link *near; /* NULL: closed */
    struct parcel *queue, **queue_end;
    size_t queue_len;
    /* The far end's thread only. */
    struct mdg_link far;
    size_t out_bytes; /* sent and not yet said to be gone */
    bool refused, far_open;
    struct mdg_principal *who; /* for the far end, on the first parcel */
    struct mdg_sio_kept_handshake *hs;
};

static void release(struct tunnel *t)
{
    if (atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    mdg_principal_unref(t->who);
    mdg_sio_kept_handshake_free(t->hs);
    free(t);
}

static int send_parcel(struct tunnel *t, struct mdg_worker *to,
                       void (*fn)(struct mdg_loop *loop, struct mdg_post *post),
                       enum parcel_kind kind, struct mdg_slice data, int code, bool binary)
{
    struct parcel *p = malloc(sizeof *p + data.len);
    if (!p)
        return MDG_E_NO_MEMORY;
    *p = (struct parcel){
        .post.fn = fn, .tunnel = t, .kind = kind, .code = code, .binary = binary, .len = data.len};
    if (data.len)
        memcpy(p->data, data.data, data.len);
    atomic_fetch_add(&t->refs, 1);
    mdg_loop_post_node(to->loop, &p->post);
    return 0;
}

static void parcel_done(struct parcel *p)
{
    struct tunnel *t = p->tunnel;
    free(p);
    release(t);
}

/* ---- the far end: a link for Socket.IO ---- */

static void at_near(struct mdg_loop *loop, struct mdg_post *post);

static int far_send_unit(struct mdg_link *l, struct mdg_slice unit,
                         const struct mdg_unit_meta *meta)
{
    struct tunnel *t = MDG_CONTAINER_OF(l, struct tunnel, far);
    if (!t->far_open)
        return MDG_E_CLOSED;
    if (t->out_bytes > 0 && t->out_bytes + unit.len > TUNNEL_BYTES_MAX) {
        t->refused = true;
        return MDG_E_FULL;
    }
    int err = send_parcel(t, t->near_worker, at_near, PARCEL_UNIT, unit, 0, meta->binary);
    if (err == 0)
        t->out_bytes += unit.len;
    return err;
}

/* Framing is NULL: nobody sends framed units. */
static int far_send(struct mdg_link *l, struct mdg_chunk *framed, size_t n)
{
    (void)l;
    (void)framed;
    (void)n;
    return MDG_E_UNSUPPORTED;
}

static void far_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct tunnel *t = MDG_CONTAINER_OF(l, struct tunnel, far);
    (void)!send_parcel(t, t->near_worker, at_near, PARCEL_CLOSE, reason, code, false);
}

static void far_pause(struct mdg_link *l, bool paused)
{
    (void)l;
    (void)paused;
}

static size_t far_queued(const struct mdg_link *l)
{
    return MDG_CONTAINER_OF(l, struct tunnel, far)->out_bytes;
}

static const struct mdg_carrier far_carrier = {
    .name = "tunnel",
    .send = far_send,
    .send_unit = far_send_unit,
    .close = far_close,
    .pause = far_pause,
    .queued = far_queued,
};

static bool far_start(struct tunnel *t)
{
    struct mdg_sio_place *p = mdg_sio_place(t->io, t->far_worker);
    struct mdg_principal *who = t->who;
    struct mdg_sio_kept_handshake *hs = t->hs;
    t->far.carrier = &far_carrier;
    if (!p)
        return false;
    t->who = NULL;
    t->hs = NULL;
    if (mdg_sio_adopt(p->sio, &t->far, who, hs) < 0)
        return false;
    t->far_open = true;
    atomic_fetch_add(&t->refs, 1);
    return true;
}

static void far_unit(struct tunnel *t, struct parcel *p)
{
    struct mdg_input in = {p->data, p->len};
    if (!t->far_open && !(t->who && far_start(t))) {
        (void)!send_parcel(t, t->near_worker, at_near, PARCEL_CLOSE, mdg_slice(NULL, 0),
                           MDG_CLOSE_INTERNAL, false);
        return;
    }
    if (t->far.user->on_input(&t->far, in, p->binary) < 0)
        far_close(&t->far, MDG_CLOSE_PROTOCOL, mdg_slice(NULL, 0));
}

static void at_far(struct mdg_loop *loop, struct mdg_post *post)
{
    struct parcel *p = MDG_CONTAINER_OF(post, struct parcel, post);
    struct tunnel *t = p->tunnel;
    (void)loop;
    if (p->kind == PARCEL_UNIT) {
        far_unit(t, p);
    } else if (p->kind == PARCEL_ROOM && t->far_open) {
        t->out_bytes -= mdg_min_size(t->out_bytes, (size_t)p->code);
        if (t->refused && t->out_bytes < TUNNEL_BYTES_MAX / 4) {
            t->refused = false;
            t->far.user->on_writable(&t->far);
        }
    } else if (p->kind == PARCEL_CLOSED && t->far_open) {
        t->far_open = false;
        t->far.user->on_close(&t->far, p->code, mdg_slice(p->data, p->len));
        release(t);
    }
    parcel_done(p);
}

/* ---- the near end: the client's own link ---- */

static int near_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    struct tunnel *t = l->user_arg;
    return send_parcel(t, t->far_worker, at_far, PARCEL_UNIT, mdg_slice(in.data, in.len), 0,
                       binary);
}

static int pass_on(struct tunnel *t, const struct parcel *p)
{
    const struct mdg_unit_meta meta = {.binary = p->binary};
    int err = mdg_link_send_unit(t->near, mdg_slice(p->data, p->len), &meta);
    if (err == 0 && p->len <= INT32_MAX)
        (void)!send_parcel(t, t->far_worker, at_far, PARCEL_ROOM, mdg_slice(NULL, 0), (int)p->len,
                           false);
    return err;
}

static void drop_queue(struct tunnel *t)
{
    struct parcel *p = t->queue;
    t->queue = NULL;
    t->queue_end = &t->queue;
    t->queue_len = 0;
    while (p) {
        struct parcel *next = p->next;
        parcel_done(p);
        p = next;
    }
}

static void near_writable(struct mdg_link *l)
{
    struct tunnel *t = l->user_arg;
    while (t->queue) {
        struct parcel *p = t->queue;
        if (pass_on(t, p) == MDG_E_FULL)
            return;
        t->queue = p->next;
        if (!t->queue)
            t->queue_end = &t->queue;
        t->queue_len--;
        parcel_done(p);
    }
}

static void near_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct tunnel *t = l->user_arg;
    t->near = NULL;
    drop_queue(t);
    (void)!send_parcel(t, t->far_worker, at_far, PARCEL_CLOSED, reason, code, false);
    release(t);
}

static const struct mdg_link_user near_user = {near_input, near_writable, near_close};

static void near_unit(struct tunnel *t, struct parcel *p)
{
    int err = t->queue ? MDG_E_FULL : pass_on(t, p);
    if (err != MDG_E_FULL) {
        parcel_done(p);
        return;
    }
    if (t->queue_len == UNITS_MAX) {
        mdg_link_close(t->near, MDG_CLOSE_SLOW, MDG_SLICE_LIT("too slow"));
        parcel_done(p);
        return;
    }
    p->next = NULL;
    *t->queue_end = p;
    t->queue_end = &p->next;
    t->queue_len++;
}

static void at_near(struct mdg_loop *loop, struct mdg_post *post)
{
    struct parcel *p = MDG_CONTAINER_OF(post, struct parcel, post);
    struct tunnel *t = p->tunnel;
    (void)loop;
    if (t->near && p->kind == PARCEL_UNIT) {
        near_unit(t, p);
        return;
    }
    if (t->near && p->kind == PARCEL_CLOSE)
        mdg_link_close(t->near, p->code, mdg_slice(p->data, p->len));
    parcel_done(p);
}

int mdg_sio_tunnel(void *arg, unsigned worker, struct mdg_link *l, struct mdg_principal *who,
                   struct mdg_sio_kept_handshake *hs, struct mdg_slice unit)
{
    struct mdg_sio_place *p = arg;
    struct madang *server = p->io->server;
    struct tunnel *t = worker < server->worker_count ? calloc(1, sizeof *t) : NULL;
    if (!t)
        return MDG_E_NO_MEMORY;
    atomic_init(&t->refs, 1);
    t->io = p->io;
    t->near_worker = p->worker;
    t->far_worker = &server->workers[worker];
    t->near = l;
    t->queue_end = &t->queue;
    t->who = who;
    t->hs = hs;
    int err = send_parcel(t, t->far_worker, at_far, PARCEL_UNIT, unit, 0, false);
    if (err < 0) {
        free(t);
        return err;
    }
    l->user = &near_user;
    l->user_arg = t;
    return 0;
}
