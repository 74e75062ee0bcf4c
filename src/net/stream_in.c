/* Receiving: one call per readiness into the loop's hot buffer (or past a sink first), then the
 * owner's on_data; what it leaves is kept on the stream, bounded, until more arrives. */
#include "net/internal.h"
#include "net/tls_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

enum { OFFERS_PER_TURN_MAX = 1024 }; /* owners that hand a stream to and fro are cut off here */

static void advance_sink(struct mdg_stream_aux *aux, size_t n)
{
    aux->sink_left -= n;
    aux->sink = aux->sink_left ? aux->sink + n : NULL;
}

static bool can_offer(const struct mdg_stream *s)
{
    return !(s->flags & (MDG_STREAM_CLOSING | MDG_STREAM_LINGER | MDG_STREAM_PAUSED));
}

static bool has_sink(const struct mdg_stream *s)
{
    return s->aux && s->aux->sink;
}

/* One on_data. Returns what it consumed, or len when the stream is over. */
static size_t offer(struct mdg_stream *s, uint8_t *data, size_t len)
{
    struct mdg_net *net = mdg_net_of(s);
    s->flags &= (uint16_t)~MDG_STREAM_REOFFER;
    s->flags |= MDG_STREAM_IN_DATA;
    net->in_stream = s;
    net->in_data = data;
    net->in_len = len;
    int64_t used = s->user->on_data(s, (struct mdg_input){data, len});
    s->flags &= (uint16_t)~MDG_STREAM_IN_DATA;
    net->in_stream = NULL;
    if (net->borrowed) {
        net->borrowed = false;
        mdg_stream_flush_now(s);
    }
    if (s->flags & MDG_STREAM_DETACHED)
        return len;
    if (used < 0) {
        mdg_stream_close(s, (int)used);
        return len;
    }
    assert((uint64_t)used <= len);
    return (size_t)used;
}

static void keep_unread(struct mdg_stream *s, const uint8_t *data, size_t len)
{
    struct mdg_net *net = mdg_net_of(s);
    struct mdg_stream_aux *aux = s->aux;
    if (len == 0 || (s->flags & (MDG_STREAM_CLOSING | MDG_STREAM_LINGER))) {
        if (aux && aux->unread) {
            free(aux->unread);
            aux->unread = NULL;
            aux->unread_len = aux->unread_cap = 0;
        }
        return;
    }
    if (len > net->unread_max && !(s->flags & (MDG_STREAM_PAUSED | MDG_STREAM_YIELDED))) {
        mdg_stream_close(s, MDG_E_TOO_BIG);
        return;
    }
    aux = mdg_stream_aux_get(s);
    if (aux && aux->unread_cap < len) {
        /* data may lie inside the present buffer, but then len fits. */
        uint8_t *bigger = realloc(aux->unread, len);
        if (!bigger) {
            mdg_stream_close(s, MDG_E_NO_MEMORY);
            return;
        }
        aux->unread = bigger;
        aux->unread_cap = (uint32_t)len;
    }
    if (!aux) {
        mdg_stream_close(s, MDG_E_NO_MEMORY);
        return;
    }
    memmove(aux->unread, data, len);
    aux->unread_len = (uint32_t)len;
}

void mdg_stream_deliver(struct mdg_stream *s, uint8_t *data, size_t len)
{
    bool cut_off = false;
    for (int i = 0; len > 0 && can_offer(s) && !cut_off; i++) {
        size_t used;
        cut_off = i == OFFERS_PER_TURN_MAX;
        if (has_sink(s)) {
            used = mdg_min_size(len, s->aux->sink_left);
            memcpy(s->aux->sink, data, used);
            advance_sink(s->aux, used);
            s->user->on_sink(s, used);
            data += used;
            len -= used;
            continue;
        }
        bool plain = !mdg_tls_active(s);
        used = offer(s, data, len);
        data += used;
        len -= used;
        if (MDG_UNLIKELY(plain && mdg_tls_active(s))) {
            mdg_tls_feed(s, data, len); /* TLS was started: what is left is for it */
            return;
        }
        if (!(s->flags & MDG_STREAM_REOFFER) && !has_sink(s))
            break;
    }
    keep_unread(s, data, len);
    s->flags &= (uint16_t)~MDG_STREAM_REOFFER;
    if (cut_off)
        mdg_stream_reoffer(s);
    if (s->aux)
        mdg_stream_aux_tidy(s);
}

/* Both sides are done: the socket goes while the processor still has it in its cache. The stream
 * itself ends in the free phase as always. */
static void hang_up_early(struct mdg_stream *s)
{
    if ((s->flags & MDG_STREAM_CLOSING) && s->out_bytes == 0 && !mdg_tls_active(s))
        mdg_class(s)->transport->close(s);
}

void mdg_stream_at_eof(struct mdg_stream *s)
{
    s->flags |= MDG_STREAM_EOF;
    if (s->flags & MDG_STREAM_LINGER) {
        if (s->out_bytes == 0)
            mdg_stream_end(s);
        else
            mdg_stream_interest(s, false, true);
        return;
    }
    if (!s->user->on_eof) {
        mdg_stream_close(s, 0);
        hang_up_early(s);
        return;
    }
    s->user->on_eof(s);
    /* Most owners close, and then there is nothing to unwatch. */
    mdg_stream_interest(s, false, (s->flags & MDG_STREAM_WANT_OUT) != 0);
    hang_up_early(s);
}

static void at_error(struct mdg_stream *s, int err)
{
    if (s->flags & MDG_STREAM_LINGER)
        mdg_stream_end(s);
    else
        mdg_stream_close(s, err);
}

/* Paused, or the end was seen: nothing is read. A lazily unwatched descriptor, or a dead one. */
static void not_reading(struct mdg_stream *s, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP))
        at_error(s, mdg_class(s)->transport->error(s));
    else
        mdg_stream_interest(s, false, (s->flags & MDG_STREAM_WANT_OUT) != 0);
}

void mdg_stream_read(struct mdg_stream *s)
{
    struct mdg_net *net = mdg_net_of(s);
    struct mdg_stream_aux *aux = s->aux;
    if (aux && aux->tls) {
        mdg_tls_read(s);
        return;
    }
    if (MDG_UNLIKELY(s->flags & (MDG_STREAM_REOFFER | MDG_STREAM_YIELDED)))
        return; /* what is unread comes first, later in this turn or in the next */
    struct iovec iov[2];
    int iov_len = 0;
    size_t unread = 0, sink = 0;
    size_t room = s->user->read_max ? s->user->read_max : net->hot_bytes;
    if (aux && aux->sink) {
        sink = aux->sink_left;
        iov[iov_len++] = (struct iovec){aux->sink, sink};
    } else if (aux && aux->unread_len) {
        unread = aux->unread_len;
        assert(unread < net->hot_bytes);
        memcpy(net->hot, aux->unread, unread);
        room = mdg_min_size(room, net->hot_bytes - unread);
    }
    iov[iov_len++] = (struct iovec){net->hot + unread, room};
    ssize_t got = mdg_class(s)->transport->recv(s, iov, iov_len);
    net->counters.reads++;
    if (got <= 0) {
        if (got == 0)
            mdg_stream_at_eof(s);
        else if (got != -EAGAIN)
            at_error(s, (int)got);
        return;
    }
    net->counters.in_bytes += (uint64_t)got;
    size_t len = (size_t)got;
    if (MDG_UNLIKELY(s->flags & MDG_STREAM_LINGER))
        return; /* discarded */
    if (sink) {
        size_t filled = mdg_min_size(len, sink);
        advance_sink(aux, filled);
        s->user->on_sink(s, filled);
        len -= filled;
        if (len == 0) {
            if (s->aux)
                mdg_stream_aux_tidy(s);
            return;
        }
    }
    mdg_stream_deliver(s, net->hot, unread + len);
}

void mdg_stream_ready(struct mdg_source *src, uint32_t events)
{
    struct mdg_stream *s = MDG_CONTAINER_OF(src, struct mdg_stream, source);
    if (s->flags & MDG_STREAM_CLOSING)
        return;
    if (events & EPOLLOUT) {
        s->flags &= (uint16_t)~MDG_STREAM_WANT_OUT;
        mdg_stream_mark(s);
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    if (s->flags & (MDG_STREAM_PAUSED | MDG_STREAM_EOF))
        not_reading(s, events);
    else
        mdg_stream_read(s);
}

void mdg_stream_recv_into(struct mdg_stream *s, uint8_t *buf, size_t len)
{
    if (s->flags & (MDG_STREAM_CLOSING | MDG_STREAM_LINGER))
        return;
    if (len == 0) {
        if (s->aux)
            s->aux->sink = NULL;
        return;
    }
    assert(buf && s->user->on_sink);
    struct mdg_stream_aux *aux = mdg_stream_aux_get(s);
    if (!aux) {
        mdg_stream_close(s, MDG_E_NO_MEMORY);
        return;
    }
    assert(!aux->sink);
    aux->sink = buf;
    aux->sink_left = len;
}

void mdg_stream_pause_read(struct mdg_stream *s, bool paused)
{
    if (paused == ((s->flags & MDG_STREAM_PAUSED) != 0) || (s->flags & MDG_STREAM_CLOSING))
        return;
    if (paused) {
        /* The descriptor is unwatched when it turns out to be readable. */
        s->flags |= MDG_STREAM_PAUSED;
        return;
    }
    s->flags &= (uint16_t)~MDG_STREAM_PAUSED;
    if (!(s->flags & MDG_STREAM_EOF))
        mdg_stream_interest(s, true, (s->flags & MDG_STREAM_WANT_OUT) != 0);
    mdg_stream_reoffer(s);
}

void mdg_stream_adopt(struct mdg_stream *s, const struct mdg_stream_user *user, void *user_arg)
{
    assert(user->on_data && user->on_close);
    s->user = user;
    s->user_arg = user_arg;
    mdg_stream_reoffer(s);
}

void mdg_stream_reoffer(struct mdg_stream *s)
{
    struct mdg_net *net = mdg_net_of(s);
    if (s->flags & (MDG_STREAM_REOFFER | MDG_STREAM_CLOSING | MDG_STREAM_LINGER))
        return;
    if (s->flags & MDG_STREAM_IN_DATA) { /* deliver() goes round once more */
        s->flags |= MDG_STREAM_REOFFER;
        return;
    }
    if (!s->aux || s->aux->unread_len == 0)
        return;
    if (mdg_row_push(&net->reoffer, s) < 0) {
        mdg_stream_close(s, MDG_E_NO_MEMORY);
        return;
    }
    s->flags |= MDG_STREAM_REOFFER;
    mdg_loop_defer(net->loop, &net->reoffer_defer);
}

void mdg_stream_yield(struct mdg_stream *s)
{
    struct mdg_net *net = mdg_net_of(s);
    assert(s->flags & MDG_STREAM_IN_DATA);
    if (s->flags & (MDG_STREAM_YIELDED | MDG_STREAM_CLOSING | MDG_STREAM_LINGER))
        return;
    if (mdg_row_push(&net->yielded, s) < 0) {
        mdg_stream_close(s, MDG_E_NO_MEMORY);
        return;
    }
    s->flags |= MDG_STREAM_YIELDED;
    if (net->yielded.len == 1)
        mdg_timer_start(net->loop, &net->yield_timer, 0);
}

void mdg_net_run_yielded(struct mdg_timer *t, void *arg)
{
    struct mdg_net *net = arg;
    (void)t;
    for (size_t i = 0; i < net->yielded.len; i++) {
        struct mdg_stream *s = net->yielded.at[i];
        s->flags &= (uint16_t)~MDG_STREAM_YIELDED;
        mdg_stream_reoffer(s);
    }
    net->yielded.len = 0;
}

/* Streams in the row cannot have been freed: that happens at the end of the turn, after this. */
void mdg_net_run_reoffers(struct mdg_loop *loop, void *arg)
{
    struct mdg_net *net = arg;
    (void)loop;
    size_t len = net->reoffer.len;
    for (size_t i = 0; i < len; i++) {
        struct mdg_stream *s = net->reoffer.at[i];
        s->flags &= (uint16_t)~MDG_STREAM_REOFFER;
        if (!can_offer(s) || !s->aux || s->aux->unread_len == 0)
            continue;
        if (!mdg_tls_feed_unread(s))
            mdg_stream_deliver(s, s->aux->unread, s->aux->unread_len);
    }
    mdg_row_drop(&net->reoffer, len);
}
