/* The life of a stream: made from a descriptor, closed asynchronously, moved to another loop. */
#include "net/stream.h"
#include "net/internal.h"
#include "net/tls_internal.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static int64_t ignore_data(struct mdg_stream *s, struct mdg_input in)
{
    (void)s, (void)in;
    return 0;
}

static void ignore_close(struct mdg_stream *s, int reason)
{
    (void)s, (void)reason;
}

/* The owner of a stream that has none (yet, or any more). */
static const struct mdg_stream_user no_user = {
    .name = "none",
    .on_data = ignore_data,
    .on_close = ignore_close,
};

struct mdg_stream *mdg_stream_new(struct mdg_net *net, struct mdg_stream_class *cls, int fd,
                                  const struct mdg_stream_user *user, void *user_arg)
{
    struct mdg_stream *s = mdg_pool_get(&net->streams);
    if (!s)
        return NULL;
    s->source.ops = &cls->source;
    s->user = user ? user : &no_user;
    s->user_arg = user_arg;
    s->fd = fd;
    s->out_max = net->out_max;
    s->generation = ++net->generation ? net->generation : ++net->generation; /* never 0 */
    s->wheel_slot = MDG_WHEEL_IDLE;
    mdg_list_init(&s->link);
    mdg_list_push(&net->idle, &s->link);
    if (cls->transport->watch(s, EPOLLIN, false) < 0) {
        mdg_list_remove(&s->link);
        mdg_pool_put(&net->streams, s);
        return NULL;
    }
    s->watching = MDG_WATCH_IN;
    net->counters.streams++;
    return s;
}

static void forget_in_row(struct mdg_stream_row *row, const struct mdg_stream *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < row->len; i++) {
        if (row->at[i] != s)
            row->at[kept++] = row->at[i];
    }
    row->len = kept;
}

/* Everything in it is gone, and its fields say so: it can be used again as it is. */
static void shelve_aux(struct mdg_net *net, struct mdg_stream_aux *aux)
{
    if (aux->out != aux->own_out)
        free(aux->out);
    aux->out = aux->own_out;
    aux->out_head = 0;
    aux->out_cap = MDG_OUT_INLINE;
    aux->next = net->shelf;
    net->shelf = aux;
}

static void free_aux(struct mdg_net *net, struct mdg_stream *s)
{
    struct mdg_stream_aux *aux = s->aux;
    if (!aux)
        return;
    mdg_stream_drop_out(s);
    free(aux->unread);
    free(aux->peer);
    mdg_tls_free(aux->tls);
    aux->unread = NULL;
    aux->unread_len = aux->unread_cap = 0;
    aux->sink = NULL;
    aux->peer = NULL;
    aux->tls = NULL;
    shelve_aux(net, aux);
    s->aux = NULL;
}

void mdg_stream_free(struct mdg_stream *s)
{
    struct mdg_net *net = mdg_net_of(s);
    /* Normally empty by now; a row that was cut off in this turn may still name the stream. */
    if (net->reoffer.len)
        forget_in_row(&net->reoffer, s);
    if (s->flags & MDG_STREAM_YIELDED)
        forget_in_row(&net->yielded, s);
    if (net->owed.len)
        forget_in_row(&net->owed, s);
    if (s->flags & MDG_STREAM_DIRTY)
        forget_in_row(&net->dirty, s);
    mdg_list_remove(&s->link);
    free_aux(net, s);
    mdg_account_put(s->account);
    mdg_class(s)->transport->close(s);
    net->counters.streams--;
    mdg_pool_put(&net->streams, s);
}

struct mdg_stream_aux *mdg_stream_aux_get(struct mdg_stream *s)
{
    if (s->aux)
        return s->aux;
    struct mdg_net *net = mdg_net_of(s);
    struct mdg_stream_aux *aux = net->shelf;
    if (aux) {
        net->shelf = aux->next;
    } else {
        aux = mdg_pool_get(&net->auxes);
        if (!aux)
            return NULL;
        aux->out = aux->own_out;
        aux->out_cap = MDG_OUT_INLINE;
    }
    s->aux = aux;
    return aux;
}

void mdg_stream_aux_tidy(struct mdg_stream *s)
{
    struct mdg_stream_aux *aux = s->aux;
    if (aux->out_len || aux->unread_len || aux->sink || aux->tls || aux->peer ||
        (s->flags & (MDG_STREAM_IN_DATA | MDG_STREAM_LINGER)))
        return;
    free_aux(mdg_net_of(s), s);
}

void mdg_stream_interest(struct mdg_stream *s, bool in, bool out)
{
    uint8_t want = (uint8_t)((in ? MDG_WATCH_IN : 0) | (out ? MDG_WATCH_OUT : 0));
    if (want == s->watching || (s->flags & MDG_STREAM_CLOSING))
        return;
    int err = mdg_class(s)->transport->watch(
        s, (in ? (uint32_t)EPOLLIN : 0) | (out ? (uint32_t)EPOLLOUT : 0), true);
    if (err < 0)
        mdg_stream_close(s, err);
    else
        s->watching = want;
}

int mdg_row_push(struct mdg_stream_row *row, struct mdg_stream *s)
{
    if (row->len == row->cap) {
        size_t cap = row->cap ? row->cap * 2 : 64;
        struct mdg_stream **at = realloc(row->at, cap * sizeof(struct mdg_stream *));
        if (!at)
            return MDG_E_NO_MEMORY;
        row->at = at;
        row->cap = cap;
    }
    row->at[row->len++] = s;
    return 0;
}

void mdg_row_drop(struct mdg_stream_row *row, size_t n)
{
    row->len -= n;
    if (row->len > 0)
        memmove(row->at, row->at + n, row->len * sizeof(struct mdg_stream *));
}

void mdg_stream_close(struct mdg_stream *s, int reason)
{
    struct mdg_net *net = mdg_net_of(s);
    if (s->flags & MDG_STREAM_CLOSING)
        return;
    if (s->out_bytes || (s->aux && s->aux->tls)) {
        mdg_stream_mark(s); /* one attempt; a failure to mark closes, and ends in here again */
        if (s->flags & MDG_STREAM_CLOSING)
            return;
    }
    s->flags |= MDG_STREAM_CLOSING;
    s->due_s = (uint32_t)reason;
    mdg_list_remove(&s->link);
    bool first = mdg_list_empty(&net->closing);
    mdg_list_push(&net->closing, &s->link);
    if (first)
        mdg_loop_kick(net->loop);
}

void mdg_stream_finish(struct mdg_stream *s, int reason, uint32_t timeout_s)
{
    if (s->flags & (MDG_STREAM_CLOSING | MDG_STREAM_LINGER))
        return;
    struct mdg_stream_aux *aux = mdg_stream_aux_get(s);
    if (!aux || (s->flags & MDG_STREAM_FAILED)) {
        mdg_stream_close(s, reason);
        return;
    }
    mdg_stream_set_timeout(s, timeout_s ? timeout_s : 1);
    aux->finish_reason = reason;
    aux->sink = NULL;
    s->flags |= MDG_STREAM_LINGER;
    s->flags &= (uint16_t)~MDG_STREAM_PAUSED;
    mdg_stream_interest(s, !(s->flags & MDG_STREAM_EOF), (s->flags & MDG_STREAM_WANT_OUT) != 0);
    mdg_stream_mark(s); /* the flush finds an empty queue and shuts the sending side */
}

void mdg_stream_disown(struct mdg_stream *s)
{
    s->user = &no_user;
    s->user_arg = NULL;
}

void mdg_stream_end(struct mdg_stream *s)
{
    mdg_stream_close(s, s->aux ? s->aux->finish_reason : 0);
}

void mdg_stream_shutdown(struct mdg_stream *s)
{
    if (s->flags & (MDG_STREAM_CLOSING | MDG_STREAM_LINGER | MDG_STREAM_SHUTDOWN))
        return;
    s->flags |= MDG_STREAM_SHUTDOWN;
    mdg_stream_mark(s);
}

struct mdg_loop *mdg_stream_loop(const struct mdg_stream *s)
{
    return mdg_net_of(s)->loop;
}

struct mdg_net *mdg_stream_net(const struct mdg_stream *s)
{
    return mdg_net_of(s);
}

const char *mdg_stream_kind(const struct mdg_stream *s)
{
    return s->aux && s->aux->tls ? "tls" : mdg_class(s)->transport->name;
}

static int socket_name(const struct mdg_stream *s, struct mdg_addr *out, bool peer)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    if (s->fd < 0)
        return MDG_E_UNSUPPORTED;
    int got = peer ? getpeername(s->fd, (struct sockaddr *)&sa, &len)
                   : getsockname(s->fd, (struct sockaddr *)&sa, &len);
    if (got < 0)
        return -errno;
    mdg_addr_from_sockaddr(out, (struct sockaddr *)&sa, len);
    return 0;
}

int mdg_stream_peer(const struct mdg_stream *s, struct mdg_addr *out)
{
    if (s->aux && s->aux->peer) {
        *out = s->aux->peer[0];
        return 0;
    }
    const struct mdg_net *net = mdg_net_of(s);
    if (net->accepted_generation == s->generation) {
        *out = net->accepted_from;
        return 0;
    }
    return socket_name(s, out, true);
}

int mdg_stream_local(const struct mdg_stream *s, struct mdg_addr *out)
{
    if (s->aux && s->aux->peer) {
        *out = s->aux->peer[1];
        return 0;
    }
    return socket_name(s, out, false);
}

bool mdg_stream_proxied(const struct mdg_stream *s)
{
    return s->aux && s->aux->peer;
}

bool mdg_stream_hung_up(const struct mdg_stream *s)
{
    struct pollfd p = {.fd = s->fd, .events = POLLRDHUP};
    if (s->flags & (MDG_STREAM_EOF | MDG_STREAM_FAILED))
        return true;
    return s->fd >= 0 && poll(&p, 1, 0) > 0;
}

int mdg_stream_set_peer(struct mdg_stream *s, const struct mdg_addr *peer,
                        const struct mdg_addr *local)
{
    struct mdg_account *account;
    struct mdg_stream_aux *aux = mdg_stream_aux_get(s);
    struct mdg_addr *both = malloc(2 * sizeof *both);
    int err =
        aux && both ? mdg_account_get(mdg_net_of(s)->accounts, peer, &account) : MDG_E_NO_MEMORY;
    if (err < 0) {
        free(both);
        return err;
    }
    mdg_account_put(s->account);
    s->account = account;
    free(aux->peer);
    aux->peer = both;
    both[0] = *peer;
    both[1] = *local;
    return 0;
}

/* The bytes that belong to the next owner. */
static int take_unread(struct mdg_stream *s, size_t consumed, struct mdg_blob **out)
{
    const struct mdg_net *net = mdg_net_of(s);
    struct mdg_slice unread = mdg_slice(NULL, 0);
    if (s->flags & MDG_STREAM_IN_DATA) {
        assert(consumed <= net->in_len);
        unread = mdg_slice(net->in_data + consumed, net->in_len - consumed);
    } else if (s->aux) {
        unread = mdg_slice(s->aux->unread, s->aux->unread_len);
    }
    *out = NULL;
    if (unread.len == 0)
        return 0;
    *out = mdg_blob_copy(unread);
    return *out ? 0 : MDG_E_NO_MEMORY;
}

int mdg_stream_detach(struct mdg_stream *s, size_t consumed, struct mdg_moved *out)
{
    struct mdg_net *net = mdg_net_of(s);
    struct mdg_stream_aux *aux = s->aux;
    if (mdg_stream_closing(s) || s->fd < 0)
        return MDG_E_CLOSED;
    if (s->out_bytes > 0 || (aux && aux->sink) || mdg_tls_busy(s))
        return MDG_E_FULL;
    *out = (struct mdg_moved){.fd = s->fd, .account = s->account, .out_max = s->out_max};
    out->is_unix = mdg_class(s) == &net->un;
    int err = take_unread(s, consumed, &out->unread);
    if (err < 0)
        return err;
    if (aux) {
        out->tls = aux->tls;
        out->peer = aux->peer;
        aux->tls = NULL;
        aux->peer = NULL;
        aux->unread_len = 0;
    }
    mdg_loop_unwatch(net->loop, s->fd);
    s->fd = -1;
    s->account = NULL;
    s->user = &no_user;
    mdg_stream_close(s, 0);
    s->flags |= MDG_STREAM_DETACHED;
    return 0;
}

void mdg_moved_drop(struct mdg_moved *m)
{
    mdg_tls_free(m->tls);
    mdg_blob_unref(m->unread);
    mdg_account_put(m->account);
    free(m->peer);
    if (m->fd >= 0)
        close(m->fd);
    *m = (struct mdg_moved){.fd = -1};
}

static int attach_state(struct mdg_stream *s, struct mdg_moved *m)
{
    if (!m->tls && !m->peer && !m->unread)
        return 0;
    struct mdg_stream_aux *aux = mdg_stream_aux_get(s);
    uint32_t unread_len = m->unread ? m->unread->len : 0;
    uint8_t *unread = unread_len ? malloc(unread_len) : NULL;
    if (!aux || (unread_len && !unread)) {
        free(unread);
        return MDG_E_NO_MEMORY;
    }
    if (unread_len)
        memcpy(unread, m->unread->data, unread_len);
    aux->unread = unread;
    aux->unread_len = aux->unread_cap = unread_len;
    aux->tls = m->tls;
    aux->peer = m->peer;
    if (m->tls)
        s->flags |= MDG_STREAM_SECURE;
    mdg_blob_unref(m->unread);
    m->tls = NULL;
    m->peer = NULL;
    m->unread = NULL;
    mdg_stream_reoffer(s);
    return 0;
}

int mdg_stream_attach(struct mdg_net *net, struct mdg_moved *m, const struct mdg_stream_user *user,
                      void *user_arg, struct mdg_stream **out)
{
    struct mdg_stream_class *cls = m->is_unix ? &net->un : &net->tcp;
    struct mdg_stream *s = mdg_stream_new(net, cls, m->fd, user, user_arg);
    if (!s) {
        mdg_moved_drop(m);
        return MDG_E_NO_MEMORY;
    }
    m->fd = -1;
    s->account = m->account;
    m->account = NULL;
    s->out_max = m->out_max;
    if (attach_state(s, m) < 0) {
        mdg_moved_drop(m);
        mdg_stream_free(s);
        return MDG_E_NO_MEMORY;
    }
    *out = s;
    return 0;
}

int mdg_stream_from_fd(struct mdg_net *net, int fd, const struct mdg_stream_user *user,
                       void *user_arg, struct mdg_stream **out)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        return -errno;
    struct mdg_stream_class *cls = sa.ss_family == AF_UNIX ? &net->un : &net->tcp;
    struct mdg_stream *s = mdg_stream_new(net, cls, fd, user, user_arg);
    if (!s)
        return MDG_E_NO_MEMORY;
    *out = s;
    return 0;
}
