/* Order of what counts: a token that was shown deliberately, then login and passcode, then the
 * cookie that a browser sends by itself, then nothing. A wrong token or passcode is refused; it
 * never falls through to something weaker. */
#include "server/auth.h"
#include "base/map.h"
#include "server/params.h"
#include "server/password.h"
#include "server/token.h"
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t random_u64(void)
{
    uint64_t value = 0;
    if (RAND_bytes((unsigned char *)&value, sizeof value) != 1)
        value = monotonic_ms(); /* only names guests; no secret depends on it */
    return value ? value : 1;
}

static int load_token_key(struct mdg_auth *a, const struct mdg_params *params,
                          const char *state_dir, char *why, size_t why_size)
{
    char dir[4096];
    const char *file = params->token_key_file, *slash = strrchr(file, '/');
    if (!*file)
        return mdg_key_load(state_dir, "token.key", &a->token_key, why, why_size);
    int n = snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - file) : 1, slash ? file : ".");
    if (n < 0 || (size_t)n >= sizeof dir)
        return MDG_E_TOO_BIG;
    return mdg_key_load(dir, slash ? slash + 1 : file, &a->token_key, why, why_size);
}

static void principal_gone(struct mdg_principal_home *home, struct mdg_principal *p)
{
    struct mdg_auth *a = MDG_CONTAINER_OF(home, struct mdg_auth, home);
    mdg_names_give_back(a->names, p, monotonic_ms());
}

int mdg_auth_init(struct mdg_auth *a, const struct mdg_params *params, const char *state_dir,
                  char *why, size_t why_size)
{
    uint64_t seed[2] = {random_u64(), random_u64()};
    *a = (struct mdg_auth){.home = {principal_gone},
                           .session_ttl_ms = params->session_ttl_s * 1000,
                           .guests = params->guests};
    int err = mdg_key_load(state_dir, "cookie.key", &a->cookie_key, why, why_size);
    if (err == 0)
        err = load_token_key(a, params, state_dir, why, why_size);
    if (err < 0)
        return err;
    err = mdg_names_new(seed, &a->names);
    if (err < 0)
        snprintf(why, why_size, "the table of names: %s", mdg_strerror(err));
    return err;
}

void mdg_auth_fini(struct mdg_auth *a)
{
    mdg_names_free(a->names);
    memset(a, 0, sizeof *a);
}

static int take_name(struct mdg_auth *a, struct mdg_name_claim claim, struct mdg_principal **out)
{
    uint64_t ousted;
    claim.home = &a->home;
    int err = mdg_names_take(a->names, &claim, monotonic_ms(), out, &ousted);
    if (err == 0 && ousted && a->on_oust)
        a->on_oust(a->on_oust_arg, claim.name, ousted);
    return err;
}

int mdg_auth_guest(struct mdg_auth *a, struct mdg_slice name, struct mdg_principal **out)
{
    int err = mdg_name_check(name);
    const struct mdg_name_claim claim = {
        .name = name,
        .owner = random_u64(),
        .guest = true,
        .rights = MDG_RIGHTS_USER,
    };
    return err < 0 ? err : take_name(a, claim, out);
}

static int new_guest(struct mdg_auth *a, struct mdg_principal **out)
{
    int err = MDG_E_EXISTS;
    if (!a->guests)
        return MDG_E_DENIED;
    for (int tries = 0; err == MDG_E_EXISTS && tries < 8; tries++) {
        char name[24];
        int n = snprintf(name, sizeof name, "guest-%06llx",
                         (unsigned long long)(random_u64() & 0xffffff));
        err = mdg_auth_guest(a, mdg_slice(name, (size_t)n), out);
    }
    return err;
}

/* claim: the owner, and whether he proved it. */
static int from_claims(struct mdg_auth *a, const struct mdg_claims *claims,
                       struct mdg_name_claim claim, struct mdg_principal **out)
{
    claim.name = mdg_slice(claims->sub, claims->sub_len);
    claim.rights = MDG_RIGHT_SUBSCRIBE;
    claim.expires_unix_ms = claims->exp_unix_ms;
    if (mdg_name_check(claim.name) < 0)
        return MDG_E_DENIED;
    if (!claims->read_only)
        claim.rights |= MDG_RIGHT_PUBLISH;
    if (claims->admin)
        claim.rights |= MDG_RIGHT_ADMIN;
    return take_name(a, claim, out);
}

/* Owned by the name itself: the same user on all his devices, whichever token each of them has
 * (their `jti` differ) or whether he gave his passcode. */
static struct mdg_name_claim proven(const struct mdg_claims *claims)
{
    static const uint64_t fixed[2] = {0x6d6164616e67u, 0x746f6b656eu};
    return (struct mdg_name_claim){
        .owner = mdg_siphash(fixed, mdg_slice(claims->sub, claims->sub_len)),
        .proven = true,
    };
}

int mdg_auth_token(struct mdg_auth *a, struct mdg_slice token, uint64_t now_unix_ms,
                   struct mdg_principal **out)
{
    struct mdg_claims claims;
    int err = mdg_token_verify(&a->token_key, token, now_unix_ms, &claims);
    if (err == MDG_E_SYNTAX)
        return MDG_E_DENIED;
    return err < 0 ? err : from_claims(a, &claims, proven(&claims), out);
}

int mdg_auth_cookie(const struct mdg_auth *a, struct mdg_slice cookie, uint64_t now_unix_ms,
                    struct mdg_claims *out)
{
    return mdg_token_verify(&a->cookie_key, cookie, now_unix_ms, out);
}

/* A parameter of the query; tokens need no percent-decoding. */
static struct mdg_slice query_param(struct mdg_slice query, const char *name)
{
    while (query.data) {
        struct mdg_slice value = mdg_slice_split(&query, '&');
        struct mdg_slice key = mdg_slice_split(&value, '=');
        if (value.data && mdg_slice_eq(key, mdg_slice_str(name)))
            return value;
    }
    return mdg_slice(NULL, 0);
}

/* A browser's WebSocket cannot send an Authorization header: hence the query. */
static struct mdg_slice token_of(const struct mdg_handshake *hs)
{
    static const char bearer[] = "bearer ";
    struct mdg_slice header = mdg_handshake_header(hs, "authorization");
    struct mdg_slice prefix = mdg_slice(header.data, sizeof bearer - 1);
    if (hs->token.len)
        return hs->token;
    if (header.len > prefix.len &&
        mdg_slice_eq_nocase(prefix, mdg_slice(bearer, sizeof bearer - 1)))
        return mdg_slice_trim(mdg_slice(header.data + prefix.len, header.len - prefix.len));
    return query_param(hs->query, "token");
}

struct mdg_slice mdg_auth_cookie_of(const struct mdg_handshake *hs)
{
    static const char name[] = MDG_COOKIE_NAME;
    for (size_t i = 0; i < hs->header_count; i++) {
        if (!mdg_slice_eq_nocase(hs->headers[i].name, MDG_SLICE_LIT("cookie")))
            continue;
        struct mdg_slice rest = hs->headers[i].value;
        while (rest.data) {
            struct mdg_slice value = mdg_slice_trim(mdg_slice_split(&rest, ';'));
            struct mdg_slice key = mdg_slice_split(&value, '=');
            if (value.data && mdg_slice_eq(key, mdg_slice(name, sizeof name - 1)))
                return value;
        }
    }
    return mdg_slice(NULL, 0);
}

static int from_password(struct mdg_auth *a, const struct mdg_handshake *hs,
                         struct mdg_principal **out)
{
    struct mdg_claims claims = {0};
    struct mdg_login login = {hs->login, hs->passcode, hs->address, monotonic_ms()};
    if (!a->check_password || hs->login.len > MDG_TOKEN_SUB_MAX)
        return MDG_E_DENIED;
    int err = a->check_password(a->users, &login);
    if (err < 0)
        return err;
    memcpy(claims.sub, hs->login.data, hs->login.len);
    claims.sub_len = hs->login.len;
    return from_claims(a, &claims, proven(&claims), out);
}

int mdg_auth_handshake(struct mdg_auth *a, const struct mdg_handshake *hs,
                       struct mdg_principal **out)
{
    struct mdg_claims claims;
    struct mdg_slice token = token_of(hs), cookie = mdg_auth_cookie_of(hs);
    if (token.data)
        return mdg_auth_token(a, token, hs->unix_ms, out);
    if (hs->login.len)
        return from_password(a, hs, out);
    if (cookie.data) {
        int err = mdg_auth_cookie(a, cookie, hs->unix_ms, &claims);
        if (err == 0)
            return from_claims(a, &claims, (struct mdg_name_claim){.owner = claims.owner}, out);
        /* A cookie of another server on this host, or one that ran out, signs nobody in. */
    }
    return new_guest(a, out);
}

int mdg_auth_sign_in(struct mdg_auth *a, struct mdg_slice name, struct mdg_slice current,
                     uint64_t now_unix_ms, char cookie[MDG_COOKIE_TEXT_MAX])
{
    struct mdg_claims claims = {0}, before;
    int err = mdg_name_check(name);
    if (err < 0)
        return err;
    if (current.data && mdg_auth_cookie(a, current, now_unix_ms, &before) == 0)
        claims.owner = before.owner;
    if (!claims.owner)
        claims.owner = random_u64();
    memcpy(claims.sub, name.data, name.len);
    claims.sub_len = name.len;
    claims.exp_unix_ms = now_unix_ms + a->session_ttl_ms;
    /* Held, not taken: the connection that is about to come will take it. */
    err = mdg_names_hold(a->names, name, claims.owner, monotonic_ms());
    if (err < 0)
        return err;
    return mdg_token_sign(&a->cookie_key, &claims, cookie, MDG_COOKIE_TEXT_MAX);
}

void mdg_auth_sign_out(struct mdg_auth *a, struct mdg_slice cookie, uint64_t now_unix_ms)
{
    struct mdg_claims claims;
    if (mdg_auth_cookie(a, cookie, now_unix_ms, &claims) < 0)
        return;
    struct mdg_slice name = mdg_slice(claims.sub, claims.sub_len);
    mdg_names_let_go(a->names, name, claims.owner);
}
