/* Making and counting principals. */
#include "hub/principal.h"
#include <stdlib.h>

static_assert(MDG_NAME_BYTES_MAX <= UINT8_MAX, "name_len is a byte");

struct mdg_principal *mdg_principal_new(struct mdg_slice name, bool guest, uint32_t rights,
                                        uint64_t expires_unix_ms)
{
    assert(rights <= UINT8_MAX);
    if (name.len == 0 || name.len > MDG_NAME_BYTES_MAX)
        return NULL;
    struct mdg_principal *p = malloc(sizeof *p + name.len);
    if (!p)
        return NULL;
    *p = (struct mdg_principal){
        .rights = (uint8_t)rights,
        .guest = guest,
        .name_len = (uint8_t)name.len,
        .expires_unix_ms = expires_unix_ms,
    };
    atomic_init(&p->refs, 1);
    memcpy(p->name, name.data, name.len);
    return p;
}

struct mdg_principal *mdg_principal_ref(struct mdg_principal *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void mdg_principal_unref(struct mdg_principal *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (p->home)
        p->home->gone(p->home, p);
    else
        free(p);
}

bool mdg_principal_same_user(const struct mdg_principal *a, const struct mdg_principal *b)
{
    return a->guest == b->guest && mdg_slice_eq(mdg_principal_name(a), mdg_principal_name(b));
}
