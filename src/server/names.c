/* A map from the folded name to its holder. Names whose time is over are removed when the table is
 * looked at, a few at a time. */
#include "server/names.h"
#include "base/map.h"
#include "base/utf8.h"
#include "hub/principal.h"
#include <stdlib.h>

enum { NAMES_MAX = 1000000 }; /* attack: signing in for ever with new names */

struct holder {
    uint64_t owner;
    uint64_t free_at_ms; /* valid while uses is 0 */
    uint32_t uses;
    uint8_t len;
    uint8_t folded[];
};

struct mdg_names {
    pthread_mutex_t lock;
    struct mdg_map map;
    size_t sweep_at;
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
    if (!n)
        return MDG_E_NO_MEMORY;
    pthread_mutex_init(&n->lock, NULL);
    mdg_map_init(&n->map, seed);
    *out = n;
    return 0;
}

void mdg_names_free(struct mdg_names *n)
{
    if (!n)
        return;
    size_t at = 0;
    for (struct holder *h = mdg_map_next(&n->map, &at); h; h = mdg_map_next(&n->map, &at))
        free(h);
    mdg_map_fini(&n->map);
    pthread_mutex_destroy(&n->lock);
    free(n);
}

static void fold(struct mdg_slice name, uint8_t out[MDG_NAME_BYTES_MAX])
{
    for (size_t i = 0; i < name.len; i++)
        out[i] = mdg_ascii_lower(name.data[i]);
}

static struct mdg_slice folded_key(const struct holder *h)
{
    return mdg_slice(h->folded, h->len);
}

static void drop(struct mdg_names *n, struct holder *h)
{
    mdg_map_remove(&n->map, folded_key(h));
    free(h);
}

static bool is_free(const struct holder *h, uint64_t now_ms)
{
    return h->uses == 0 && now_ms >= h->free_at_ms;
}

/* One step of the sweep for each name that arrives: the table cannot grow faster than it is swept.
 */
static void sweep(struct mdg_names *n, uint64_t now_ms)
{
    for (int i = 0; i < 2; i++) {
        struct holder *h = mdg_map_next(&n->map, &n->sweep_at);
        if (!h) {
            n->sweep_at = 0;
            return;
        }
        if (is_free(h, now_ms))
            drop(n, h);
    }
}

static int use_locked(struct mdg_names *n, struct mdg_slice key, uint64_t owner, uint64_t now_ms)
{
    sweep(n, now_ms);
    struct holder *h = mdg_map_get(&n->map, key);
    if (h && h->owner != owner && !is_free(h, now_ms))
        return MDG_E_EXISTS;
    if (!h) {
        if (n->map.len >= NAMES_MAX)
            return MDG_E_FULL;
        h = calloc(1, sizeof *h + key.len);
        if (!h)
            return MDG_E_NO_MEMORY;
        h->len = (uint8_t)key.len;
        memcpy(h->folded, key.data, key.len);
        int err = mdg_map_put(&n->map, folded_key(h), h);
        if (err < 0) {
            free(h);
            return err;
        }
    }
    h->owner = owner;
    h->uses++;
    return 0;
}

int mdg_names_use(struct mdg_names *n, struct mdg_slice name, uint64_t owner, uint64_t now_ms)
{
    uint8_t folded[MDG_NAME_BYTES_MAX];
    if (name.len == 0 || name.len > sizeof folded)
        return MDG_E_SYNTAX;
    fold(name, folded);
    pthread_mutex_lock(&n->lock);
    int err = use_locked(n, mdg_slice(folded, name.len), owner, now_ms);
    pthread_mutex_unlock(&n->lock);
    return err;
}

void mdg_names_release(struct mdg_names *n, struct mdg_slice name, uint64_t owner, uint64_t now_ms,
                       bool at_once)
{
    uint8_t folded[MDG_NAME_BYTES_MAX];
    assert(name.len > 0 && name.len <= sizeof folded);
    fold(name, folded);
    pthread_mutex_lock(&n->lock);
    struct holder *h = mdg_map_get(&n->map, mdg_slice(folded, name.len));
    if (h && h->owner == owner) {
        if (h->uses > 0)
            h->uses--;
        h->free_at_ms = now_ms + MDG_NAME_HELD_MS;
        if (h->uses == 0 && at_once)
            drop(n, h);
    }
    pthread_mutex_unlock(&n->lock);
}
