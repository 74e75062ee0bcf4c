/* Who a client is, whatever way it proved that: a session cookie, a signed token, a STOMP login, a
 * line command. Made once by the one authentication seam (server/auth), shared by reference. */
#ifndef MDG_PRINCIPAL_H
#define MDG_PRINCIPAL_H

#include "base/base.h"
#include <stdatomic.h>

enum {
    MDG_NAME_BYTES_MAX = 96,  /* a name is at most 32 characters (96 bytes of UTF-8) */
    MDG_RIGHT_PUBLISH = 1u,   /* may publish to rooms */
    MDG_RIGHT_SUBSCRIBE = 2u, /* may join rooms */
    MDG_RIGHT_ADMIN = 4u,     /* may use the administrative routes */
    MDG_RIGHTS_USER = MDG_RIGHT_PUBLISH | MDG_RIGHT_SUBSCRIBE,
};

struct mdg_principal;

/* Where the names of principals are registered; one for all of them. */
struct mdg_principal_home {
    /* The last reference is gone, on whatever thread; the memory is the home's now. */
    void (*gone)(struct mdg_principal_home *home, struct mdg_principal *p);
};

/* Immutable after it was made, but for what is its home's; any thread may hold a reference. */
struct mdg_principal {
    atomic_uint refs;
    uint8_t rights;   /* MDG_RIGHT_* */
    bool guest;       /* did not sign in; shown as such, cannot take a signed-in name */
    uint8_t name_len; /* bytes */
    /* The home's: nobody is here any more, but the name is still kept for him; the owner proved
     * that the name is his; the name went to somebody who did. */
    bool is_held : 1, is_proven : 1, is_ousted : 1;
    uint64_t expires_unix_ms;        /* 0: never; enforced on live connections too */
    struct mdg_principal_home *home; /* NULL: the memory is freed with the last reference */
    struct mdg_principal *next;      /* the home's: chain of its table by name */
    uint64_t owner;                  /* the home's: who may use this name, and take it again */
    char name[]; /* valid UTF-8 without colon, controls, leading or trailing space */
};

static_assert(sizeof(struct mdg_principal) <= 40, "a guest-7f3a09 fits into 56 bytes of the heap");

/* One reference. NULL: out of memory, or a name that is empty or too long. */
struct mdg_principal *mdg_principal_new(struct mdg_slice name, bool guest, uint32_t rights,
                                        uint64_t expires_unix_ms) MDG_NODISCARD;
struct mdg_principal *mdg_principal_ref(struct mdg_principal *p);
void mdg_principal_unref(struct mdg_principal *p); /* NULL is allowed */

/* The same user to everyone else, whatever the rights and the expiry. */
bool mdg_principal_same_user(const struct mdg_principal *a, const struct mdg_principal *b);

static inline struct mdg_slice mdg_principal_name(const struct mdg_principal *p)
{
    return mdg_slice(p->name, p->name_len);
}

#endif
