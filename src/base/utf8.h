/* UTF-8 (RFC 3629) checked piece by piece: the state between two pieces is one byte, and a piece
 * fails as soon as it holds the first byte that no continuation could make right (RFC 6455 8.1
 * wants text refused there, not at the end of the message). */
#ifndef MDG_UTF8_H
#define MDG_UTF8_H

#include "base/base.h"

/* States are shifts into the rows of a table; only these two have a meaning outside utf8.c. */
enum { MDG_UTF8_START = 0, MDG_UTF8_BAD = 6 };

/* The state after these bytes: MDG_UTF8_START between characters, MDG_UTF8_BAD for good once a
 * byte was impossible, anything else inside a character. */
uint8_t mdg_utf8_step(uint8_t state, const uint8_t *data, size_t len);
/* The same, by the fast kernels: what callers use. */
uint8_t mdg_utf8_next(uint8_t state, const uint8_t *data, size_t len);
/* Whole text, complete at its end. */
bool mdg_utf8_valid(struct mdg_slice s);
/* Length of the longest prefix that is whole, valid characters. */
size_t mdg_utf8_prefix(struct mdg_slice s);

#endif
