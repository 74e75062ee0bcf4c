/* A growable byte buffer that cannot be created without its maximum. */
#ifndef MDG_BUF_H
#define MDG_BUF_H

#include "base/base.h"

struct mdg_buf {
    uint8_t *data;
    size_t len, cap, max;
};

/* No allocation until the first byte. max > 0. */
void mdg_buf_init(struct mdg_buf *b, size_t max);
void mdg_buf_fini(struct mdg_buf *b); /* frees the memory; the buffer may be used again */
/* Room for `more` bytes behind len. MDG_E_TOO_BIG past the maximum, MDG_E_NO_MEMORY. */
int mdg_buf_reserve(struct mdg_buf *b, size_t more) MDG_NODISCARD;
/* All or nothing; errors as mdg_buf_reserve. */
int mdg_buf_append(struct mdg_buf *b, struct mdg_slice bytes) MDG_NODISCARD;
void mdg_buf_consume(struct mdg_buf *b, size_t n); /* drops the first n bytes, n <= len */

static inline struct mdg_slice mdg_buf_slice(const struct mdg_buf *b)
{
    return mdg_slice(b->data, b->len);
}

#endif
