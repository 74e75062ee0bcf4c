/* A trie of words. Children are found through one map of the whole trie, keyed by (parent's number,
 * word), so that a node with ten thousand children costs no more than one with two. */
#include "hub/pattern.h"
#include "base/map.h"
#include <stdlib.h>

struct node {
    struct mdg_pattern pattern; /* meaningful while holds > 0 */
    struct node *parent;
    struct node *star, *hash; /* the children "*" and "#", which every match looks at */
    uint64_t number;
    uint32_t holds;    /* of the pattern that ends here */
    uint32_t children; /* a node is kept while holds + children > 0 */
    uint32_t key_len;
    uint64_t mark;  /* the step of a match that reached it last */
    uint8_t key[8]; /* parent number, then the word; longer than this */
};

struct mdg_patterns {
    struct node *root;
    struct mdg_map nodes;
    struct node **now, **then; /* places of the match under way; room for all nodes */
    size_t places_cap;
    size_t count, count_max; /* nodes, the root too */
    uint64_t step;
    uint64_t next_number;
};

enum { KEY_MAX = sizeof(uint64_t) + MDG_PATTERN_BYTES_MAX };

static struct mdg_slice make_key(uint8_t key[KEY_MAX], uint64_t parent, struct mdg_slice word)
{
    assert(word.len <= MDG_PATTERN_BYTES_MAX);
    memcpy(key, &parent, sizeof parent);
    if (word.len)
        memcpy(key + sizeof parent, word.data, word.len);
    return mdg_slice(key, sizeof parent + word.len);
}

static bool is_star(struct mdg_slice word)
{
    return word.len == 1 && word.data[0] == '*';
}

static bool is_hash(struct mdg_slice word)
{
    return word.len == 1 && word.data[0] == '#';
}

bool mdg_pattern_is(struct mdg_slice name)
{
    struct mdg_slice rest = name;
    while (rest.data) {
        struct mdg_slice word = mdg_slice_split(&rest, '.');
        if (is_star(word) || is_hash(word))
            return true;
    }
    return false;
}

/* The usual greedy walk with one point to come back to: what an earlier "#" swallowed never has to
 * be thought over once a later one was reached. */
bool mdg_pattern_matches(struct mdg_slice pattern, struct mdg_slice name)
{
    struct mdg_slice again_pattern = {NULL, 0}, again_name = {NULL, 0};
    bool can_retry = false;
    for (;;) {
        struct mdg_slice pattern_rest = pattern, name_rest = name;
        struct mdg_slice want = mdg_slice_split(&pattern_rest, '.');
        if (pattern.data && is_hash(want)) {
            pattern = pattern_rest;
            again_pattern = pattern;
            again_name = name;
            can_retry = true;
            continue;
        }
        if (!pattern.data && !name.data)
            return true;
        struct mdg_slice have = mdg_slice_split(&name_rest, '.');
        if (pattern.data && name.data && (is_star(want) || mdg_slice_eq(want, have))) {
            pattern = pattern_rest;
            name = name_rest;
            continue;
        }
        if (!can_retry || !again_name.data)
            return false;
        (void)mdg_slice_split(&again_name, '.');
        pattern = again_pattern;
        name = again_name;
    }
}

int mdg_patterns_new(size_t nodes_max, const uint64_t seed[2], struct mdg_patterns **out)
{
    struct mdg_patterns *p = calloc(1, sizeof *p);
    struct node *root = calloc(1, sizeof *root);
    if (!p || !root) {
        free(p);
        free(root);
        return MDG_E_NO_MEMORY;
    }
    mdg_map_init(&p->nodes, seed);
    p->root = root;
    p->count = 1;
    p->count_max = nodes_max + 1;
    p->next_number = 1;
    *out = p;
    return 0;
}

void mdg_patterns_free(struct mdg_patterns *p)
{
    if (!p)
        return;
    size_t at = 0;
    for (struct node *n; (n = mdg_map_next(&p->nodes, &at)) != NULL;)
        free(n);
    mdg_map_fini(&p->nodes);
    free(p->root);
    free(p->now);
    free(p->then);
    free(p);
}

bool mdg_patterns_empty(const struct mdg_patterns *p)
{
    return p->count == 1;
}

/* A match visits each node at most once a step, so this much room always suffices. */
static int make_places(struct mdg_patterns *p, size_t count)
{
    if (count <= p->places_cap)
        return 0;
    size_t cap = mdg_max_size(count, p->places_cap * 2 + 16);
    struct node **now = realloc(p->now, cap * sizeof(struct node *));
    if (!now)
        return MDG_E_NO_MEMORY;
    p->now = now;
    struct node **then = realloc(p->then, cap * sizeof(struct node *));
    if (!then)
        return MDG_E_NO_MEMORY;
    p->then = then;
    p->places_cap = cap;
    return 0;
}

static int add_child(struct mdg_patterns *p, struct node *parent, struct mdg_slice word,
                     struct node **out)
{
    if (p->count >= p->count_max)
        return MDG_E_TOO_BIG;
    int err = make_places(p, p->count + 1);
    if (err < 0)
        return err;
    struct node *n = calloc(1, sizeof *n + sizeof parent->number + word.len);
    if (!n)
        return MDG_E_NO_MEMORY;
    uint8_t key[KEY_MAX];
    struct mdg_slice k = make_key(key, parent->number, word);
    memcpy(n->key, k.data, k.len);
    n->key_len = (uint32_t)k.len;
    n->parent = parent;
    n->number = p->next_number;
    err = mdg_map_put(&p->nodes, mdg_slice(n->key, n->key_len), n);
    if (err < 0) {
        free(n);
        return err;
    }
    p->next_number++;
    p->count++;
    parent->children++;
    if (is_star(word))
        parent->star = n;
    if (is_hash(word))
        parent->hash = n;
    *out = n;
    return 0;
}

static struct node *child(const struct mdg_patterns *p, const struct node *parent,
                          struct mdg_slice word)
{
    uint8_t key[KEY_MAX];
    if (parent->children == 0 || word.len > MDG_PATTERN_BYTES_MAX)
        return NULL;
    return mdg_map_get(&p->nodes, make_key(key, parent->number, word));
}

/* Frees the nodes that neither end a pattern nor lead to one, from n upwards. */
static void prune(struct mdg_patterns *p, struct node *n)
{
    while (n != p->root && n->holds + n->children == 0) {
        struct node *parent = n->parent;
        if (parent->star == n)
            parent->star = NULL;
        if (parent->hash == n)
            parent->hash = NULL;
        parent->children--;
        (void)mdg_map_remove(&p->nodes, mdg_slice(n->key, n->key_len));
        p->count--;
        free(n);
        n = parent;
    }
}

static bool pattern_ok(struct mdg_slice pattern)
{
    size_t words = 1;
    if (pattern.len == 0 || pattern.len > MDG_PATTERN_BYTES_MAX)
        return false;
    for (size_t i = 0; i < pattern.len; i++)
        words += pattern.data[i] == '.';
    return words <= MDG_PATTERN_WORDS_MAX;
}

int mdg_patterns_hold(struct mdg_patterns *p, struct mdg_slice pattern, struct mdg_pattern **out)
{
    if (!pattern_ok(pattern))
        return MDG_E_SYNTAX;
    struct node *at = p->root;
    struct mdg_slice rest = pattern;
    while (rest.data) {
        struct mdg_slice word = mdg_slice_split(&rest, '.');
        struct node *next = child(p, at, word);
        if (!next) {
            int err = add_child(p, at, word, &next);
            if (err < 0) {
                prune(p, at);
                return err;
            }
        }
        at = next;
    }
    if (at->holds++ == 0)
        mdg_list_init(&at->pattern.entries);
    *out = &at->pattern;
    return 0;
}

void mdg_patterns_drop(struct mdg_patterns *p, struct mdg_pattern *pattern)
{
    struct node *n = MDG_CONTAINER_OF(pattern, struct node, pattern);
    assert(n->holds > 0);
    n->holds--;
    prune(p, n);
}

/* Adds a place once a step, and those that its "#" children reach with no word at all. */
static size_t reach(const struct mdg_patterns *p, struct node **places, size_t count,
                    struct node *n)
{
    for (; n && n->mark != p->step; n = n->hash) {
        assert(count < p->places_cap);
        n->mark = p->step;
        places[count++] = n;
    }
    return count;
}

static bool node_is_hash(const struct node *n)
{
    return n->parent && n->parent->hash == n;
}

void mdg_patterns_match(struct mdg_patterns *p, struct mdg_slice name, mdg_pattern_fn fn, void *arg)
{
    if (mdg_patterns_empty(p) || name.len == 0)
        return;
    p->step++;
    size_t count = reach(p, p->now, 0, p->root);
    struct mdg_slice rest = name;
    while (rest.data && count) {
        struct mdg_slice word = mdg_slice_split(&rest, '.');
        size_t next = 0;
        p->step++;
        for (size_t i = 0; i < count; i++) {
            struct node *n = p->now[i];
            if (node_is_hash(n))
                next = reach(p, p->then, next, n); /* "#" swallows this word too */
            next = reach(p, p->then, next, n->star);
            /* The word "*" or "#" in a name is just a word: it has the wildcard's node already. */
            if (!is_star(word) && !is_hash(word))
                next = reach(p, p->then, next, child(p, n, word));
        }
        struct node **swap = p->now;
        p->now = p->then;
        p->then = swap;
        count = next;
    }
    for (size_t i = 0; i < count; i++) {
        if (p->now[i]->holds)
            fn(arg, &p->now[i]->pattern);
    }
}
