/* SUBSCRIBE and UNSUBSCRIBE. A topic's subscription is a member of the room, a queue's is a
 * consumer, a durable one is a consumer of a queue that collects for it what the room hears. */
#include "dialect/stomp_impl.h"
#include <stdlib.h>

struct wish {
    struct mdg_slice id;
    struct mdg_stomp_dest dest;
    enum mdg_stomp_ack ack;
    uint32_t prefetch;
    bool durable, auto_delete;
    uint8_t key_room[1024]; /* of a durable subscription's queue */
    struct mdg_slice key;
};

static bool is_true(const struct mdg_stomp_frame *f, const char *header)
{
    return mdg_slice_eq_nocase(mdg_stomp_find(f, header), MDG_SLICE_LIT("true"));
}

/* What some brokers' clients call a durable subscription by. data NULL: they do not. */
static struct mdg_slice durable_name(const struct mdg_stomp_frame *f)
{
    struct mdg_slice name = mdg_stomp_find(f, "durable-subscription-name");
    return name.data ? name : mdg_stomp_find(f, "activemq.subscriptionName");
}

/* "durable" and, from older clients, "persistent"; or a name for it. */
static bool says_durable(const struct mdg_stomp_frame *f)
{
    return is_true(f, "durable") || is_true(f, "persistent") || durable_name(f).data;
}

static struct mdg_stomp_sub *find_sub(struct mdg_stomp *c, struct mdg_slice id,
                                      struct mdg_slice shown)
{
    MDG_LIST_FOR(node, next, &c->subs)
    {
        struct mdg_stomp_sub *s = MDG_CONTAINER_OF(node, struct mdg_stomp_sub, in_conn);
        if (id.data ? s->has_id && mdg_slice_eq(id, mdg_stomp_sub_id(s))
                    : !s->has_id && mdg_slice_eq(shown, mdg_stomp_sub_shown(s)))
            return s;
    }
    return NULL;
}

static bool parse_ack(struct mdg_stomp *c, const struct mdg_stomp_frame *f, struct wish *w)
{
    struct mdg_slice ack = mdg_stomp_find(f, "ack");
    if (!ack.data || mdg_slice_eq(ack, MDG_SLICE_LIT("auto")))
        w->ack = MDG_STOMP_AUTO;
    else if (mdg_slice_eq(ack, MDG_SLICE_LIT("client")))
        w->ack = MDG_STOMP_CLIENT;
    else if (mdg_slice_eq(ack, MDG_SLICE_LIT("client-individual")))
        w->ack = MDG_STOMP_INDIVIDUAL;
    else
        mdg_stomp_fail(c, f, "Invalid header", "'%.*s' is not a valid ack mode\n",
                       (int)mdg_min_size(ack.len, 100), (const char *)ack.data);
    return c->phase != MDG_STOMP_FINISHED;
}

static bool parse_prefetch(struct mdg_stomp *c, const struct mdg_stomp_frame *f, struct wish *w)
{
    struct mdg_slice text = mdg_stomp_find(f, "prefetch-count");
    uint64_t n = 0;
    if (!text.data)
        text = mdg_stomp_find(f, "activemq.prefetchSize");
    if (text.data && mdg_slice_u64(mdg_slice_trim(text), &n) < 0) {
        mdg_stomp_fail(c, f, "Invalid header", "The prefetch is not a number\n");
        return false;
    }
    w->prefetch = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
    return true;
}

static bool check_id(struct mdg_stomp *c, const struct mdg_stomp_frame *f, struct wish *w)
{
    w->id = mdg_stomp_find(f, "id");
    if (!w->id.data && c->dec.version >= MDG_STOMP_1_1) {
        mdg_stomp_fail(c, f, "Missing header", "SUBSCRIBE must include the 'id' header\n");
        return false;
    }
    if (w->id.len > c->server->config->subscription_bytes_max) {
        mdg_stomp_fail(c, f, "Invalid header", "The subscription's id is too long\n");
        return false;
    }
    if (find_sub(c, w->id, w->dest.shown)) {
        struct mdg_slice name = w->id.data ? w->id : w->dest.shown;
        mdg_stomp_fail(c, f, "Duplicated subscription identifier",
                       "A subscription identified by '%s_%.*s' already exists.",
                       w->id.data ? "T" : "Q", (int)mdg_min_size(name.len, 200),
                       (const char *)name.data);
        return false;
    }
    if (c->sub_count >= c->server->config->subscriptions_max) {
        mdg_stomp_fail(c, f, "Too many subscriptions", "Unsubscribe from something first.\n");
        return false;
    }
    return true;
}

/* The identity is the client-id of CONNECT, else the user's name. The length in front and the line
 * feed, which no room's name holds, keep different subscriptions from getting the same key. */
static bool durable_key(struct mdg_stomp *c, const struct mdg_stomp_frame *f,
                        const struct mdg_stomp_dest *dest, struct mdg_writer *w)
{
    struct mdg_slice who = c->client_id ? mdg_slice_str(c->client_id) : mdg_principal_name(c->who);
    struct mdg_slice name = durable_name(f);
    if (!name.data)
        name = mdg_stomp_find(f, "id");
    if (!name.data) {
        mdg_stomp_fail(c, f, "Missing Header", "Header 'id' is required for durable subscriptions");
        return false;
    }
    mdg_write_str(w, "/durable/");
    mdg_write_dec(w, who.len);
    mdg_write_u8(w, ':');
    mdg_write_slice(w, who);
    mdg_write_u8(w, '/');
    mdg_write_slice(w, name);
    mdg_write_u8(w, '\n');
    mdg_write_slice(w, dest->name);
    if (!mdg_writer_fits(w))
        mdg_stomp_fail(c, f, "Invalid header", "The durable subscription's name is too long\n");
    return mdg_writer_fits(w);
}

static bool check_durable(struct mdg_stomp *c, const struct mdg_stomp_frame *f, struct wish *w)
{
    struct mdg_writer to;
    w->durable = says_durable(f) && w->dest.kind == MDG_STOMP_TOPIC;
    w->auto_delete = is_true(f, "auto-delete") && !w->durable;
    w->key = w->dest.name;
    if (!w->durable)
        return true;
    mdg_writer_init(&to, w->key_room, sizeof w->key_room);
    if (!durable_key(c, f, &w->dest, &to))
        return false;
    w->key = mdg_slice(w->key_room, to.len);
    return true;
}

static bool may_subscribe(struct mdg_stomp *c, const struct mdg_stomp_frame *f,
                          const struct wish *w)
{
    const struct mdg_stomp_hooks *hooks = &c->server->hooks;
    const char *refusal = NULL;
    if (!(c->who->rights & MDG_RIGHT_SUBSCRIBE))
        refusal = "You may not subscribe here.";
    else if (hooks->may_subscribe)
        refusal = hooks->may_subscribe(hooks->arg, c->who, f, w->dest.shown);
    if (refusal)
        mdg_stomp_fail(c, f, "Access refused", "%s\n", refusal);
    return refusal == NULL;
}

static struct mdg_stomp_sub *new_sub(struct mdg_stomp *c, const struct wish *w)
{
    size_t len = w->id.len + w->dest.shown.len + w->key.len;
    if (w->dest.shown.len > UINT16_MAX || w->key.len > UINT16_MAX)
        return NULL;
    struct mdg_stomp_sub *s = malloc(sizeof *s + len);
    if (!s)
        return NULL;
    *s = (struct mdg_stomp_sub){.conn = c,
                                .number = c->next_sub++,
                                .next_tag = 1,
                                .prefetch = w->prefetch,
                                .ack = (uint8_t)w->ack,
                                .is_queue = w->durable || w->dest.kind != MDG_STOMP_TOPIC,
                                .is_pattern = w->dest.pattern,
                                .has_id = w->id.data != NULL,
                                .durable = w->durable,
                                .id_len = (uint16_t)w->id.len,
                                .shown_len = (uint16_t)w->dest.shown.len,
                                .key_len = (uint16_t)w->key.len};
    const struct mdg_slice parts[] = {w->id, w->dest.shown, w->key};
    uint8_t *at = s->text;
    for (size_t i = 0; i < MDG_ARRAY_LEN(parts); i++) {
        if (parts[i].len)
            memcpy(at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
    s->queue_sub.ops = &mdg_stomp_queue_ops;
    mdg_list_push(&c->subs, &s->in_conn);
    c->sub_count++;
    return s;
}

static void free_sub(struct mdg_stomp_sub *s)
{
    if (s->is_queue)
        mdg_queue_unsubscribe(&s->queue_sub);
    else if (s->member)
        mdg_hub_leave(s->member);
    mdg_list_remove(&s->in_conn);
    s->conn->sub_count--;
    free(s->window.bits);
    mdg_stomp_drop_front(s);
    free(s);
}

static int consume(struct mdg_stomp_sub *s, bool auto_delete, struct mdg_stomp_pending *p)
{
    struct mdg_stomp *c = s->conn;
    return mdg_queue_subscribe(
        c->server->queues, &s->queue_sub, mdg_stomp_sub_key(s),
        s->ack == MDG_STOMP_AUTO ? c->server->config->prefetch_auto : s->prefetch,
        auto_delete ? MDG_QUEUE_AUTO_DELETE : 0, &c->waiter, (uint64_t)(uintptr_t)p);
}

/* A durable subscription begins on the worker of its queue, what was sent before it may still be on
 * its way to the worker of the room, or to the disk: it begins when that has arrived. */
struct mdg_stomp_late {
    struct mdg_stomp_sub *sub;
    struct mdg_stomp_pending *pending;
    uint32_t room_len;
    uint8_t room[];
};

static int put_off(struct mdg_stomp_sub *s, struct mdg_slice room, struct mdg_stomp_pending *p)
{
    struct mdg_stomp_late *late = malloc(sizeof *late + room.len);
    if (!late)
        return MDG_E_NO_MEMORY;
    *late = (struct mdg_stomp_late){s, p, (uint32_t)room.len};
    memcpy(late->room, room.data, room.len);
    assert(!s->conn->late); /* the frames behind it are held */
    s->conn->late = late;
    return 0;
}

void mdg_stomp_start_late(struct mdg_stomp *c)
{
    struct mdg_stomp_late *late = c->late;
    if (!late || c->pending_count > 1 || c->phase == MDG_STOMP_FINISHED)
        return;
    c->late = NULL;
    struct mdg_stomp_pending *p = late->pending;
    int err =
        mdg_queue_bind(c->server->queues, mdg_stomp_sub_key(late->sub),
                       mdg_slice(late->room, late->room_len), &c->waiter, (uint64_t)(uintptr_t)p);
    if (err == 0) {
        mdg_stomp_pend_more(p);
        err = consume(late->sub, false, p);
    }
    free(late);
    if (err < 0)
        mdg_stomp_pend_done(p, err); /* which ends the connection */
}

/* "epoch" and "seq" of the last message that was seen, or "history" with a number: what rooms offer
 * to all protocols. */
static void read_position(const struct mdg_stomp_frame *f, struct mdg_join_options *o)
{
    struct mdg_slice epoch = mdg_stomp_find(f, "epoch");
    uint64_t n;
    if (epoch.len == 16 && mdg_slice_u64(mdg_stomp_find(f, "seq"), &o->from.seq) == 0) {
        o->resume = true;
        for (size_t i = 0; i < epoch.len; i++) {
            uint8_t d = mdg_ascii_lower(epoch.data[i]);
            unsigned value = d >= '0' && d <= '9'   ? (unsigned)(d - '0')
                             : d >= 'a' && d <= 'f' ? (unsigned)(d - 'a' + 10)
                                                    : 0;
            o->from.epoch = o->from.epoch << 4 | value;
        }
    } else if (mdg_slice_u64(mdg_stomp_find(f, "history"), &n) == 0) {
        o->history = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
    }
}

static int join_topic(struct mdg_stomp_sub *s, const struct mdg_stomp_frame *f,
                      const struct wish *w, struct mdg_stomp_pending *p)
{
    struct mdg_stomp *c = s->conn;
    struct mdg_join_options options = {.cookie = s};
    s->joining = p;
    if (s->is_pattern)
        return mdg_hub_join_pattern(c->server->hub, &c->session, w->dest.name, &options,
                                    &s->member);
    read_position(f, &options);
    return mdg_hub_join(c->server->hub, &c->session, w->dest.name, &options, &s->member);
}

void mdg_stomp_on_subscribe(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    struct wish w = {.ack = MDG_STOMP_AUTO};
    if (!mdg_stomp_dest_parse(c, f, &w.dest) || !parse_ack(c, f, &w) || !parse_prefetch(c, f, &w) ||
        !check_id(c, f, &w) || !check_durable(c, f, &w) || !may_subscribe(c, f, &w))
        return;
    struct mdg_stomp_pending *p = mdg_stomp_pend(c, f);
    if (!p)
        return;
    if (w.durable)
        mdg_stomp_hold(c, p);
    struct mdg_stomp_sub *s = new_sub(c, &w);
    int err = MDG_E_NO_MEMORY;
    if (s)
        err = s->durable    ? put_off(s, w.dest.name, p)
              : s->is_queue ? consume(s, w.auto_delete, p)
                            : join_topic(s, f, &w, p);
    if (err < 0) {
        if (s)
            free_sub(s);
        mdg_stomp_pend_done(p, err);
    } else if (w.durable) {
        mdg_stomp_start_late(c);
    }
}

int mdg_stomp_subscribe_reply(struct mdg_stomp *c, struct mdg_slice destination,
                              struct mdg_slice key)
{
    struct wish w = {.id = destination, .key = key, .auto_delete = true};
    static const struct mdg_stomp_frame nothing;
    w.dest.kind = MDG_STOMP_TEMP_QUEUE;
    w.dest.shown = key;
    if (find_sub(c, destination, key))
        return 0;
    if (c->sub_count >= c->server->config->subscriptions_max)
        return MDG_E_TOO_BIG;
    struct mdg_stomp_pending *p = mdg_stomp_pend(c, &nothing);
    struct mdg_stomp_sub *s = p ? new_sub(c, &w) : NULL;
    int err = s ? consume(s, true, p) : MDG_E_NO_MEMORY;
    if (err < 0 && s)
        free_sub(s);
    if (err < 0 && p)
        mdg_stomp_pend_done(p, 0); /* the caller tells the error */
    return err;
}

static void not_found(struct mdg_stomp *c, const struct mdg_stomp_frame *f, struct mdg_slice name)
{
    mdg_stomp_fail(c, f, "No subscription found",
                   "UNSUBSCRIBE must refer to an existing subscription.\n"
                   "Subscription to '%.*s' not found.\n",
                   (int)mdg_min_size(name.len, 200), (const char *)name.data);
}

/* A durable subscription that is not in use here is given up by its names. */
static void give_up_durable(struct mdg_stomp *c, const struct mdg_stomp_frame *f,
                            const struct mdg_stomp_dest *dest)
{
    uint8_t room[1024];
    struct mdg_writer key;
    mdg_writer_init(&key, room, sizeof room);
    struct mdg_stomp_pending *p = durable_key(c, f, dest, &key) ? mdg_stomp_pend(c, f) : NULL;
    if (!p)
        return;
    mdg_stomp_hold(c, p);
    int err = mdg_queue_delete(c->server->queues, mdg_slice(room, key.len), &c->waiter,
                               (uint64_t)(uintptr_t)p);
    if (err < 0)
        mdg_stomp_pend_done(p, err);
}

/* The subscription that UNSUBSCRIBE means; NULL: the frame has been dealt with. */
static struct mdg_stomp_sub *find_named(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    struct mdg_slice id = mdg_stomp_find(f, "id");
    struct mdg_stomp_dest dest = {.shown = mdg_stomp_find(f, "destination")};
    bool has_destination = dest.shown.data != NULL;
    if (!id.data && !durable_name(f).data &&
        (c->dec.version >= MDG_STOMP_1_1 || !has_destination)) {
        mdg_stomp_fail(c, f, "Missing header", "UNSUBSCRIBE must include the 'id' header\n");
        return NULL;
    }
    struct mdg_stomp_sub *s = id.data ? find_sub(c, id, dest.shown) : NULL;
    if (s)
        return s;
    /* In 1.0 the destination alone may name it, as it was written in SUBSCRIBE. */
    if (has_destination && !mdg_stomp_dest_parse(c, f, &dest))
        return NULL;
    if (!id.data)
        s = find_sub(c, id, dest.shown);
    if (!s && has_destination && says_durable(f) && dest.kind == MDG_STOMP_TOPIC)
        give_up_durable(c, f, &dest);
    else if (!s)
        not_found(c, f, id.data ? id : dest.shown);
    return s;
}

void mdg_stomp_on_unsubscribe(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    struct mdg_stomp_sub *s = find_named(c, f);
    if (!s)
        return;
    struct mdg_stomp_pending *p = mdg_stomp_pend(c, f);
    if (!p)
        return;
    if (s->joining) {
        mdg_stomp_pend_done(s->joining, 0);
        s->joining = NULL;
    }
    int err = 0;
    if (s->durable && says_durable(f)) {
        mdg_stomp_pend_more(p);
        mdg_stomp_hold(c, p);
        err = mdg_queue_delete(c->server->queues, mdg_stomp_sub_key(s), &c->waiter,
                               (uint64_t)(uintptr_t)p);
        if (err < 0)
            mdg_stomp_pend_done(p, err);
    }
    mdg_stomp_keep_ended(s);
    free_sub(s);
    mdg_stomp_pend_done(p, 0);
}

void mdg_stomp_give_back(struct mdg_stomp *c)
{
    MDG_LIST_FOR(node, next, &c->subs)
    {
        struct mdg_stomp_sub *s = MDG_CONTAINER_OF(node, struct mdg_stomp_sub, in_conn);
        if (s->is_queue)
            mdg_queue_unsubscribe(&s->queue_sub);
    }
}

void mdg_stomp_drop_subs(struct mdg_stomp *c)
{
    MDG_LIST_FOR(node, next, &c->subs)
    free_sub(MDG_CONTAINER_OF(node, struct mdg_stomp_sub, in_conn));
}

void mdg_stomp_resume_subs(struct mdg_stomp *c)
{
    MDG_LIST_FOR(node, next, &c->subs)
    {
        struct mdg_stomp_sub *s = MDG_CONTAINER_OF(node, struct mdg_stomp_sub, in_conn);
        if (!s->blocked)
            continue;
        s->blocked = false;
        if (s->is_queue)
            mdg_queue_resume(&s->queue_sub);
        else if (s->member)
            mdg_hub_resume(s->member);
    }
}
