/* The hub as a whole: its life, its turn, and the questions that it answers. */
#include "hub/impl.h"
#include <stdlib.h>

enum { FIRST_BUCKETS = 64 };

void mdg_hub_config_init(struct mdg_hub_config *config)
{
    *config = (struct mdg_hub_config){
        .channel =
            {
                .log_count_max = 256,
                .log_bytes_max = 1 << 20,
                .log_age_max_s = 24 * 3600,
                .presence_list_max = 200,
                .presence_delay_ms = 100,
                .idle_s = 60,
                .slow = MDG_SLOW_KICK,
            },
        .channels_max = 100000,
        .memberships_per_session_max = 1000,
        .log_bytes_total_max = 256 << 20,
        .channel_name_bytes_max = 255,
        .fanout_budget = 4096,
    };
}

static int init_tables(struct mdg_hub *h)
{
    h->channels = calloc(FIRST_BUCKETS, sizeof *h->channels);
    h->users = calloc(FIRST_BUCKETS, sizeof *h->users);
    h->sessions = calloc(FIRST_BUCKETS, sizeof *h->sessions);
    if (!h->channels || !h->users || !h->sessions)
        return MDG_E_NO_MEMORY;
    h->channel_mask = h->user_mask = h->session_mask = FIRST_BUCKETS - 1;
    return 0;
}

int mdg_hub_new(const struct mdg_hub_config *config, unsigned worker, const uint64_t seed[2],
                struct mdg_hub **out)
{
    assert(worker < MDG_WORKERS_MAX);
    assert(config->channel_name_bytes_max <= UINT16_MAX && config->fanout_budget > 0);
    struct mdg_hub *h = calloc(1, sizeof *h);
    if (!h)
        return MDG_E_NO_MEMORY;
    h->config = *config;
    h->worker = worker;
    h->workers = worker + 1;
    h->seed[0] = seed[0];
    h->seed[1] = seed[1];
    mdg_list_init(&h->dirty);
    mdg_list_init(&h->idle);
    mdg_list_init(&h->idle_kept);
    mdg_list_init(&h->rooms);
    mdg_list_init(&h->presence_due);
    mdg_list_init(&h->logs);
    mdg_list_init(&h->parked);
    mdg_list_init(&h->all_interests);
    for (size_t i = 0; i < EXPIRY_BUCKETS; i++)
        mdg_list_init(&h->expiry[i]);
    for (size_t i = 0; i < ASKED_BUCKETS; i++)
        mdg_list_init(&h->asked[i]);
    mdg_pool_init(&h->members, sizeof(struct mdg_member), 0);
    mdg_pool_init(&h->user_entries, sizeof(struct mdg_user_entry), 0);
    if (init_tables(h) < 0) {
        mdg_hub_free(h);
        return MDG_E_NO_MEMORY;
    }
    *out = h;
    return 0;
}

int mdg_hub_set_broker(struct mdg_hub *h, struct mdg_broker *broker)
{
    assert(broker->workers > h->worker && broker->workers <= MDG_WORKERS_MAX);
    assert(!h->broker && h->channel_count == 0);
    struct mdg_ops_queue *outbox = calloc(broker->workers, sizeof *outbox);
    if (!outbox)
        return MDG_E_NO_MEMORY;
    h->outbox = outbox;
    h->workers = broker->workers;
    h->broker = broker;
    return 0;
}

void mdg_hub_free(struct mdg_hub *h)
{
    if (!h)
        return;
    assert(h->session_count == 0);
    mdg_op_free_chain(h->inbox.first);
    for (unsigned i = 0; h->outbox && i < h->workers; i++)
        mdg_op_free_chain(h->outbox[i].first);
    free(h->outbox);
    /* Questions that are still with other workers are freed there. */
    for (size_t i = 0; i < ASKED_BUCKETS; i++) {
        while (!mdg_list_empty(&h->asked[i]))
            mdg_list_remove(mdg_list_first(&h->asked[i]));
    }
    MDG_LIST_FOR(it, next, &h->parked)
    mdg_op_free(MDG_CONTAINER_OF(it, struct mdg_op, in_asked));
    for (size_t i = 0; h->channels && i <= h->channel_mask; i++) {
        while (h->channels[i])
            mdg_channel_free(h, h->channels[i]);
    }
    mdg_wildcards_fini(h);
    mdg_pool_fini(&h->members);
    mdg_pool_fini(&h->user_entries);
    free(h->channels);
    free(h->users);
    free(h->sessions);
    free(h);
}

void mdg_hub_set_time(struct mdg_hub *h, uint64_t now_ms, uint64_t unix_ms)
{
    h->now_ms = now_ms;
    h->unix_ms = unix_ms;
}

uint64_t mdg_hub_now_ms(const struct mdg_hub *h)
{
    return h->now_ms;
}

uint64_t mdg_hub_unix_ms(const struct mdg_hub *h)
{
    return h->unix_ms;
}

void mdg_hub_on_pending(struct mdg_hub *h, void (*fn)(void *arg), void *arg)
{
    h->pending_fn = fn;
    h->pending_arg = arg;
}

void mdg_hub_wake(struct mdg_hub *h)
{
    if (h->pending)
        return;
    h->pending = true;
    if (h->pending_fn && !h->in_turn)
        h->pending_fn(h->pending_arg);
}

void mdg_hub_receive(struct mdg_hub *h, struct mdg_op *chain)
{
    if (!chain)
        return;
    if (h->inbox.last)
        h->inbox.last->next = chain;
    else
        h->inbox.first = chain;
    while (chain->next)
        chain = chain->next;
    h->inbox.last = chain;
    mdg_hub_wake(h);
}

unsigned mdg_hub_owner(const struct mdg_hub *h, struct mdg_slice name)
{
    if (!h->broker || h->workers == 1)
        return h->worker;
    return (unsigned)(mdg_siphash(h->broker->seed, name) % h->workers);
}

static void handle(struct mdg_hub *h, struct mdg_op *op)
{
    if (op->answer)
        mdg_asker_handle(h, op);
    else if (op->kind == OP_APPEND)
        mdg_replica_append(h, op);
    else if (op->kind == OP_SNAPSHOT)
        mdg_replica_snapshot(h, op);
    else
        mdg_owner_handle(h, op);
}

static void work_inbox(struct mdg_hub *h)
{
    for (unsigned n = 0; h->inbox.first && n < OPS_PER_TURN_MAX; n++) {
        struct mdg_op *op = h->inbox.first;
        h->inbox.first = op->next;
        if (!op->next)
            h->inbox.last = NULL;
        op->next = NULL;
        handle(h, op);
    }
}

static void post_outbox(struct mdg_hub *h)
{
    for (unsigned to = 0; h->outbox && to < h->workers; to++) {
        struct mdg_op *chain = h->outbox[to].first;
        if (!chain)
            continue;
        h->outbox[to] = (struct mdg_ops_queue){NULL, NULL};
        h->broker->post(h->broker, h->worker, to, chain);
    }
}

bool mdg_hub_turn(struct mdg_hub *h)
{
    assert(!h->in_turn);
    h->in_turn = true;
    h->pending = false;
    h->budget = h->config.fanout_budget < ROUND_MSGS_MAX ? ROUND_MSGS_MAX : h->config.fanout_budget;
    work_inbox(h);
    bool more = mdg_fanout_run(h);
    more |= mdg_members_serve(h);
    post_outbox(h);
    h->in_turn = false;
    more |= h->inbox.first != NULL || !mdg_list_empty(&h->dirty) || h->work_first != NULL;
    h->pending = more;
    return more;
}

void mdg_hub_tick(struct mdg_hub *h)
{
    assert(!h->in_turn);
    mdg_sessions_tick(h);
    mdg_presence_tick(h);
    mdg_channels_tick(h);
    if (h->lost_rooms)
        mdg_owner_resync_lost(h);
    if (!mdg_list_empty(&h->dirty))
        mdg_hub_wake(h);
}

/* Every question goes to the room's owner, which answers in the operation itself. */
static int ask(struct mdg_hub *h, enum mdg_op_kind kind, struct mdg_slice channel, void *arg,
               struct mdg_op **out)
{
    if (!mdg_channel_name_ok(h, channel))
        return MDG_E_SYNTAX;
    struct mdg_op *op = mdg_op_new(h, kind, channel);
    if (!op)
        return MDG_E_NO_MEMORY;
    mdg_op_asks(h, op, arg);
    mdg_op_send(h, mdg_hub_owner(h, channel), op);
    *out = op;
    return 0;
}

int mdg_hub_history(struct mdg_hub *h, struct mdg_slice channel, uint64_t before, uint32_t limit,
                    mdg_history_fn done, void *arg)
{
    struct mdg_op *op;
    int err = ask(h, OP_HISTORY, channel, arg, &op);
    if (err < 0)
        return err;
    op->done.history = done;
    op->number = before;
    op->limit = limit;
    return 0;
}

int mdg_hub_since(struct mdg_hub *h, struct mdg_slice channel, struct mdg_position after,
                  uint32_t limit, mdg_since_fn done, void *arg)
{
    struct mdg_op *op;
    int err = ask(h, OP_SINCE, channel, arg, &op);
    if (err < 0)
        return err;
    op->done.since = done;
    op->after = after;
    op->limit = limit;
    return 0;
}

int mdg_hub_presence(struct mdg_hub *h, struct mdg_slice channel, mdg_users_fn done, void *arg)
{
    struct mdg_op *op;
    int err = ask(h, OP_USERS, channel, arg, &op);
    if (err == 0)
        op->done.users = done;
    return err;
}

/* Makes the questions that share one answer: the first leads, the others follow it as a chain. */
static struct mdg_op *new_group(struct mdg_hub *h, enum mdg_op_kind kind, size_t count)
{
    struct mdg_op *leader = NULL, *last = NULL;
    assert(count > 0);
    for (size_t i = 0; i < count; i++) {
        struct mdg_op *op = mdg_op_new(h, kind, mdg_slice(NULL, 0));
        if (!op) {
            mdg_op_free_chain(leader);
            return NULL;
        }
        if (!leader)
            leader = op;
        else
            last->next = op;
        op->leader = leader;
        last = op;
    }
    leader->open = (uint32_t)count;
    return leader;
}

int mdg_hub_rooms(struct mdg_hub *h, uint32_t limit, mdg_rooms_fn done, void *arg)
{
    unsigned first = h->broker ? 0 : h->worker;
    struct mdg_op *op = new_group(h, OP_ROOMS, h->workers - first);
    if (!op)
        return MDG_E_NO_MEMORY;
    mdg_op_asks(h, op, arg);
    op->done.rooms = done;
    for (unsigned to = first; to < h->workers; to++) {
        struct mdg_op *next = op->next;
        op->limit = limit;
        mdg_op_send(h, to, op);
        op = next;
    }
    return 0;
}

/* The content of a publication to several rooms, once for each of them. */
static int publish_union(struct mdg_hub *h, struct mdg_content *content, mdg_published_fn done,
                         void *arg)
{
    size_t count = content->union_channel_count;
    struct mdg_op *leader = new_group(h, OP_PUBLISH, count);
    struct mdg_op *op = leader;
    for (size_t i = 0; op && i < count; i++, op = op->next) {
        op->content = mdg_content_clone(content, content->union_channels[i]);
        if (!op->content) {
            mdg_op_free_chain(leader);
            leader = NULL;
            break;
        }
    }
    mdg_content_unref(content);
    if (!leader)
        return MDG_E_NO_MEMORY;
    leader->done.published = done;
    mdg_op_asks(h, leader, arg);
    for (op = leader; op;) {
        struct mdg_op *next = op->next;
        mdg_op_send(h, mdg_hub_owner(h, op->content->channel), op);
        op = next;
    }
    return 0;
}

void mdg_hub_refuse(struct mdg_hub *h, bool refuse)
{
    h->refusing = refuse;
}

int mdg_hub_publish(struct mdg_hub *h, struct mdg_content *content, mdg_published_fn done,
                    void *arg)
{
    bool ok = content->union_channel_count > 0 || mdg_channel_name_ok(h, content->channel);
    for (size_t i = 0; i < content->union_channel_count; i++)
        ok = ok && mdg_channel_name_ok(h, content->union_channels[i]);
    if (!ok) {
        mdg_content_unref(content);
        return MDG_E_SYNTAX;
    }
    if (h->refusing) {
        mdg_content_unref(content);
        return MDG_E_FULL;
    }
    if (content->union_channel_count > 0)
        return publish_union(h, content, done, arg);
    struct mdg_op *op = mdg_op_new(h, OP_PUBLISH, mdg_slice(NULL, 0));
    if (!op) {
        mdg_content_unref(content);
        return MDG_E_NO_MEMORY;
    }
    op->content = content;
    op->done.published = done;
    mdg_op_asks(h, op, arg);
    mdg_op_send(h, mdg_hub_owner(h, content->channel), op);
    return 0;
}

int mdg_hub_send(struct mdg_hub *h, uint64_t session, struct mdg_content *content)
{
    unsigned worker = (unsigned)(session >> 56);
    struct mdg_op *op = NULL;
    int err = MDG_E_NOT_FOUND;
    if (worker < h->workers && (h->broker || worker == h->worker)) {
        op = mdg_op_new(h, OP_DIRECT, mdg_slice(NULL, 0));
        err = op ? 0 : MDG_E_NO_MEMORY;
    }
    if (err < 0) {
        mdg_content_unref(content);
        return err;
    }
    op->content = content;
    op->number = session;
    mdg_op_send(h, worker, op);
    return 0;
}
