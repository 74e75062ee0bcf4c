/* Connection state recovery. A socket remembers its last deliveries as references to their
 * contents; each has an offset that was sent as the event's last argument, volatile ones too, since
 * the published client takes whatever string comes last for its offset (PITFALLS 18). While it has
 * no connection the socket stays a member of its rooms and goes on remembering; when it is found
 * again by its pid, what comes behind the client's offset is sent. */
#include "base/base64.h"
#include "base/json.h"
#include "dialect/sio_impl.h"
#include <stdlib.h>

enum { PID_BYTES = 15, RING_FIRST = 8 };

/* Unique among the contents that are alive: a ring keeps those alive that it names. */
uint64_t sio_offset_of(const struct mdg_sio_worker *w, const struct mdg_content *c)
{
    const uint64_t what[2] = {(uint64_t)(uintptr_t)c, c->unix_ms};
    return mdg_siphash(w->seed, mdg_slice(what, sizeof what));
}

void sio_write_offset(struct mdg_writer *w, uint64_t offset)
{
    mdg_write_u8(w, '"');
    mdg_write_base64url(w, mdg_slice(&offset, sizeof offset));
    mdg_write_u8(w, '"');
}

static void on_expired(struct mdg_timer *t, void *arg)
{
    (void)t;
    sio_socket_free(arg);
}

int sio_recovery_new(struct mdg_sio_socket *s)
{
    struct mdg_sio_worker *w = s->nsp->w;
    uint8_t bytes[PID_BYTES];
    struct mdg_writer out;
    struct sio_recovery *r = calloc(1, sizeof *r);
    if (!r)
        return MDG_E_NO_MEMORY;
    w->hooks->random(w->arg, bytes, sizeof bytes);
    bytes[0] = (uint8_t)w->number;
    mdg_writer_init(&out, r->pid, sizeof r->pid);
    mdg_write_base64url(&out, mdg_slice(bytes, sizeof bytes));
    mdg_timer_init(&r->timer, on_expired, s);
    if (mdg_map_put(&w->by_pid, mdg_slice(r->pid, sizeof r->pid), s) < 0) {
        free(r);
        return MDG_E_NO_MEMORY;
    }
    s->recovery = r;
    return 0;
}

void sio_recovery_free(struct mdg_sio_socket *s)
{
    struct sio_recovery *r = s->recovery;
    struct mdg_sio_worker *w = s->nsp->w;
    if (!r)
        return;
    mdg_timer_stop(w->loop, &r->timer);
    (void)mdg_map_remove(&w->by_pid, mdg_slice(r->pid, sizeof r->pid));
    for (uint32_t i = 0; i < r->len; i++)
        mdg_content_unref(r->ring[(r->at + i) % r->cap].content);
    free(r->ring);
    free(r);
    s->recovery = NULL;
}

/* Doubles the ring up to its limit; false: it stays as it is, and the oldest goes. */
static bool grow(struct sio_recovery *r, uint32_t max)
{
    uint32_t cap = r->cap ? r->cap * 2 : RING_FIRST;
    if (cap > max)
        cap = max;
    if (cap == r->cap)
        return false;
    struct sio_delivery *ring = malloc(cap * sizeof *ring);
    if (!ring)
        return false;
    for (uint32_t i = 0; i < r->len; i++)
        ring[i] = r->ring[(r->at + i) % r->cap];
    free(r->ring);
    r->ring = ring;
    r->cap = cap;
    r->at = 0;
    return true;
}

void sio_recovery_note(struct mdg_sio_socket *s, const struct mdg_msg *m, uint64_t offset)
{
    struct mdg_content *c = m->content;
    struct sio_recovery *r = s->recovery;
    if (!r || (s->state == SIO_AWAY && (c->flags & MDG_MSG_VOLATILE)))
        return;
    if (r->len == r->cap && !grow(r, s->nsp->w->options->recovery_ring)) {
        r->overflowed = true;
        if (r->cap == 0)
            return;
        mdg_content_unref(r->ring[r->at].content);
        r->at = (r->at + 1) % r->cap;
        r->len--;
    }
    r->ring[(r->at + r->len++) % r->cap] =
        (struct sio_delivery){mdg_content_ref(c), offset, m->epoch, m->seq};
}

void sio_recovery_park(struct mdg_sio_socket *s)
{
    mdg_timer_start(s->nsp->w->loop, &s->recovery->timer, s->nsp->w->options->recovery_ms);
}

/* Which delivery comes next for a client that has received this offset. */
static bool find_offset(const struct sio_recovery *r, struct mdg_slice value, uint32_t *from)
{
    bool escaped;
    uint64_t offset;
    struct mdg_slice text = mdg_json_inside(value, &escaped);
    if (mdg_base64_decode(text, (uint8_t *)&offset, sizeof offset) != (int64_t)sizeof offset)
        return false;
    for (uint32_t i = r->len; i > 0; i--) {
        if (r->ring[(r->at + i - 1) % r->cap].offset == offset) {
            *from = i;
            return true;
        }
    }
    return false;
}

int sio_recovery_worker(struct mdg_slice auth)
{
    uint8_t bytes[PID_BYTES];
    struct mdg_slice pid;
    bool escaped;
    if (!mdg_json_find(auth, MDG_SLICE_LIT("pid"), &pid))
        return -1;
    pid = mdg_json_inside(pid, &escaped);
    if (pid.len != SIO_PID_CHARS || mdg_base64_decode(pid, bytes, sizeof bytes) != PID_BYTES)
        return -1;
    return bytes[0];
}

/* The line is not known to be dead yet, but its client is here again. */
static void take_over(struct mdg_sio_socket *s)
{
    struct mdg_sio_client *old = s->client;
    if (!old)
        return;
    sio_socket_disconnect(s, "transport close", true);
    sio_client_close(old, "transport close");
}

struct mdg_sio_socket *sio_recovery_find(struct mdg_sio_client *c, struct sio_nsp *nsp,
                                         struct mdg_slice auth, uint32_t *from)
{
    struct mdg_sio_worker *w = c->w;
    struct mdg_slice pid, offset;
    bool escaped;
    if (!w->options->recovery || c->protocol != 5 ||
        !mdg_json_find(auth, MDG_SLICE_LIT("pid"), &pid))
        return NULL;
    struct mdg_sio_socket *s = mdg_map_get(&w->by_pid, mdg_json_inside(pid, &escaped));
    if (!s || s->nsp != nsp || (s->state != SIO_AWAY && s->state != SIO_CONNECTED))
        return NULL;
    *from = 0;
    bool can = mdg_json_find(auth, MDG_SLICE_LIT("offset"), &offset)
                   ? find_offset(s->recovery, offset, from)
                   : w->options->recover_without_offset && !s->recovery->overflowed;
    if (s->state == SIO_CONNECTED)
        take_over(s);
    if (can)
        return s;
    sio_socket_free(s); /* the client begins anew: nobody else will ask for this one */
    return NULL;
}

void sio_recovery_replay(struct mdg_sio_socket *s, uint32_t from)
{
    struct sio_recovery *r = s->recovery;
    for (uint32_t i = from; i < r->len; i++) {
        const struct sio_delivery *d = &r->ring[(r->at + i) % r->cap];
        if (d->content->flags & MDG_MSG_VOLATILE)
            continue; /* nobody promised those */
        const struct mdg_msg m = {.content = d->content, .epoch = d->epoch, .seq = d->seq};
        if (sio_send_message(s, &m, d->offset) < 0) {
            sio_client_close(s->client, "transport error");
            return;
        }
    }
}
