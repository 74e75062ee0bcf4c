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

/* A message of a room's log is named by its place there, so that a restarted server knows it too;
 * another one by its address: unique among the contents that are alive, and a ring keeps those
 * alive that it names. */
uint64_t sio_offset_of(const struct mdg_sio_worker *w, const struct mdg_msg *m)
{
    const struct mdg_content *c = m->content;
    if (m->seq == 0) {
        const uint64_t what[2] = {(uint64_t)(uintptr_t)c, c->unix_ms};
        return mdg_siphash(w->seed, mdg_slice(what, sizeof what));
    }
    const uint64_t what[3] = {mdg_siphash(w->options->offset_key, c->channel), m->epoch, m->seq};
    return mdg_siphash(w->options->offset_key, mdg_slice(what, sizeof what));
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

static int add_recovery(struct mdg_sio_socket *s, const char pid[SIO_PID_CHARS])
{
    struct mdg_sio_worker *w = s->nsp->w;
    struct sio_recovery *r = calloc(1, sizeof *r);
    if (!r)
        return MDG_E_NO_MEMORY;
    memcpy(r->pid, pid, SIO_PID_CHARS);
    mdg_timer_init(&r->timer, on_expired, s);
    int err = mdg_map_put(&w->by_pid, mdg_slice(r->pid, sizeof r->pid), s);
    if (err < 0) {
        free(r);
        return err;
    }
    s->recovery = r;
    return 0;
}

int sio_recovery_new(struct mdg_sio_socket *s)
{
    struct mdg_sio_worker *w = s->nsp->w;
    uint8_t bytes[PID_BYTES];
    char pid[SIO_PID_CHARS];
    struct mdg_writer out;
    w->hooks->random(w->arg, bytes, sizeof bytes);
    bytes[0] = (uint8_t)w->number;
    mdg_writer_init(&out, pid, sizeof pid);
    mdg_write_base64url(&out, mdg_slice(bytes, sizeof bytes));
    return add_recovery(s, pid);
}

int sio_recovery_restore(struct mdg_sio_socket *s, struct mdg_slice pid)
{
    assert(pid.len == SIO_PID_CHARS);
    int err = add_recovery(s, (const char *)pid.data);
    if (err < 0)
        return err;
    s->recovery->restored = true;
    mdg_timer_start(s->nsp->w->loop, &s->recovery->timer, s->nsp->w->options->recovery_ms);
    return 0;
}

static void drop_oldest(struct mdg_sio_socket *s)
{
    struct sio_recovery *r = s->recovery;
    const struct sio_delivery *d = sio_ring_at(r, 0);
    if (d->seq == 0 && d->number)
        sio_forget_event(s, d->number);
    mdg_content_unref(d->content);
    r->at = (r->at + 1) % r->cap;
    r->len--;
}

static void drop_ring(struct mdg_sio_socket *s)
{
    while (s->recovery->len > 0)
        drop_oldest(s);
}

void sio_recovery_free(struct mdg_sio_socket *s)
{
    struct sio_recovery *r = s->recovery;
    struct mdg_sio_worker *w = s->nsp->w;
    if (!r)
        return;
    sio_forget(s);
    mdg_timer_stop(w->loop, &r->timer);
    (void)mdg_map_remove(&w->by_pid, mdg_slice(r->pid, sizeof r->pid));
    drop_ring(s);
    free(r->ring);
    sio_restored_drop(s);
    free(r);
    s->recovery = NULL;
}

/* Doubles the ring up to its limit; false: it stays as it is, and the oldest goes. */
static bool grow(struct sio_recovery *r, uint32_t max)
{
    uint32_t cap = r->cap ? r->cap * 2 : RING_FIRST;
    if (cap > max)
        cap = max;
    if (cap <= r->cap) /* a restored ring may be longer than others */
        return false;
    struct sio_delivery *ring = malloc(cap * sizeof *ring);
    if (!ring)
        return false;
    for (uint32_t i = 0; i < r->len; i++)
        ring[i] = *sio_ring_at(r, i);
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
    /* What the store gives back may be as long as two rings: it began some time before the end. */
    uint32_t most = s->nsp->w->options->recovery_ring * (r->restored ? 2u : 1u);
    uint64_t place = m->seq ? m->epoch : sio_keep_event(s, c, offset);
    if (r->len == r->cap && !grow(r, most)) {
        if (!r->overflowed) /* its record must say so */
            r->unkept = SIO_KEEP_EVERY;
        r->overflowed = true;
        if (r->cap == 0)
            return;
        if (r->restored) /* not in order yet: nobody knows which are the oldest */
            sio_recovery_hole(s);
        else
            drop_oldest(s);
    }
    *sio_ring_at(r, r->len++) =
        (struct sio_delivery){mdg_content_ref(c), offset, {.epoch = place}, m->seq};
    if (s->state != SIO_AWAY && ++r->unkept >= SIO_KEEP_EVERY)
        sio_keep(s);
}

void sio_recovery_hole(struct mdg_sio_socket *s)
{
    struct sio_recovery *r = s->recovery;
    if (!r)
        return;
    drop_ring(s);
    sio_restored_drop(s);
    r->before_offset = 0;
    r->overflowed = true;
}

/* Leaves a room and comes back to the same place in it, shown to others or not. */
static void rejoin(struct mdg_sio_socket *s, struct mdg_member *m, bool hidden)
{
    char name[SIO_CHANNEL_BYTES_MAX];
    struct mdg_slice channel = mdg_channel_name(m->channel);
    struct mdg_join_options options = {
        .hidden = hidden, .resume = true, .from = mdg_member_position(m), .cookie = m->cookie};
    struct mdg_member *again;
    if (channel.len > sizeof name || !options.from.epoch)
        return;
    if (options.cookie) /* nobody waits for this answer */
        options.cookie = SIO_COOKIE_QUIET;
    memcpy(name, channel.data, channel.len);
    mdg_hub_leave(m);
    if (mdg_hub_join(s->session.hub, &s->session, mdg_slice(name, channel.len), &options, &again) <
        0)
        s->recovery->overflowed = true;
}

/* Who has gone must not be shown as present for the minutes in which he may come back. */
static void show(struct mdg_sio_socket *s, bool hidden)
{
    for (uint32_t left = s->session.member_count; left > 0; left--) {
        struct mdg_member *m = mdg_session_first(&s->session);
        s->session.last = m; /* the ring turns on: who comes in again stands behind the others */
        if (!mdg_slice_starts(mdg_channel_name(m->channel), MDG_SLICE_LIT("socket.io:")) &&
            m->hidden != hidden)
            rejoin(s, m, hidden);
    }
}

void sio_recovery_park(struct mdg_sio_socket *s)
{
    show(s, true);
    sio_keep(s);
    mdg_timer_start(s->nsp->w->loop, &s->recovery->timer, s->nsp->w->options->recovery_ms);
}

void sio_recovery_unpark(struct mdg_sio_socket *s)
{
    show(s, false);
}

/* Which delivery comes next for a client that has received this offset. */
static bool find_offset(const struct sio_recovery *r, struct mdg_slice value, uint32_t *from)
{
    bool escaped;
    uint64_t offset;
    struct mdg_slice text = mdg_json_inside(value, &escaped);
    if (mdg_base64_decode(text, (uint8_t *)&offset, sizeof offset) != (int64_t)sizeof offset)
        return false;
    if (r->before_offset &&
        offset == r->before_offset) /* the newest message when it joined, from the history */
        return true;
    for (uint32_t i = r->len; i > 0; i--) {
        if (sio_ring_at(r, i - 1)->offset == offset) {
            *from = i;
            return true;
        }
    }
    return sio_restored_find(r, offset, from);
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
    if (s->recovery->restored)
        sio_restored_sort(s);
    *from = 0;
    bool can = mdg_json_find(auth, MDG_SLICE_LIT("offset"), &offset)
                   ? find_offset(s->recovery, offset, from)
                   : w->options->recover_without_offset && !s->recovery->overflowed;
    sio_restored_drop(s);
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
        const struct sio_delivery *d = sio_ring_at(r, i);
        if (d->content->flags & MDG_MSG_VOLATILE)
            continue; /* nobody promised those */
        const struct mdg_msg m = {
            .content = d->content, .epoch = d->seq ? d->epoch : 0, .seq = d->seq};
        if (sio_send_message(s, &m, d->offset) < 0) {
            sio_client_close(s->client, "transport error");
            return;
        }
    }
}
