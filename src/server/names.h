/* Which names are taken. A name belongs to whoever came first, a signed-in user or a guest, as long
 * as a connection of his is there and a little longer, so that a reload or a dropped line does not
 * lose it to somebody else.
 *
 * Shared by all workers behind a mutex: it is touched when somebody arrives, leaves or changes his
 * name, never when a message passes. */
#ifndef MDG_NAMES_H
#define MDG_NAMES_H

#include "base/base.h"
#include <pthread.h>

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
/* Takes the name for this owner (a random id in his cookie, or the guest's own) and counts one use.
 * Letter case does not make two names different. Signed-in owners push aside nobody. MDG_E_EXISTS:
 * somebody else has it. MDG_E_NO_MEMORY, MDG_E_FULL (too many names). */
int mdg_names_use(struct mdg_names *n, struct mdg_slice name, uint64_t owner,
                  uint64_t now_ms) MDG_NODISCARD;
/* The counterpart of one mdg_names_use. `at_once`: do not hold it (a sign-out, a guest). */
void mdg_names_release(struct mdg_names *n, struct mdg_slice name, uint64_t owner, uint64_t now_ms,
                       bool at_once);

#endif
