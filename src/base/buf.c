/* Doubling growth under a hard maximum. */
#include "base/buf.h"
#include <stdlib.h>

enum { FIRST_CAP = 256 };

void mdg_buf_init(struct mdg_buf *b, size_t max)
{
    assert(max > 0);
    *b = (struct mdg_buf){.max = max};
}

void mdg_buf_fini(struct mdg_buf *b)
{
    free(b->data);
    mdg_buf_init(b, b->max);
}

int mdg_buf_reserve(struct mdg_buf *b, size_t more)
{
    assert(b->len <= b->cap);
    if (more <= b->cap - b->len)
        return 0;
    if (b->len > b->max || more > b->max - b->len)
        return MDG_E_TOO_BIG;
    size_t want = b->len + more;
    size_t cap = b->cap ? b->cap : FIRST_CAP;
    while (cap < want)
        cap *= 2;
    cap = mdg_min_size(cap, b->max);
    uint8_t *data = realloc(b->data, cap);
    if (!data)
        return MDG_E_NO_MEMORY;
    b->data = data;
    b->cap = cap;
    return 0;
}

int mdg_buf_append(struct mdg_buf *b, struct mdg_slice bytes)
{
    int err = mdg_buf_reserve(b, bytes.len);
    if (err < 0)
        return err;
    if (bytes.len)
        memcpy(b->data + b->len, bytes.data, bytes.len);
    b->len += bytes.len;
    return 0;
}

void mdg_buf_consume(struct mdg_buf *b, size_t n)
{
    assert(n <= b->len);
    b->len -= n;
    if (b->len)
        memmove(b->data, b->data + n, b->len);
}
