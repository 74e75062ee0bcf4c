/* Who is in a room. Users are counted at the room's owner, by name, however many connections each
 * has; changes are told together after a short while, and above a size only as a number, because
 * ten thousand people who each hear of ten thousand others are a hundred million messages. */
#include "hub/impl.h"
#include <stdlib.h>

enum { COUNTS_DELAY_FACTOR = 10 };

struct mdg_room *mdg_room_get(struct mdg_hub *h, struct mdg_channel *c)
{
    if (c->room)
        return c->room;
    struct mdg_room *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->channel = c;
    mdg_list_init(&r->in_hub);
    mdg_list_init(&r->due);
    mdg_list_init(&r->users);
    mdg_list_init(&r->changed);
    c->room = r;
    mdg_channel_settle(h, c);
    return r;
}

void mdg_room_drop_if_unused(struct mdg_hub *h, struct mdg_channel *c)
{
    struct mdg_room *r = c->room;
    if (!r || r->subscriber_count || r->lost_count || !mdg_list_empty(&r->users) ||
        !mdg_list_empty(&r->changed))
        return;
    mdg_list_remove(&r->in_hub);
    mdg_list_remove(&r->due);
    free(r);
    c->room = NULL;
    mdg_channel_settle(h, c);
}

static uint32_t hash_user(const struct mdg_hub *h, const struct mdg_channel *c,
                          const struct mdg_principal *who)
{
    uint64_t seed[2] = {h->seed[0] ^ (uintptr_t)c, h->seed[1] ^ who->guest};
    return (uint32_t)mdg_siphash(seed, mdg_principal_name(who));
}

static struct mdg_user_entry **find_user(const struct mdg_hub *h, const struct mdg_channel *c,
                                         const struct mdg_principal *who, uint32_t hash)
{
    struct mdg_user_entry **at = &h->users[hash & h->user_mask];
    while (*at && ((*at)->hash != hash || (*at)->channel != c ||
                   !mdg_principal_same_user((*at)->who, who)))
        at = &(*at)->hash_next;
    return at;
}

static void grow_table(struct mdg_hub *h)
{
    uint32_t mask = h->user_mask * 2 + 1;
    struct mdg_user_entry **table = calloc((size_t)mask + 1, sizeof *table);
    if (!table)
        return;
    for (size_t i = 0; i <= h->user_mask; i++) {
        for (struct mdg_user_entry *e = h->users[i], *next; e; e = next) {
            next = e->hash_next;
            e->hash_next = table[e->hash & mask];
            table[e->hash & mask] = e;
        }
    }
    free(h->users);
    h->users = table;
    h->user_mask = mask;
}

static bool counts_only(const struct mdg_hub *h, const struct mdg_room *r)
{
    return r->user_count > h->config.channel.presence_list_max;
}

/* To the list of those of whom there is something to tell, or back. */
static void note_change(struct mdg_hub *h, struct mdg_user_entry *e)
{
    struct mdg_room *r = e->channel->room;
    e->changed = e->told != (e->members > 0);
    mdg_list_remove(&e->in_room);
    mdg_list_push(e->changed ? &r->changed : &r->users, &e->in_room);
    if (e->changed && mdg_list_empty(&r->due)) {
        uint32_t delay = h->config.channel.presence_delay_ms;
        r->due_ms = h->now_ms + (counts_only(h, r) ? delay * COUNTS_DELAY_FACTOR : delay);
        mdg_list_push(&h->presence_due, &r->due);
    }
}

static struct mdg_user_entry *new_entry(struct mdg_hub *h, struct mdg_channel *c,
                                        struct mdg_principal *who, uint32_t hash)
{
    struct mdg_user_entry *e = mdg_pool_get(&h->user_entries);
    if (!e)
        return NULL;
    e->channel = c;
    e->who = mdg_principal_ref(who);
    e->hash = hash;
    mdg_list_init(&e->in_room);
    if (++h->user_count > CHAIN_LEN * (h->user_mask + 1))
        grow_table(h);
    struct mdg_user_entry **at = &h->users[hash & h->user_mask];
    e->hash_next = *at;
    *at = e;
    return e;
}

static void free_entry(struct mdg_hub *h, struct mdg_user_entry *e)
{
    struct mdg_user_entry **at = &h->users[e->hash & h->user_mask];
    while (*at != e)
        at = &(*at)->hash_next;
    *at = e->hash_next;
    h->user_count--;
    mdg_list_remove(&e->in_room);
    mdg_principal_unref(e->who);
    mdg_pool_put(&h->user_entries, e);
}

static void free_entries(struct mdg_hub *h, struct mdg_list *list)
{
    while (!mdg_list_empty(list))
        free_entry(h, MDG_CONTAINER_OF(mdg_list_first(list), struct mdg_user_entry, in_room));
}

int mdg_user_join(struct mdg_hub *h, struct mdg_channel *c, struct mdg_principal *who,
                  struct mdg_user_entry **out)
{
    struct mdg_room *r = mdg_room_get(h, c);
    if (!r)
        return MDG_E_NO_MEMORY;
    uint32_t hash = hash_user(h, c, who);
    struct mdg_user_entry *e = *find_user(h, c, who, hash);
    if (!e)
        e = new_entry(h, c, who, hash);
    if (!e) {
        mdg_room_drop_if_unused(h, c);
        return MDG_E_NO_MEMORY;
    }
    if (e->members++ == 0) {
        r->user_count++;
        mdg_list_remove(&r->in_hub);
        mdg_list_push(&h->rooms, &r->in_hub);
        note_change(h, e);
    }
    *out = e;
    return 0;
}

void mdg_user_leave(struct mdg_hub *h, struct mdg_user_entry *e)
{
    struct mdg_channel *c = e->channel;
    assert(e->members > 0);
    if (--e->members > 0)
        return;
    if (--c->room->user_count == 0)
        mdg_list_remove(&c->room->in_hub);
    note_change(h, e);
    if (!e->changed) /* came and went before anyone was told */
        free_entry(h, e);
    if (c->member_count == 0 && c->room->subscriber_count == 0) {
        /* Nobody is left to be told. */
        if (c->room->user_count == 0)
            free_entries(h, &c->room->changed);
    }
    mdg_room_drop_if_unused(h, c);
}

void mdg_room_free(struct mdg_hub *h, struct mdg_channel *c)
{
    struct mdg_room *r = c->room;
    if (!r)
        return;
    free_entries(h, &r->users);
    free_entries(h, &r->changed);
    if (r->lost_count)
        h->lost_rooms--;
    mdg_list_remove(&r->in_hub);
    mdg_list_remove(&r->due);
    free(r);
    c->room = NULL;
}

static void list_present(const struct mdg_list *list, struct mdg_op *op)
{
    for (const struct mdg_list *it = list->next; it != list; it = it->next) {
        const struct mdg_user_entry *e = MDG_CONTAINER_OF(it, struct mdg_user_entry, in_room);
        if (e->members > 0)
            op->principals[op->principal_count++] = mdg_principal_ref(e->who);
    }
}

int mdg_room_list(struct mdg_hub *h, struct mdg_channel *c, struct mdg_op *op)
{
    struct mdg_room *r = c ? c->room : NULL;
    op->count = r ? r->user_count : 0;
    op->counts_only = r && counts_only(h, r);
    if (!r || op->counts_only || r->user_count == 0)
        return 0;
    op->principals = malloc(r->user_count * sizeof(struct mdg_principal *));
    if (!op->principals)
        return MDG_E_NO_MEMORY;
    list_present(&r->users, op);
    list_present(&r->changed, op);
    assert(op->principal_count == r->user_count);
    return 0;
}

struct mdg_user *mdg_op_users(const struct mdg_op *op)
{
    struct mdg_user *users = NULL;
    if (!op->counts_only)
        users = malloc((op->principal_count + 1) * sizeof *users);
    for (size_t i = 0; users && i < op->principal_count; i++)
        users[i] =
            (struct mdg_user){mdg_principal_name(op->principals[i]), op->principals[i]->guest};
    return users;
}

/* A presence message's payload is the struct itself with its lists and names behind it, at an
 * address that never changes: part 0 is a blob. */
struct presence_size {
    size_t joined, left, names;
};

static struct presence_size measure(const struct mdg_room *r)
{
    struct presence_size size = {0, 0, 0};
    for (struct mdg_list *it = r->changed.next; it != &r->changed; it = it->next) {
        struct mdg_user_entry *e = MDG_CONTAINER_OF(it, struct mdg_user_entry, in_room);
        *(e->members ? &size.joined : &size.left) += 1;
        size.names += e->who->name_len;
    }
    return size;
}

static void fill_presence(const struct mdg_room *r, struct mdg_presence *p, struct mdg_user *users,
                          const struct presence_size *size)
{
    uint8_t *names = (uint8_t *)(users + size->joined + size->left);
    struct mdg_user *joined = users, *left = users + size->joined;
    p->joined = joined;
    p->left = left;
    for (struct mdg_list *it = r->changed.next; it != &r->changed; it = it->next) {
        struct mdg_user_entry *e = MDG_CONTAINER_OF(it, struct mdg_user_entry, in_room);
        memcpy(names, e->who->name, e->who->name_len);
        struct mdg_user user = {mdg_slice(names, e->who->name_len), e->who->guest};
        names += e->who->name_len;
        if (e->members)
            joined[p->joined_count++] = user;
        else
            left[p->left_count++] = user;
    }
}

static struct mdg_blob *presence_blob(const struct mdg_room *r, bool counts)
{
    struct presence_size size = {0, 0, 0};
    if (!counts)
        size = measure(r);
    size_t users = (size.joined + size.left) * sizeof(struct mdg_user);
    size_t len = sizeof(struct mdg_presence) + users + size.names;
    struct mdg_blob *b = len <= UINT32_MAX ? mdg_blob_new((uint32_t)len) : NULL;
    if (!b)
        return NULL;
    static_assert(offsetof(struct mdg_blob, data) % _Alignof(struct mdg_presence) == 0,
                  "a struct may stand at the start of a blob");
    void *start = b->data;
    struct mdg_presence *p = start;
    *p = (struct mdg_presence){.count = r->user_count};
    if (!counts)
        fill_presence(r, p, (struct mdg_user *)(p + 1), &size);
    return b;
}

const struct mdg_presence *mdg_msg_presence(const struct mdg_msg *m)
{
    assert(m->content->kind == MDG_MSG_PRESENCE);
    const void *start = m->content->parts[0].blob->data;
    return start;
}

static int tell(struct mdg_hub *h, struct mdg_room *r, bool counts)
{
    struct mdg_blob *b = presence_blob(r, counts);
    if (!b)
        return MDG_E_NO_MEMORY;
    struct mdg_chunk part = mdg_chunk_all(b);
    struct mdg_msg_draft draft = {
        .kind = MDG_MSG_PRESENCE,
        .flags = MDG_MSG_VOLATILE,
        .channel = mdg_channel_name(r->channel),
        .parts = &part,
        .part_count = 1,
    };
    struct mdg_content *content;
    int err = mdg_content_new(&draft, h->unix_ms, &content);
    if (err < 0) {
        mdg_blob_unref(part.blob);
        return err;
    }
    mdg_owner_distribute(h, r->channel, content, 0);
    mdg_content_unref(content);
    return 0;
}

/* From now on the members know. */
static void settle_users(struct mdg_hub *h, struct mdg_room *r)
{
    MDG_LIST_FOR(it, next, &r->changed)
    {
        struct mdg_user_entry *e = MDG_CONTAINER_OF(it, struct mdg_user_entry, in_room);
        e->told = e->members > 0;
        e->changed = false;
        mdg_list_remove(it);
        if (e->members > 0)
            mdg_list_push(&r->users, it);
        else
            free_entry(h, e);
    }
}

static void tell_room(struct mdg_hub *h, struct mdg_room *r)
{
    bool counts = counts_only(h, r);
    if (mdg_list_empty(&r->changed) || (counts && r->told_count == r->user_count)) {
        settle_users(h, r);
        mdg_room_drop_if_unused(h, r->channel);
        return;
    }
    if (tell(h, r, counts) < 0) { /* at the next tick again */
        mdg_list_push(&h->presence_due, &r->due);
        return;
    }
    r->told_count = r->user_count;
    settle_users(h, r);
    mdg_room_drop_if_unused(h, r->channel);
}

void mdg_presence_tick(struct mdg_hub *h)
{
    struct mdg_list waiting;
    mdg_list_init(&waiting);
    mdg_list_take(&waiting, &h->presence_due);
    while (!mdg_list_empty(&waiting)) {
        struct mdg_list *at = mdg_list_first(&waiting);
        struct mdg_room *r = MDG_CONTAINER_OF(at, struct mdg_room, due);
        mdg_list_remove(at);
        if (r->due_ms > h->now_ms)
            mdg_list_push(&h->presence_due, at);
        else
            tell_room(h, r);
    }
}
