/* A table of principals by name; whoever has a principal has the name. A name that is held for
 * somebody who has gone is his last principal, without references. Such ones are removed when the
 * table is looked at, a few at a time. */
#include "server/names.h"
#include "base/map.h"
#include "base/utf8.h"
#include <pthread.h>
#include <stdlib.h>

enum {
    NAMES_MAX = 1000000, /* attack: signing in for ever with new names */
    FIRST_BUCKETS = 64,
    CHAIN_LEN = 2, /* on average, before the table grows */
};

struct mdg_names {
    pthread_mutex_t lock;
    struct mdg_principal **buckets;
    size_t mask, count;
    size_t sweep_at; /* bucket */
    uint64_t seed[2];
};

/* Characters that look like nothing or turn the text around: they make one name pass for another.
 * Unicode 15, general categories Cc, Cf, Zl, Zp and the blank letters of scripts. */
static bool is_invisible(uint32_t c)
{
    static const uint32_t ranges[][2] = {
        {0x00, 0x1f},       {0x7f, 0xa0},       {0xad, 0xad},     {0x34f, 0x34f},
        {0x61c, 0x61c},     {0x115f, 0x1160},   {0x17b4, 0x17b5}, {0x180b, 0x180f},
        {0x2000, 0x200f},   {0x2028, 0x202f},   {0x205f, 0x206f}, {0x2800, 0x2800},
        {0x3000, 0x3000},   {0x3164, 0x3164},   {0xfe00, 0xfe0f}, {0xfeff, 0xfeff},
        {0xffa0, 0xffa0},   {0xfff0, 0xffff},   {0xe000, 0xf8ff}, {0x1d173, 0x1d17a},
        {0xe0000, 0xe0fff}, {0xf0000, 0x10ffff}};
    for (size_t i = 0; i < MDG_ARRAY_LEN(ranges); i++) {
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return true;
    }
    return false;
}

/* The next code point of valid UTF-8. */
static uint32_t next_char(struct mdg_slice *s)
{
    uint8_t first = s->data[0];
    size_t len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    uint32_t c = len == 1 ? first : first & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++)
        c = c << 6 | (s->data[i] & 0x3f);
    s->data += len;
    s->len -= len;
    return c;
}

int mdg_name_check(struct mdg_slice name)
{
    if (name.len == 0 || !mdg_utf8_valid(name))
        return MDG_E_SYNTAX;
    if (name.len > MDG_NAME_BYTES_MAX)
        return MDG_E_TOO_BIG;
    size_t chars = 0;
    uint32_t before = ' ';
    for (struct mdg_slice rest = name; rest.len > 0; chars++) {
        uint32_t c = next_char(&rest);
        if (is_invisible(c) || c == ':' || (c == ' ' && before == ' '))
            return MDG_E_SYNTAX;
        before = c;
    }
    if (before == ' ')
        return MDG_E_SYNTAX;
    return chars > MDG_NAME_CHARS_MAX ? MDG_E_TOO_BIG : 0;
}

int mdg_names_new(const uint64_t seed[2], struct mdg_names **out)
{
    struct mdg_names *n = calloc(1, sizeof *n);
    struct mdg_principal **buckets = calloc(FIRST_BUCKETS, sizeof(struct mdg_principal *));
    if (!n || !buckets) {
        free(n);
        free(buckets);
        return MDG_E_NO_MEMORY;
    }
    pthread_mutex_init(&n->lock, NULL);
    n->buckets = buckets;
    n->mask = FIRST_BUCKETS - 1;
    n->seed[0] = seed[0];
    n->seed[1] = seed[1];
    *out = n;
    return 0;
}

/* Out of its bucket, at *at. */
static void drop(struct mdg_names *n, struct mdg_principal **at)
{
    struct mdg_principal *p = *at;
    *at = p->next;
    n->count--;
    free(p);
}

void mdg_names_free(struct mdg_names *n)
{
    if (!n)
        return;
    for (size_t i = 0; i <= n->mask; i++) {
        while (n->buckets[i]) {
            assert(n->buckets[i]->is_held); /* who has a name, has gone by now */
            drop(n, &n->buckets[i]);
        }
    }
    free(n->buckets);
    pthread_mutex_destroy(&n->lock);
    free(n);
}

static uint64_t hash_of(const struct mdg_names *n, struct mdg_slice name)
{
    uint8_t folded[MDG_NAME_BYTES_MAX];
    assert(name.len <= sizeof folded);
    for (size_t i = 0; i < name.len; i++)
        folded[i] = mdg_ascii_lower(name.data[i]);
    return mdg_siphash(n->seed, mdg_slice(folded, name.len));
}

static struct mdg_principal **bucket_of(const struct mdg_names *n, struct mdg_slice name)
{
    return &n->buckets[hash_of(n, name) & n->mask];
}

static bool has_name(const struct mdg_principal *p, struct mdg_slice name)
{
    return mdg_slice_eq_nocase(mdg_principal_name(p), name);
}

/* When memory is short the chains just get longer. */
static void grow(struct mdg_names *n)
{
    size_t mask = n->mask * 2 + 1;
    struct mdg_principal **old = n->buckets;
    struct mdg_principal **buckets = calloc(mask + 1, sizeof(struct mdg_principal *));
    size_t old_len = n->mask + 1;
    if (!buckets)
        return;
    n->buckets = buckets;
    n->mask = mask;
    for (size_t i = 0; i < old_len; i++) {
        for (struct mdg_principal *p = old[i], *next; p; p = next) {
            struct mdg_principal **at = bucket_of(n, mdg_principal_name(p));
            next = p->next;
            p->next = *at;
            *at = p;
        }
    }
    free(old);
}

static void hold(struct mdg_principal *p, uint64_t now_ms)
{
    p->is_held = true;
    p->expires_unix_ms = now_ms + MDG_NAME_HELD_MS; /* nobody reads it any more but we */
}

static bool is_over(const struct mdg_principal *p, uint64_t now_ms)
{
    return p->is_held && now_ms >= p->expires_unix_ms;
}

/* Two buckets for each name that arrives: the table cannot grow faster than it is swept. */
static void sweep(struct mdg_names *n, uint64_t now_ms)
{
    for (int i = 0; i < 2; i++) {
        struct mdg_principal **at = &n->buckets[n->sweep_at++ & n->mask];
        while (*at) {
            if (is_over(*at, now_ms))
                drop(n, at);
            else
                at = &(*at)->next;
        }
    }
}

/* Everyone who has the name is the same owner, but for those who lost it and are still on their
 * way out: looking at the first one is enough. */
static struct mdg_principal **find(const struct mdg_names *n, struct mdg_slice name)
{
    struct mdg_principal **at = bucket_of(n, name);
    while (*at && ((*at)->is_ousted || !has_name(*at, name)))
        at = &(*at)->next;
    return at;
}

static bool is_taken(const struct mdg_names *n, const struct mdg_name_claim *claim, uint64_t now_ms)
{
    const struct mdg_principal *p = *find(n, claim->name);
    return p && p->owner != claim->owner && !is_over(p, now_ms) && (p->is_proven || !claim->proven);
}

/* A name is held by one principal at most, and only while nobody has it. */
static void drop_held(struct mdg_names *n, struct mdg_slice name)
{
    struct mdg_principal **at = find(n, name);
    if (*at && (*at)->is_held)
        drop(n, at);
}

/* Whoever else has the name has it no more. Returns his owner, 0: nobody had it. */
static uint64_t oust(const struct mdg_names *n, const struct mdg_name_claim *claim)
{
    uint64_t ousted = 0;
    struct mdg_principal *p;
    while ((p = *find(n, claim->name)) && p->owner != claim->owner) {
        ousted = p->owner;
        p->is_ousted = true;
    }
    return ousted;
}

static void add(struct mdg_names *n, struct mdg_principal *p)
{
    if (++n->count > CHAIN_LEN * (n->mask + 1))
        grow(n);
    struct mdg_principal **at = bucket_of(n, mdg_principal_name(p));
    p->next = *at;
    *at = p;
}

static int take_locked(struct mdg_names *n, const struct mdg_name_claim *claim, uint64_t now_ms,
                       struct mdg_principal **out, uint64_t *ousted)
{
    sweep(n, now_ms);
    if (is_taken(n, claim, now_ms))
        return MDG_E_EXISTS;
    if (n->count >= NAMES_MAX)
        return MDG_E_FULL;
    struct mdg_principal *p =
        mdg_principal_new(claim->name, claim->guest, claim->rights, claim->expires_unix_ms);
    if (!p)
        return MDG_E_NO_MEMORY;
    p->owner = claim->owner;
    p->home = claim->home;
    p->is_proven = claim->proven;
    drop_held(n, claim->name);
    *ousted = oust(n, claim);
    add(n, p);
    *out = p;
    return 0;
}

int mdg_names_take(struct mdg_names *n, const struct mdg_name_claim *claim, uint64_t now_ms,
                   struct mdg_principal **out, uint64_t *ousted)
{
    *ousted = 0;
    if (claim->name.len == 0 || claim->name.len > MDG_NAME_BYTES_MAX)
        return MDG_E_SYNTAX;
    pthread_mutex_lock(&n->lock);
    int err = take_locked(n, claim, now_ms, out, ousted);
    pthread_mutex_unlock(&n->lock);
    return err;
}

static struct mdg_principal **place_of(const struct mdg_names *n, const struct mdg_principal *p)
{
    struct mdg_principal **at = bucket_of(n, mdg_principal_name(p));
    while (*at != p)
        at = &(*at)->next;
    return at;
}

static void give_back_locked(struct mdg_names *n, struct mdg_principal *p, uint64_t now_ms)
{
    struct mdg_principal **at = place_of(n, p);
    *at = p->next;
    n->count--;
    if (p->guest || p->is_ousted || *find(n, mdg_principal_name(p))) { /* others of his are here */
        free(p);
        return;
    }
    hold(p, now_ms);
    add(n, p);
}

void mdg_names_give_back(struct mdg_names *n, struct mdg_principal *p, uint64_t now_ms)
{
    pthread_mutex_lock(&n->lock);
    give_back_locked(n, p, now_ms);
    pthread_mutex_unlock(&n->lock);
}

static int hold_locked(struct mdg_names *n, const struct mdg_name_claim *claim, uint64_t now_ms)
{
    struct mdg_principal *p;
    uint64_t ousted; /* nobody: the claim is not proven */
    int err = take_locked(n, claim, now_ms, &p, &ousted);
    if (err == 0)
        give_back_locked(n, p, now_ms);
    return err;
}

int mdg_names_hold(struct mdg_names *n, struct mdg_slice name, uint64_t owner, uint64_t now_ms)
{
    const struct mdg_name_claim claim = {.name = name, .owner = owner};
    if (name.len == 0 || name.len > MDG_NAME_BYTES_MAX)
        return MDG_E_SYNTAX;
    pthread_mutex_lock(&n->lock);
    int err = hold_locked(n, &claim, now_ms);
    pthread_mutex_unlock(&n->lock);
    return err;
}

void mdg_names_let_go(struct mdg_names *n, struct mdg_slice name, uint64_t owner)
{
    if (name.len > MDG_NAME_BYTES_MAX)
        return;
    pthread_mutex_lock(&n->lock);
    const struct mdg_principal *p = *find(n, name);
    if (p && p->owner == owner)
        drop_held(n, name);
    pthread_mutex_unlock(&n->lock);
}
