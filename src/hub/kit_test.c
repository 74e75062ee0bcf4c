/* See kit_test.h. Allocation failures are part of what is tested, so nothing here asserts them. */
#include "hub/kit_test.h"
#include "base/map.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const struct mdg_hub_config kit_config = {
    .channel = {.log_count_max = 16,
                .log_bytes_max = 1 << 20,
                .log_age_max_s = 3600,
                .presence_list_max = 4,
                .presence_delay_ms = 100,
                .idle_s = 60,
                .slow = MDG_SLOW_KICK},
    .channels_max = 64,
    .memberships_per_session_max = 16,
    .log_bytes_total_max = 4 << 20,
    .channel_name_bytes_max = 64,
    .fanout_budget = 64,
};

uint64_t kit_random(struct kit *k, uint64_t below)
{
    k->random = k->random * 6364136223846793005u + 1442695040888963407u;
    return (k->random >> 33) % below;
}

static void post(struct mdg_broker *b, unsigned from, unsigned to, struct mdg_op *chain)
{
    struct kit *k = MDG_CONTAINER_OF(b, struct kit, broker);
    *mdg_op_parcel_link(chain) = k->queues[from][to];
    k->queues[from][to] = chain;
}

int kit_init(struct kit *k, unsigned workers, uint64_t seed, const struct mdg_hub_config *config)
{
    memset(k, 0, sizeof *k);
    k->workers = workers;
    k->random = seed * 2 + 1;
    k->now_ms = 1000;
    k->broker = (struct mdg_broker){.workers = workers, .seed = {seed, 77}, .post = post};
    for (unsigned i = 0; i < workers; i++) {
        uint64_t hub_seed[2] = {seed, i + 1};
        int err = mdg_hub_new(config ? config : &kit_config, i, hub_seed, &k->hubs[i]);
        if (err == 0 && workers > 1)
            err = mdg_hub_set_broker(k->hubs[i], &k->broker);
        if (err < 0)
            return err;
        mdg_hub_set_time(k->hubs[i], k->now_ms, k->now_ms + 1700000000000u);
    }
    return 0;
}

/* The oldest parcel of a queue, which is at the end of its chain. */
static struct mdg_op *take_oldest(struct mdg_op **queue)
{
    while (*queue && *mdg_op_parcel_link(*queue))
        queue = mdg_op_parcel_link(*queue);
    struct mdg_op *oldest = *queue;
    *queue = NULL;
    return oldest;
}

void kit_fini(struct kit *k)
{
    for (unsigned i = 0; i < k->workers * k->workers; i++) {
        struct mdg_op *chain;
        while ((chain = take_oldest(&k->queues[i / k->workers][i % k->workers])))
            mdg_op_free_chain(chain);
    }
    for (unsigned i = 0; i < k->workers; i++)
        mdg_hub_free(k->hubs[i]);
}

bool kit_step(struct kit *k)
{
    unsigned pairs = k->workers * k->workers, start = (unsigned)kit_random(k, pairs);
    if (kit_random(k, 2)) {
        unsigned first = (unsigned)kit_random(k, k->workers);
        for (unsigned i = 0; i < k->workers; i++) {
            if (mdg_hub_turn(k->hubs[(first + i) % k->workers]))
                return true;
        }
    }
    for (unsigned i = 0; i < pairs; i++) {
        unsigned at = (start + i) % pairs, to = at % k->workers;
        struct mdg_op *chain = take_oldest(&k->queues[at / k->workers][to]);
        if (chain) {
            mdg_hub_receive(k->hubs[to], chain);
            if (kit_random(k, 2))
                mdg_hub_turn(k->hubs[to]);
            return true;
        }
    }
    return false;
}

void kit_run(struct kit *k)
{
    for (int quiet = 0; quiet < 3;) {
        bool worked = kit_step(k);
        for (unsigned i = 0; !worked && i < k->workers; i++)
            worked |= mdg_hub_turn(k->hubs[i]);
        quiet = worked ? 0 : quiet + 1;
    }
}

void kit_advance(struct kit *k, uint64_t ms)
{
    kit_run(k);
    for (uint64_t end = k->now_ms + ms; k->now_ms < end;) {
        k->now_ms += 100;
        for (unsigned i = 0; i < k->workers; i++) {
            mdg_hub_set_time(k->hubs[i], k->now_ms, k->now_ms + 1700000000000u);
            mdg_hub_tick(k->hubs[i]);
        }
        kit_run(k);
    }
}

void kit_say(struct kit_client *c, const char *fmt, ...)
{
    va_list args;
    if (c->quiet)
        return;
    va_start(args, fmt);
    int n = vsnprintf(c->text + c->len, sizeof c->text - c->len, fmt, args);
    va_end(args);
    if (n > 0)
        c->len = mdg_min_size(c->len + (size_t)n, sizeof c->text - 1);
}

const char *kit_said(struct kit_client *c)
{
    c->text[c->len] = '\0';
    c->len = 0;
    return c->text;
}

static struct kit_client *client_of(const struct mdg_session *s)
{
    return MDG_CONTAINER_OF(s, struct kit_client, session);
}

static int by_name(const void *a, const void *b)
{
    return mdg_slice_cmp(((const struct mdg_user *)a)->name, ((const struct mdg_user *)b)->name);
}

static void say_users(struct kit_client *c, const struct mdg_user *users, size_t count)
{
    struct mdg_user sorted[16];
    if (count > 16)
        return;
    for (size_t i = 0; i < count; i++)
        sorted[i] = users[i];
    qsort(sorted, count, sizeof sorted[0], by_name);
    for (size_t i = 0; i < count; i++)
        kit_say(c, " %.*s%s", (int)sorted[i].name.len, (const char *)sorted[i].name.data,
                sorted[i].guest ? "?" : "");
}

static struct mdg_slice room_of(const struct mdg_member *m)
{
    return m->channel ? mdg_channel_name(m->channel) : MDG_SLICE_LIT("(pattern)");
}

static void on_joined(struct mdg_member *m, int err, const struct mdg_joined *info)
{
    struct kit_client *c = client_of(m->session);
    c->upcalls++;
    if (err < 0) {
        kit_say(c, "refused %d\n", err);
        return;
    }
    kit_say(c, "joined %.*s %d%s:", (int)room_of(m).len, (const char *)room_of(m).data,
            (int)info->count, info->users ? "" : " (count)");
    say_users(c, info->users, info->user_count);
    if (info->asked_resume)
        kit_say(c, " recovered=%d missing=%d-%d", info->recovered, (int)info->missing_from,
                (int)info->missing_to);
    kit_say(c, "\n");
}

static void say_message(struct kit_client *c, const struct mdg_msg *msg)
{
    struct mdg_slice text = mdg_msg_payload(msg), room = msg->content->channel;
    if (msg->content->kind != MDG_MSG_PRESENCE) {
        kit_say(c, "%.*s@%d %.*s\n", (int)room.len, (const char *)room.data, (int)msg->seq,
                (int)text.len, (const char *)text.data);
        return;
    }
    const struct mdg_presence *p = mdg_msg_presence(msg);
    kit_say(c, "presence %d in:", (int)p->count);
    say_users(c, p->joined, p->joined_count);
    kit_say(c, " out:");
    say_users(c, p->left, p->left_count);
    kit_say(c, "\n");
}

static int on_deliver(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n)
{
    struct kit_client *c = client_of(m->session);
    c->upcalls++;
    size_t takes = c->takes < 0 ? n : mdg_min_size(n, (size_t)c->takes);
    for (size_t i = 0; i < takes; i++)
        say_message(c, msgs[i]);
    c->delivered += takes;
    if (c->takes > 0)
        c->takes -= (int)takes;
    if (c->leaves_in_deliver)
        mdg_hub_leave(m);
    return (int)takes;
}

static int on_gap(struct mdg_member *m, uint64_t from, uint64_t to)
{
    struct kit_client *c = client_of(m->session);
    c->upcalls++;
    if (c->gap_full)
        return MDG_E_FULL;
    kit_say(c, "gap %d-%d\n", (int)from, (int)to);
    return 0;
}

static void on_kick(struct mdg_session *s, int reason)
{
    client_of(s)->kicked = reason;
    kit_say(client_of(s), "kicked %d\n", reason);
}

static void on_direct(struct mdg_session *s, struct mdg_msg *m)
{
    struct mdg_slice text = mdg_msg_payload(m);
    kit_say(client_of(s), "direct %.*s\n", (int)text.len, (const char *)text.data);
}

static const struct mdg_session_ops client_ops = {on_joined, on_deliver, on_gap,
                                                  on_kick,   on_direct,  NULL};

int kit_client_init(struct kit *k, unsigned worker, struct kit_client *c, const char *name,
                    bool guest)
{
    memset(c, 0, sizeof *c);
    c->takes = -1;
    c->principal = mdg_principal_new(mdg_slice_str(name), guest, MDG_RIGHTS_USER, 0);
    if (!c->principal)
        return MDG_E_NO_MEMORY;
    mdg_session_init(&c->session, k->hubs[worker], &client_ops, c->principal);
    return 0;
}

void kit_client_fini(struct kit_client *c)
{
    if (c->principal)
        mdg_session_fini(&c->session);
    mdg_principal_unref(c->principal);
    c->principal = NULL;
}

int kit_join(struct kit_client *c, const char *room, const struct mdg_join_options *o,
             struct mdg_member **out)
{
    return mdg_hub_join(c->session.hub, &c->session, mdg_slice_str(room), o, out);
}

struct mdg_member *kit_in(struct kit_client *c, const char *room)
{
    struct mdg_member *m = NULL;
    int err = kit_join(c, room, NULL, &m);
    assert(err == 0);
    return m;
}

struct mdg_content *kit_content(const char *room, const char *text, unsigned flags)
{
    struct mdg_msg_draft draft = {.kind = MDG_MSG_TEXT,
                                  .flags = flags,
                                  .channel = mdg_slice_str(room),
                                  .payload = mdg_slice_str(text)};
    struct mdg_content *content = NULL;
    return mdg_content_new(&draft, 1700000000000u, &content) < 0 ? NULL : content;
}

int kit_publish(struct kit *k, unsigned worker, const char *room, const char *text)
{
    struct mdg_content *content = kit_content(room, text, 0);
    return content ? mdg_hub_publish(k->hubs[worker], content, NULL, NULL) : MDG_E_NO_MEMORY;
}
