/* The answer of a poll: a cursor and a list of units, which thousands of parked requests share. The
 * waiting itself is the exchange's (mdg_exchange_set_timeout, on_abort): a parked request is an
 * exchange that has not been answered and whose head has been forgotten. */
#ifndef MDG_POLL_H
#define MDG_POLL_H

#include "base/base.h"
#include "transport/http.h"

enum { MDG_POLL_CURSOR_MAX = 4096 }; /* it travels in a URL and in a header */

struct mdg_poll_answer {
    struct mdg_slice cursor;  /* opaque to the client: visible ASCII without quotes */
    struct mdg_slice members; /* more JSON members, such as "recovered":true; may be empty */
    struct mdg_chunk *units;  /* one JSON value each; borrowed, the references stay the caller's */
    size_t count;
};

/* {"cursor":"...",members,"messages":[unit,...]} with the cursor as ETag, or 304 when the client
 * has this answer already (if_none_match: that header, may be empty). Falls back to
 * closing the connection. */
void mdg_poll_respond(struct mdg_exchange *x, const struct mdg_poll_answer *a,
                      struct mdg_slice if_none_match);

#endif
