/* The one seam of identity: whatever a client shows (session cookie, signed token, login and
 * passcode, a chosen name, nothing), here it becomes a principal or is refused. */
#ifndef MDG_AUTH_H
#define MDG_AUTH_H

#include "base/base.h"
#include "hub/principal.h"
#include "server/keys.h"
#include "server/names.h"
#include "transport/handshake.h"

struct mdg_login;
struct mdg_params;

#define MDG_COOKIE_NAME "madang"

enum { MDG_COOKIE_TEXT_MAX = 1024 };

/* Shared by all workers; immutable but for `names`, which has a lock of its own. */
struct mdg_auth {
    struct mdg_key cookie_key, token_key;
    struct mdg_names *names;
    struct mdg_principal_home home; /* of those whose names are there */
    uint64_t session_ttl_ms;
    bool guests; /* clients that show nothing are let in */
    /* Checks a login and passcode (STOMP, lines); NULL: there are no users. MDG_E_DENIED,
     * MDG_E_FULL: too many tries, later. */
    int (*check_password)(void *users, const struct mdg_login *login);
    void *users;
    /* A name went to somebody who proved that it is his: who only chose it must go. From any
     * worker's thread. NULL: nobody is told. */
    void (*on_oust)(void *arg, struct mdg_slice name, uint64_t owner);
    void *on_oust_arg;
};

/* Loads or makes the keys. why: a sentence on error. */
int mdg_auth_init(struct mdg_auth *a, const struct mdg_params *params, const char *state_dir,
                  char *why, size_t why_size) MDG_NODISCARD;
void mdg_auth_fini(struct mdg_auth *a);

/* Who this is. With nothing shown: a guest under a new name of the form guest-7f3a09. One
 * reference. MDG_E_DENIED (wrong token or password, guests not wanted), MDG_E_EXPIRED, MDG_E_EXISTS
 * (the name has gone to somebody else meanwhile), MDG_E_FULL (too many passcodes were tried, this
 * one was not looked at), MDG_E_NO_MEMORY. */
int mdg_auth_handshake(struct mdg_auth *a, const struct mdg_handshake *hs,
                       struct mdg_principal **out) MDG_NODISCARD;
/* A guest who chooses a name (`/nick ann`). MDG_E_SYNTAX, MDG_E_TOO_BIG, MDG_E_EXISTS. */
int mdg_auth_guest(struct mdg_auth *a, struct mdg_slice name,
                   struct mdg_principal **out) MDG_NODISCARD;
/* A token alone (refresh of a live connection). Errors as mdg_auth_handshake. */
int mdg_auth_token(struct mdg_auth *a, struct mdg_slice token, uint64_t now_unix_ms,
                   struct mdg_principal **out) MDG_NODISCARD;

/* Signs a name in: the value of the cookie, ended with NUL. `current` is the cookie that came with
 * the request (may be empty): its owner may take his own name again. MDG_E_SYNTAX, MDG_E_TOO_BIG
 * (name), MDG_E_EXISTS (taken). */
int mdg_auth_sign_in(struct mdg_auth *a, struct mdg_slice name, struct mdg_slice current,
                     uint64_t now_unix_ms, char cookie[MDG_COOKIE_TEXT_MAX]) MDG_NODISCARD;
/* Gives the name of this cookie back. */
void mdg_auth_sign_out(struct mdg_auth *a, struct mdg_slice cookie, uint64_t now_unix_ms);
/* The name in a valid cookie, without taking it. Errors as mdg_token_verify. */
struct mdg_claims;
int mdg_auth_cookie(const struct mdg_auth *a, struct mdg_slice cookie, uint64_t now_unix_ms,
                    struct mdg_claims *out) MDG_NODISCARD;
/* The value of our cookie in a request, or data NULL. */
struct mdg_slice mdg_auth_cookie_of(const struct mdg_handshake *hs);

#endif
