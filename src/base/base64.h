/* Base64 (RFC 4648 4) and base64url (RFC 4648 5). */
#ifndef MDG_BASE64_H
#define MDG_BASE64_H

#include "base/base.h"
#include "base/writer.h"

static inline size_t mdg_base64_encoded_len(size_t bytes)
{
    return (bytes + 2) / 3 * 4;
}

/* With padding. */
void mdg_write_base64(struct mdg_writer *w, struct mdg_slice bytes);
/* The URL alphabet, without padding. */
void mdg_write_base64url(struct mdg_writer *w, struct mdg_slice bytes);
/* Either alphabet; padding may be left away but must be right when it is there; the bits behind
 * the last byte must be zero, so that bytes have one spelling. Returns the number of bytes, at
 * most in.len / 4 * 3 + 2. out may be in.data (in place). MDG_E_SYNTAX, MDG_E_NO_SPACE. */
int64_t mdg_base64_decode(struct mdg_slice in, uint8_t *out, size_t cap) MDG_NODISCARD;

#endif
