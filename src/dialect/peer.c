/* Session and link in one object: its life, the upcalls of its link, and units for it alone. */
#include "dialect/peer_impl.h"
#include <stdlib.h>

enum {
    WORK_BYTES_MAX = 256 << 20, /* of one encoded message; messages have a smaller limit */
    WORK_BYTES_KEPT = 1 << 20,  /* after a turn a larger scratch is given back */
};

void mdg_peers_config_init(struct mdg_peers_config *config)
{
    *config = (struct mdg_peers_config){
        .default_room = MDG_SLICE_LIT("lobby"),
        .message_bytes_max = 64 * 1024,
        .requests_max = 1024,
        .publish_rate = 0,
        .publish_burst = 100,
        .control_bytes_max = 256 * 1024,
        .history_max = 200,
    };
}

int mdg_peers_new(struct mdg_hub *hub, const struct mdg_peers_config *config,
                  struct mdg_peers **out)
{
    struct mdg_peers *ps = calloc(1, sizeof *ps);
    if (!ps)
        return MDG_E_NO_MEMORY;
    ps->hub = hub;
    ps->config = *config;
    mdg_buf_init(&ps->framed, WORK_BYTES_MAX);
    mdg_buf_init(&ps->work, WORK_BYTES_MAX);
    mdg_buf_init(&ps->scratch, WORK_BYTES_MAX);
    mdg_small_init(&ps->peers);
    *out = ps;
    return 0;
}

static void shrink(struct mdg_buf *b)
{
    b->len = 0;
    if (b->cap > WORK_BYTES_KEPT)
        mdg_buf_fini(b);
}

void mdg_peers_flush(struct mdg_peers *ps)
{
    for (size_t i = 0; i < MDG_MSG_SLOTS_PEER && ps->wires[i].dialect; i++)
        mdg_wire_drop_burst(&ps->wires[i]);
    shrink(&ps->framed);
    shrink(&ps->work);
    shrink(&ps->scratch);
}

void mdg_peers_free(struct mdg_peers *ps)
{
    if (!ps)
        return;
    assert(ps->stats.peers == 0);
    mdg_peers_flush(ps);
    mdg_small_fini(&ps->peers);
    mdg_buf_fini(&ps->framed);
    mdg_buf_fini(&ps->work);
    mdg_buf_fini(&ps->scratch);
    free(ps);
}

const struct mdg_peers_stats *mdg_peers_stats(const struct mdg_peers *ps)
{
    return &ps->stats;
}

const struct mdg_peers_config *mdg_peers_config(const struct mdg_peers *ps)
{
    return &ps->config;
}

struct mdg_hub *mdg_peers_hub(const struct mdg_peers *ps)
{
    return ps->hub;
}

struct closing {
    int code;
    struct mdg_slice reason;
    size_t *left;
};

static void close_session(struct mdg_session *s, void *arg)
{
    const struct closing *c = arg;
    if (*c->left == 0 || !s->ops->close || mdg_peer_closing(mdg_peer_of(s)))
        return;
    --*c->left;
    s->ops->close(s, c->code, c->reason);
}

void mdg_peers_close_some(struct mdg_peers *ps, int code, struct mdg_slice reason, size_t *left)
{
    struct closing c = {code, reason, left};
    mdg_hub_each_session(ps->hub, close_session, &c);
}

void mdg_peer_close_session(struct mdg_session *s, int code, struct mdg_slice reason)
{
    mdg_peer_close(mdg_peer_of(s), code, reason);
}

static size_t bytes_of(size_t state_words)
{
    return sizeof(struct mdg_peer) + state_words * sizeof(uint64_t);
}

int mdg_peer_new(struct mdg_peers *ps, const struct mdg_dialect *dialect, struct mdg_principal *who,
                 struct mdg_peer **out)
{
    size_t words = (dialect->state_bytes + sizeof(uint64_t) - 1) / sizeof(uint64_t);
    assert(words <= UINT8_MAX && dialect->session.close);
    struct mdg_peer *p = mdg_small_get(&ps->peers, bytes_of(words));
    if (!p)
        return MDG_E_NO_MEMORY;
    mdg_session_init(&p->session, ps->hub, &dialect->session, who);
    p->session.user_slot = MDG_PEER_NO_SLOT;
    p->session.user_words = (uint8_t)words;
    p->shared = ps;
    p->tokens = ps->config.publish_burst * 1000;
    p->tokens_ms = (uint32_t)mdg_hub_now_ms(ps->hub);
    ps->stats.peers++;
    *out = p;
    return 0;
}

void mdg_peer_free(struct mdg_peer *p)
{
    if (!p)
        return;
    struct mdg_peers *ps = p->shared;
    mdg_hub_forget(ps->hub, p);
    mdg_session_fini(&p->session);
    ps->stats.peers--;
    if (p->waiting) {
        mdg_buf_fini(p->waiting);
        free(p->waiting);
    }
    mdg_small_put(&ps->peers, p, bytes_of(p->session.user_words));
}

void mdg_peer_attach(struct mdg_peer *p, struct mdg_link *link, const struct mdg_handshake *hs)
{
    assert(!p->link);
    p->link = link;
    p->session.user_flags |= PEER_ATTACHED;
    mdg_peer_find_wire(p);
    int err = mdg_dialect_of(p)->open(p, hs);
    if (err < 0)
        mdg_peer_close(p, mdg_peer_close_code(err), mdg_slice(NULL, 0));
}

void mdg_peer_become(struct mdg_peer *p, const struct mdg_dialect *dialect)
{
    static const struct mdg_handshake nothing_new = {0};
    const struct mdg_dialect *before = mdg_dialect_of(p);
    assert(p->link && dialect->state_bytes <= p->session.user_words * sizeof(uint64_t));
    if (before->close)
        before->close(p, MDG_CLOSE_NORMAL);
    mdg_hub_forget(p->shared->hub, p);
    while (p->session.last)
        mdg_hub_leave(mdg_session_first(&p->session));
    memset(p->state, 0, p->session.user_words * sizeof(uint64_t));
    p->session.ops = &dialect->session;
    mdg_peer_find_wire(p);
    int err = dialect->open(p, &nothing_new);
    if (err < 0)
        mdg_peer_close(p, mdg_peer_close_code(err), mdg_slice(NULL, 0));
}

struct mdg_session *mdg_peer_session(struct mdg_peer *p)
{
    return &p->session;
}

struct mdg_link *mdg_peer_link(struct mdg_peer *p)
{
    return p->link;
}

struct mdg_peers *mdg_peer_shared(struct mdg_peer *p)
{
    return p->shared;
}

const struct mdg_dialect *mdg_peer_dialect(const struct mdg_peer *p)
{
    return mdg_dialect_of(p);
}

void *mdg_peer_state(struct mdg_peer *p)
{
    return p->state;
}

struct mdg_peer *mdg_peer_of(struct mdg_session *s)
{
    return MDG_CONTAINER_OF(s, struct mdg_peer, session);
}

struct mdg_peer *mdg_peer_of_link(struct mdg_link *l)
{
    return l->user_arg;
}

bool mdg_peer_closing(const struct mdg_peer *p)
{
    return p->session.user_flags & PEER_CLOSING;
}

struct mdg_buf *mdg_peer_scratch(struct mdg_peer *p)
{
    p->shared->scratch.len = 0;
    return &p->shared->scratch;
}

/* ---- The link's upcalls ---- */

static int on_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    struct mdg_peer *p = l->user_arg;
    return p->session.user_flags & PEER_CLOSING ? 0 : mdg_dialect_of(p)->on_input(p, in, binary);
}

/* Units for this peer alone are kept as a length and the bytes. */
struct waiting_head {
    uint32_t len;
    bool binary, compress;
};

/* False: the link is full again. */
static bool send_waiting(struct mdg_peer *p)
{
    struct mdg_buf *b = p->waiting;
    while (b && b->len > 0) {
        struct waiting_head head;
        memcpy(&head, b->data, sizeof head);
        struct mdg_unit_meta meta = {.binary = head.binary, .compress = head.compress};
        int err = mdg_link_send_unit(p->link, mdg_slice(b->data + sizeof head, head.len), &meta);
        if (err == MDG_E_FULL)
            return false;
        mdg_buf_consume(b, sizeof head + head.len);
    }
    if (b) {
        mdg_buf_fini(b);
        free(b);
        p->waiting = NULL;
    }
    return true;
}

static void on_writable(struct mdg_link *l)
{
    struct mdg_peer *p = l->user_arg;
    if (!send_waiting(p))
        return;
    p->session.user_flags &= (uint8_t)~PEER_FULL;
    if (p->session.user_flags & PEER_PAUSED) {
        p->session.user_flags &= (uint8_t)~PEER_PAUSED;
        l->carrier->pause(l, false);
    }
    MDG_SESSION_FOR(m, &p->session)
    {
        if (m->behind)
            mdg_hub_resume(m);
    }
    if (mdg_dialect_of(p)->writable)
        mdg_dialect_of(p)->writable(p);
}

static void on_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct mdg_peer *p = l->user_arg;
    (void)reason;
    p->session.user_flags |= PEER_CLOSING;
    if (mdg_dialect_of(p)->close)
        mdg_dialect_of(p)->close(p, code);
    mdg_peer_free(p);
}

const struct mdg_link_user mdg_peer_link_user = {on_input, on_writable, on_close};

/* ---- Units for one peer ---- */

int mdg_peer_try_unit(struct mdg_peer *p, struct mdg_slice unit, const struct mdg_unit_meta *meta)
{
    static const struct mdg_unit_meta plain = {0};
    if (p->session.user_flags & PEER_CLOSING)
        return MDG_E_CLOSED;
    if (p->session.user_flags & PEER_FULL)
        return MDG_E_FULL;
    int err = mdg_link_send_unit(p->link, unit, meta ? meta : &plain);
    if (err == MDG_E_FULL)
        p->session.user_flags |= PEER_FULL;
    return err;
}

static int keep_unit(struct mdg_peer *p, struct mdg_slice unit, const struct mdg_unit_meta *meta)
{
    struct waiting_head head = {.len = (uint32_t)unit.len,
                                .binary = meta && meta->binary,
                                .compress = meta && meta->compress};
    if (!p->waiting) {
        p->waiting = malloc(sizeof *p->waiting);
        if (!p->waiting)
            return MDG_E_NO_MEMORY;
        mdg_buf_init(p->waiting, p->shared->config.control_bytes_max);
    }
    int err = mdg_buf_reserve(p->waiting, sizeof head + unit.len);
    if (err < 0)
        return err;
    (void)!mdg_buf_append(p->waiting, mdg_slice(&head, sizeof head));
    return mdg_buf_append(p->waiting, unit);
}

void mdg_peer_send_unit(struct mdg_peer *p, struct mdg_slice unit, const struct mdg_unit_meta *meta)
{
    int err = mdg_peer_try_unit(p, unit, meta);
    if (err == 0 || err == MDG_E_CLOSED)
        return;
    if (err == MDG_E_FULL)
        err = keep_unit(p, unit, meta);
    if (err < 0) {
        mdg_peer_close(p, MDG_CLOSE_SLOW, MDG_SLICE_LIT("too slow"));
        return;
    }
    if (!(p->session.user_flags & PEER_PAUSED) && !p->link->carrier->one_way) {
        p->session.user_flags |= PEER_PAUSED;
        p->link->carrier->pause(p->link, true);
    }
}

void mdg_peer_close(struct mdg_peer *p, int code, struct mdg_slice reason)
{
    if (p->session.user_flags & PEER_CLOSING)
        return;
    p->session.user_flags |= PEER_CLOSING;
    if (p->link)
        mdg_link_close(p->link, code, reason);
}

int mdg_peer_close_code(int reason)
{
    switch (reason) {
    case MDG_E_FULL:
        return MDG_CLOSE_SLOW;
    case MDG_E_EXPIRED:
        return MDG_CLOSE_EXPIRED;
    case MDG_E_EXISTS:
        return MDG_CLOSE_NAME;
    case MDG_E_DENIED:
        return MDG_CLOSE_POLICY;
    case MDG_E_TOO_BIG:
        return MDG_CLOSE_TOO_BIG;
    case MDG_E_PROTO:
        return MDG_CLOSE_PROTOCOL;
    case MDG_E_SYNTAX:
        return MDG_CLOSE_BAD_DATA;
    case MDG_E_CLOSED:
        return MDG_CLOSE_GOING_AWAY;
    default:
        return MDG_CLOSE_INTERNAL;
    }
}

/* A bucket that fills with publish_rate a second. */
bool mdg_peer_may_publish(struct mdg_peer *p)
{
    const struct mdg_peers_config *config = &p->shared->config;
    uint64_t now_ms = mdg_hub_now_ms(p->shared->hub);
    if (config->publish_rate == 0)
        return true;
    uint64_t full = (uint64_t)config->publish_burst * 1000;
    uint64_t passed_ms = (uint32_t)now_ms - p->tokens_ms;
    uint64_t tokens = p->tokens + passed_ms * config->publish_rate;
    p->tokens_ms = (uint32_t)now_ms;
    p->tokens = (uint32_t)mdg_min_size(tokens, full);
    if (p->tokens < 1000)
        return false;
    p->tokens -= 1000;
    return true;
}
