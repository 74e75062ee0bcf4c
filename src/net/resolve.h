/* Names to addresses on a helper thread, because getaddrinfo blocks. Private to src/net. */
#ifndef MDG_RESOLVE_H
#define MDG_RESOLVE_H

#include "net/addr.h"

struct mdg_net;
struct mdg_resolve;

enum { MDG_RESOLVE_ADDRS_MAX = 8 };

/* err 0 and n > 0, or MDG_E_NOT_FOUND, -EAGAIN (the resolver cannot be reached), MDG_E_NO_MEMORY.
 */
typedef void (*mdg_resolved_fn)(void *arg, int err, const struct mdg_addr *addrs, size_t n);

/* done is called from the loop, never from inside. MDG_E_TOO_BIG, MDG_E_NO_MEMORY, -errno. */
int mdg_resolve_start(struct mdg_net *net, struct mdg_slice name, uint16_t port,
                      mdg_resolved_fn done, void *arg, struct mdg_resolve **out) MDG_NODISCARD;
/* done is not called any more; the thread ends by itself. */
void mdg_resolve_cancel(struct mdg_resolve *r);
/* The loop goes: threads that are still at work drop what they find. */
void mdg_resolve_close(struct mdg_net *net);

#endif
