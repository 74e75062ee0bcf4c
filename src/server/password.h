/* Users with passwords, for protocols that send a login and a passcode (STOMP). Only scrypt hashes
 * are kept (RFC 7914), in lines of the form
 *
 *     name:$scrypt$ln=12,r=8,p=1$SALT$HASH        (salt and hash in base64)
 *
 * A correct passcode is remembered as a keyed fingerprint, so that a thousand clients of one user
 * that reconnect cost one scrypt computation and not a thousand. Wrong ones always cost one. */
#ifndef MDG_PASSWORD_H
#define MDG_PASSWORD_H

#include "base/base.h"

enum {
    MDG_PASSWORD_BYTES_MAX = 1024, /* attack: work for the hash in proportion to the input */
    MDG_PASSWORD_HASH_MAX = 128,   /* room for one hash, ended with NUL */
    MDG_USERS_MAX = 100000,
};

struct mdg_users;

struct mdg_login {
    struct mdg_slice name, passcode;
    struct mdg_slice address; /* of the client, as text, without port */
    uint64_t now_ms;          /* monotonic */
};

/* A new salted hash, ended with NUL. MDG_E_TOO_BIG, MDG_E_UNSUPPORTED (the crypto library refuses),
 * MDG_E_NO_MEMORY. */
int mdg_password_hash(struct mdg_slice password, char out[MDG_PASSWORD_HASH_MAX]) MDG_NODISCARD;

int mdg_users_new(struct mdg_users **out) MDG_NODISCARD;
void mdg_users_free(struct mdg_users *u); /* NULL is allowed */
/* Before the table is shared. hash: as above, without the name. MDG_E_SYNTAX, MDG_E_EXISTS,
 * MDG_E_TOO_BIG (too many users), MDG_E_NO_MEMORY. */
int mdg_users_add(struct mdg_users *u, struct mdg_slice name, struct mdg_slice hash) MDG_NODISCARD;
/* Every line "name:hash" of a text; empty lines and those that begin with # are skipped. *line is
 * the number of the line that failed. */
int mdg_users_parse(struct mdg_users *u, struct mdg_slice text, unsigned *line) MDG_NODISCARD;
/* How often passcodes may be tried (server/tries.h, where 0 is no limit); before the table is
 * shared. At first there is no limit. MDG_E_NO_MEMORY. */
int mdg_users_limit(struct mdg_users *u, uint32_t per_address_per_minute,
                    uint32_t all_per_s) MDG_NODISCARD;
/* Any thread. Takes as long for an unknown name as for a wrong passcode, and no time where there
 * are no users, for a passcode that was right lately, or where there were too many tries. The first
 * argument is a struct mdg_users, so that this fits struct mdg_auth. MDG_E_DENIED, MDG_E_FULL: not
 * looked at, later. */
int mdg_users_check(void *users, const struct mdg_login *login) MDG_NODISCARD;

#endif
