/* Which names are taken. A name belongs to whoever came first, as long as a connection of his is
 * there and a little longer, so that a reload or a dropped line does not lose it to somebody else.
 * But who proves that it is his (a token, a passcode) takes it from whoever only chose it (a guest,
 * a sign-in to the chat, where anyone may say any name).
 *
 * Shared by all workers behind a mutex: it is touched when somebody arrives, leaves or changes his
 * name, never when a message passes. */
#ifndef MDG_NAMES_H
#define MDG_NAMES_H

#include "base/base.h"
#include "hub/principal.h"

struct mdg_names;

enum {
    MDG_NAME_CHARS_MAX = 32,
    MDG_NAME_HELD_MS = 120000, /* after the last connection went */
};

/* 1 to 32 characters of UTF-8; no controls, colon, invisible or direction-changing characters; no
 * space at the ends or twice in a row. MDG_E_SYNTAX, MDG_E_TOO_BIG. */
int mdg_name_check(struct mdg_slice name) MDG_NODISCARD;

int mdg_names_new(const uint64_t seed[2], struct mdg_names **out) MDG_NODISCARD;
void mdg_names_free(struct mdg_names *n);

/* What a name is taken with. */
struct mdg_name_claim {
    struct mdg_slice name;
    uint64_t owner; /* a random id in his cookie, the guest's own, or made of what was proven */
    bool guest, proven;
    uint32_t rights;
    uint64_t expires_unix_ms;
    struct mdg_principal_home *home; /* hears of the end, and calls mdg_names_give_back */
};

/* A principal that has the name, for as long as there are references to it. Letter case does not
 * make two names different. *ousted: the owner whose principals lost the name by that, 0 for none.
 * MDG_E_EXISTS: somebody else has it. MDG_E_NO_MEMORY, MDG_E_FULL (too many names), MDG_E_SYNTAX
 * (empty or too long). */
int mdg_names_take(struct mdg_names *n, const struct mdg_name_claim *claim, uint64_t now_ms,
                   struct mdg_principal **out, uint64_t *ousted) MDG_NODISCARD;
/* The end of a principal of mdg_names_take, whose memory goes. Was it the owner's last one, the
 * name is held for him for a while; a guest's is free at once. */
void mdg_names_give_back(struct mdg_names *n, struct mdg_principal *p, uint64_t now_ms);
/* Holds the name for an owner who is about to come. Errors as mdg_names_take. */
int mdg_names_hold(struct mdg_names *n, struct mdg_slice name, uint64_t owner,
                   uint64_t now_ms) MDG_NODISCARD;
/* The owner does not want it held any more (a sign-out). */
void mdg_names_let_go(struct mdg_names *n, struct mdg_slice name, uint64_t owner);

#endif
