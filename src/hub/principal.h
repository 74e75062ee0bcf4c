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

/* Immutable after it was made; any thread may hold a reference. */
struct mdg_principal {
    atomic_uint refs;
    uint32_t rights;          /* MDG_RIGHT_* */
    uint64_t expires_unix_ms; /* 0: never; enforced on live connections too */
    bool guest;               /* did not sign in; shown as such, cannot take a signed-in name */
    /* Called with the last reference, from whatever thread; NULL: nothing to do. */
    void (*on_free)(struct mdg_principal *p);
    void *registry;   /* on_free's: where the name is registered */
    uint64_t owner;   /* who holds the name there */
    uint8_t name_len; /* bytes */
    char name[];      /* valid UTF-8 without colon, controls, leading or trailing space */
};

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
