/* Wildcard subscriptions: which patterns match a name? Names and patterns are words joined by
 * dots; in a pattern the word "*" stands for exactly one word and "#" for any number, none too
 * (the rules of AMQP 0-9-1 topics, which STOMP clients know).
 *
 * All patterns share one trie. A match walks it one word at a time with the set of places that the
 * words so far can have led to, so "#.a.#.a.#" costs (words x places) and never explodes. */
#ifndef MDG_PATTERN_H
#define MDG_PATTERN_H

#include "base/base.h"

enum {
    MDG_PATTERN_WORDS_MAX = 32,   /* attack: patterns of nothing but dots that fill the trie */
    MDG_PATTERN_BYTES_MAX = 1024, /* of a whole pattern */
};

struct mdg_patterns;

/* One distinct pattern. `entries` is the owner's list (of members); it is empty at first. */
struct mdg_pattern {
    struct mdg_list entries;
};

/* nodes_max bounds the words kept in all patterns together. seed: 16 random bytes. */
int mdg_patterns_new(size_t nodes_max, const uint64_t seed[2],
                     struct mdg_patterns **out) MDG_NODISCARD;
void mdg_patterns_free(struct mdg_patterns *p); /* NULL is allowed; entries are the owner's */

/* Has the name a wildcard word? Anything else is an ordinary name. */
bool mdg_pattern_is(struct mdg_slice name);
/* Does this one pattern match this name? Needs no trie. */
bool mdg_pattern_matches(struct mdg_slice pattern, struct mdg_slice name);

/* Takes one hold on the pattern, made if it is new. MDG_E_SYNTAX (empty, too long, too many
 * words), MDG_E_TOO_BIG (nodes_max), MDG_E_NO_MEMORY. */
int mdg_patterns_hold(struct mdg_patterns *p, struct mdg_slice pattern,
                      struct mdg_pattern **out) MDG_NODISCARD;
/* Gives one hold back; with the last the pattern is freed. */
void mdg_patterns_drop(struct mdg_patterns *p, struct mdg_pattern *pattern);

/* fn is called once for each pattern that matches. It must not hold or drop patterns. */
typedef void (*mdg_pattern_fn)(void *arg, struct mdg_pattern *pattern);
void mdg_patterns_match(struct mdg_patterns *p, struct mdg_slice name, mdg_pattern_fn fn,
                        void *arg);
bool mdg_patterns_empty(const struct mdg_patterns *p);

#endif
