/* zlib, and the four bytes that RFC 7692 takes off the end of every message. */
#include "codec/deflate.h"
#include <limits.h>

static const uint8_t tail_bytes[4] = {0x00, 0x00, 0xff, 0xff};

int mdg_deflate_open(z_stream *z, uint8_t bits, int level, int mem_level)
{
    assert(bits >= 8 && bits <= 15);
    int window = bits == 8 ? 9 : bits;
    int rc = deflateInit2(z, level, Z_DEFLATED, -window, mem_level, Z_DEFAULT_STRATEGY);
    return rc == Z_OK ? 0 : MDG_E_NO_MEMORY;
}

void mdg_deflate_close(z_stream *z)
{
    (void)deflateEnd(z);
}

size_t mdg_deflate_bound(size_t len)
{
    /* Stored blocks at the smallest memory level hold at least 127 bytes each and cost five; the
     * flush adds up to eleven. */
    return len + len / 64 * 5 + 64;
}

/* zlib counts in unsigned int; messages are below 4 GiB, buffers may not be. */
static uInt clamp(size_t n)
{
    return n > UINT_MAX ? UINT_MAX : (uInt)n;
}

int64_t mdg_deflate_message(z_stream *z, struct mdg_slice in, bool fresh, uint8_t *out, size_t cap)
{
    if (in.len == 0) {
        /* 7.2.3.6: an empty block without its four last bytes. The window is untouched. */
        if (cap < 1)
            return MDG_E_NO_SPACE;
        out[0] = 0x00;
        return 1;
    }
    assert(in.len <= UINT_MAX);
    z->next_in = (z_const Bytef *)(uintptr_t)in.data;
    z->avail_in = (uInt)in.len;
    z->next_out = out;
    z->avail_out = clamp(cap);
    int rc = deflate(z, Z_SYNC_FLUSH);
    size_t made = (size_t)(z->next_out - out);
    bool whole = rc == Z_OK && z->avail_in == 0 && z->avail_out > 0;
    if (fresh)
        (void)deflateReset(z);
    if (!whole)
        return MDG_E_NO_SPACE;
    assert(made >= 5 && memcmp(out + made - 4, tail_bytes, 4) == 0);
    return (int64_t)made - 4;
}

int mdg_inflate_open(struct mdg_inflate *f, uint8_t bits, bool fresh)
{
    assert(bits >= 8 && bits <= 15);
    f->fresh = fresh;
    f->tail = 0;
    f->z.next_in = NULL;
    f->z.avail_in = 0;
    return inflateInit2(&f->z, -(int)bits) == Z_OK ? 0 : MDG_E_NO_MEMORY;
}

void mdg_inflate_close(struct mdg_inflate *f)
{
    (void)inflateEnd(&f->z);
}

/* Runs zlib over one run of input. 0: all used; 1: no room; negative: broken. */
static int run(struct mdg_inflate *f, const uint8_t **in, size_t *len, uint8_t **out, size_t *cap)
{
    z_stream *z = &f->z;
    for (;;) {
        uInt room = clamp(*cap), given = clamp(*len);
        z->next_in = (z_const Bytef *)(uintptr_t)*in;
        z->avail_in = given;
        z->next_out = *out;
        z->avail_out = room;
        int rc = inflate(z, Z_SYNC_FLUSH);
        *in += given - z->avail_in;
        *len -= given - z->avail_in;
        *out += room - z->avail_out;
        *cap -= room - z->avail_out;
        if (rc == Z_STREAM_END) {
            /* 7.2.3.4: a block with BFINAL may end a message, or stand inside one; the window
             * goes on. */
            if (inflateResetKeep(z) != Z_OK)
                return MDG_E_SYNTAX;
            if (*len == 0)
                return 0;
            continue;
        }
        if (rc == Z_MEM_ERROR)
            return MDG_E_NO_MEMORY;
        if (rc != Z_OK && rc != Z_BUF_ERROR)
            return MDG_E_SYNTAX;
        /* With room left zlib holds nothing back. */
        if (z->avail_out > 0 && *len == 0)
            return 0;
        if (*cap == 0)
            return 1;
    }
}

int mdg_inflate_piece(struct mdg_inflate *f, struct mdg_slice *piece, bool last, uint8_t *out,
                      size_t cap, size_t *produced)
{
    uint8_t *at = out;
    int rc = 0;
    if (cap == 0)
        return 1;
    if (f->tail == 0 && (piece->len > 0 || !last))
        rc = run(f, &piece->data, &piece->len, &at, &cap);
    if (rc == 0 && last) {
        const uint8_t *tail = tail_bytes + f->tail;
        size_t left = sizeof tail_bytes - f->tail;
        if (cap == 0)
            rc = 1;
        else
            rc = run(f, &tail, &left, &at, &cap);
        f->tail = (uint8_t)(sizeof tail_bytes - left);
    }
    *produced = (size_t)(at - out);
    if (rc != 0 || !last)
        return rc;
    f->tail = 0;
    /* Bit 7: between blocks, with no bits left. Else the message was cut off inside a block and
     * the four bytes became part of it. */
    if (!(f->z.data_type & 128) || (f->z.data_type & 63))
        return MDG_E_SYNTAX;
    if (f->fresh)
        (void)inflateReset(&f->z);
    return 0;
}
