/* Signed tokens: JSON Web Tokens with HS256 (RFC 7519, RFC 7515), and nothing else: "alg":"none" or
 * another algorithm is refused. The session cookie is such a token too, with a key of its own. */
#ifndef MDG_TOKEN_H
#define MDG_TOKEN_H

#include "base/base.h"
#include "server/keys.h"

enum {
    MDG_TOKEN_BYTES_MAX = 4096, /* attack: a megabyte of token to hash on each request */
    MDG_TOKEN_SUB_MAX = 96,     /* bytes of the name */
};

struct mdg_claims {
    char sub[MDG_TOKEN_SUB_MAX + 1];
    size_t sub_len;
    uint64_t exp_unix_ms; /* 0: never */
    uint64_t nbf_unix_ms; /* 0: at once */
    uint64_t owner;       /* "jti" as 16 hex digits: who holds the name; 0: none */
    bool read_only;       /* "publish": false */
    bool admin;           /* "admin": true */
};

/* Writes the token into out (ended with NUL). MDG_E_NO_SPACE. */
int mdg_token_sign(const struct mdg_key *key, const struct mdg_claims *claims, char *out,
                   size_t size) MDG_NODISCARD;
/* MDG_E_SYNTAX (not such a token), MDG_E_DENIED (wrong signature), MDG_E_EXPIRED (or not yet
 * valid).
 */
int mdg_token_verify(const struct mdg_key *key, struct mdg_slice token, uint64_t now_unix_ms,
                     struct mdg_claims *claims) MDG_NODISCARD;

#endif
