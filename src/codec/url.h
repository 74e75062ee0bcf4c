/* What is inside a request target and a Cookie header: percent encoding, paths, query strings and
 * form bodies, cookies. All of it works on borrowed bytes and into the caller's memory. */
#ifndef MDG_CODEC_URL_H
#define MDG_CODEC_URL_H

#include "base/base.h"
#include "base/writer.h"

/* Percent-decodes (RFC 3986 2.1) into out; plus: '+' means a space (forms). out may be in.data.
 * The length, MDG_E_SYNTAX for a '%' without two hexadecimal digits, MDG_E_NO_SPACE. */
int64_t mdg_url_decode(struct mdg_slice in, bool plus, uint8_t *out, size_t cap) MDG_NODISCARD;
/* Decodes a path and removes "." and ".." and empty segments, so that what comes out names
 * something below the root whatever came in. The length (>= 1: it begins with '/');
 * MDG_E_SYNTAX also for NUL, controls and backslash; MDG_E_DENIED when ".." would leave the
 * root; MDG_E_NO_SPACE. */
int64_t mdg_url_path(struct mdg_slice in, uint8_t *out, size_t cap) MDG_NODISCARD;
/* Everything but unreserved characters (RFC 3986 2.3) as %XX. */
void mdg_url_write_encoded(struct mdg_writer *w, struct mdg_slice s);

/* Next name=value of a query or an urlencoded form, still encoded. False at the end. */
bool mdg_url_query_next(struct mdg_slice *rest, struct mdg_slice *name, struct mdg_slice *value);
/* The first value of this (plain ASCII) name, decoded with '+' as space: its length;
 * MDG_E_NOT_FOUND, MDG_E_SYNTAX, MDG_E_NO_SPACE. */
int64_t mdg_url_query_get(struct mdg_slice query, struct mdg_slice name, uint8_t *out,
                          size_t cap) MDG_NODISCARD;

/* Next name=value of a Cookie header (RFC 6265 4.2.1), quotes around a value removed; pieces
 * without '=' are skipped. False at the end. */
bool mdg_cookie_next(struct mdg_slice *rest, struct mdg_slice *name, struct mdg_slice *value);
/* The first cookie of this name; data NULL when there is none. Names are case-sensitive. */
struct mdg_slice mdg_cookie_find(struct mdg_slice header, struct mdg_slice name);

#endif
