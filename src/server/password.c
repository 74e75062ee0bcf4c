/* scrypt through OpenSSL; a table of users; fingerprints of what was right before. */
#include "server/password.h"
#include "base/base64.h"
#include "base/map.h"
#include "server/tries.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SALT_BYTES = 16,
    HASH_BYTES = 32,
    LOG_N = 12, /* 4 MiB and some ten milliseconds: logins are checked on the worker's own thread */
    LOG_N_MIN = 10,
    LOG_N_MAX = 16,
    R = 8,
    P = 1,
    MEMORY_MAX = 128 << 20,
    FINGERPRINTS = 256, /* the latest correct logins; older ones are computed again */
};

struct user {
    unsigned log_n;
    uint8_t salt[SALT_BYTES], hash[HASH_BYTES];
    size_t name_len;
    uint8_t name[];
};

struct mdg_users {
    struct mdg_map map;
    struct mdg_tries *tries; /* NULL: as many as come */
    pthread_mutex_t lock;    /* of the fingerprints */
    uint8_t key[HASH_BYTES];
    uint8_t fingerprints[FINGERPRINTS][HASH_BYTES];
    bool used[FINGERPRINTS];
};

static int scrypt(struct mdg_slice password, const uint8_t salt[SALT_BYTES], unsigned log_n,
                  uint8_t out[HASH_BYTES])
{
    if (password.len > MDG_PASSWORD_BYTES_MAX)
        return MDG_E_TOO_BIG;
    int ok = EVP_PBE_scrypt(password.len ? (const char *)password.data : "", password.len, salt,
                            SALT_BYTES, (uint64_t)1 << log_n, R, P, MEMORY_MAX, out, HASH_BYTES);
    return ok == 1 ? 0 : MDG_E_UNSUPPORTED;
}

int mdg_password_hash(struct mdg_slice password, char out[MDG_PASSWORD_HASH_MAX])
{
    uint8_t salt[SALT_BYTES], hash[HASH_BYTES];
    uint8_t salt_text[64], hash_text[64];
    struct mdg_writer w;
    if (RAND_bytes(salt, sizeof salt) != 1)
        return MDG_E_UNSUPPORTED;
    int err = scrypt(password, salt, LOG_N, hash);
    if (err < 0)
        return err;
    mdg_writer_init(&w, salt_text, sizeof salt_text);
    mdg_write_base64(&w, mdg_slice(salt, sizeof salt));
    size_t salt_len = w.len;
    mdg_writer_init(&w, hash_text, sizeof hash_text);
    mdg_write_base64(&w, mdg_slice(hash, sizeof hash));
    int n = snprintf(out, MDG_PASSWORD_HASH_MAX, "$scrypt$ln=%d,r=%d,p=%d$%.*s$%.*s", LOG_N, R, P,
                     (int)salt_len, (const char *)salt_text, (int)w.len, (const char *)hash_text);
    return n > 0 && n < MDG_PASSWORD_HASH_MAX ? 0 : MDG_E_NO_SPACE;
}

static int parse_cost(struct mdg_slice s, unsigned *log_n)
{
    struct mdg_slice ln = mdg_slice_split(&s, ',');
    uint64_t n;
    if (!mdg_slice_starts(ln, MDG_SLICE_LIT("ln=")) ||
        mdg_slice_u64(mdg_slice(ln.data + 3, ln.len - 3), &n) < 0 || n < LOG_N_MIN ||
        n > LOG_N_MAX || !mdg_slice_eq(s, MDG_SLICE_LIT("r=8,p=1")))
        return MDG_E_SYNTAX;
    *log_n = (unsigned)n;
    return 0;
}

static int parse_bytes(struct mdg_slice text, uint8_t *out, size_t len)
{
    uint8_t room[64];
    int64_t n = mdg_base64_decode(text, room, sizeof room);
    if (n < 0 || (size_t)n != len)
        return MDG_E_SYNTAX;
    memcpy(out, room, len);
    return 0;
}

static int parse_hash(struct mdg_slice hash, struct user *u)
{
    struct mdg_slice nothing = mdg_slice_split(&hash, '$');
    struct mdg_slice kind = mdg_slice_split(&hash, '$');
    struct mdg_slice cost = mdg_slice_split(&hash, '$');
    struct mdg_slice salt = mdg_slice_split(&hash, '$');
    if (nothing.len || !mdg_slice_eq(kind, MDG_SLICE_LIT("scrypt")) ||
        parse_cost(cost, &u->log_n) < 0 || parse_bytes(salt, u->salt, SALT_BYTES) < 0)
        return MDG_E_SYNTAX;
    return parse_bytes(hash, u->hash, HASH_BYTES);
}

int mdg_users_new(struct mdg_users **out)
{
    uint64_t seed[2];
    struct mdg_users *u = calloc(1, sizeof *u);
    if (!u)
        return MDG_E_NO_MEMORY;
    if (RAND_bytes((unsigned char *)seed, sizeof seed) != 1 ||
        RAND_bytes(u->key, sizeof u->key) != 1 || pthread_mutex_init(&u->lock, NULL) != 0) {
        free(u);
        return MDG_E_UNSUPPORTED;
    }
    mdg_map_init(&u->map, seed);
    *out = u;
    return 0;
}

void mdg_users_free(struct mdg_users *u)
{
    if (!u)
        return;
    size_t at = 0;
    for (struct user *one; (one = mdg_map_next(&u->map, &at)) != NULL;)
        free(one);
    mdg_map_fini(&u->map);
    mdg_tries_free(u->tries);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

int mdg_users_add(struct mdg_users *u, struct mdg_slice name, struct mdg_slice hash)
{
    if (u->map.len >= MDG_USERS_MAX)
        return MDG_E_TOO_BIG;
    struct user *one = calloc(1, sizeof *one + name.len);
    if (!one)
        return MDG_E_NO_MEMORY;
    one->name_len = name.len;
    if (name.len)
        memcpy(one->name, name.data, name.len);
    int err = name.len ? parse_hash(hash, one) : MDG_E_SYNTAX;
    if (err == 0)
        err = mdg_map_put(&u->map, mdg_slice(one->name, one->name_len), one);
    if (err < 0)
        free(one);
    return err;
}

int mdg_users_parse(struct mdg_users *u, struct mdg_slice text, unsigned *line)
{
    *line = 0;
    while (text.data) {
        struct mdg_slice one = mdg_slice_trim(mdg_slice_split(&text, '\n'));
        ++*line;
        if (one.len && one.data[one.len - 1] == '\r')
            one.len--;
        if (one.len == 0 || one.data[0] == '#')
            continue;
        struct mdg_slice name = mdg_slice_split(&one, ':');
        int err = one.data ? mdg_users_add(u, name, one) : MDG_E_SYNTAX;
        if (err < 0)
            return err;
    }
    return 0;
}

int mdg_users_limit(struct mdg_users *u, uint32_t per_address_per_minute, uint32_t all_per_s)
{
    uint64_t seed[2];
    assert(!u->tries);
    memcpy(seed, u->key, sizeof seed);
    return mdg_tries_new(per_address_per_minute, all_per_s, seed, &u->tries);
}

/* Where the fingerprint would be remembered; `print` itself is written. */
static size_t fingerprint(struct mdg_users *u, const struct user *one, struct mdg_slice passcode,
                          uint8_t print[HASH_BYTES])
{
    uint8_t text[HASH_BYTES + MDG_PASSWORD_BYTES_MAX];
    unsigned len = HASH_BYTES;
    memcpy(text, one->hash, HASH_BYTES); /* stands for the user: salted, hence his alone */
    if (passcode.len)
        memcpy(text + HASH_BYTES, passcode.data, passcode.len);
    HMAC(EVP_sha256(), u->key, HASH_BYTES, text, HASH_BYTES + passcode.len, print, &len);
    OPENSSL_cleanse(text, sizeof text);
    return print[0] % FINGERPRINTS;
}

static bool is_known(struct mdg_users *u, size_t at, const uint8_t print[HASH_BYTES])
{
    pthread_mutex_lock(&u->lock);
    bool known = u->used[at] && CRYPTO_memcmp(u->fingerprints[at], print, HASH_BYTES) == 0;
    pthread_mutex_unlock(&u->lock);
    return known;
}

static void remember(struct mdg_users *u, size_t at, const uint8_t print[HASH_BYTES])
{
    pthread_mutex_lock(&u->lock);
    u->used[at] = true;
    memcpy(u->fingerprints[at], print, HASH_BYTES);
    pthread_mutex_unlock(&u->lock);
}

/* The costly way. */
static bool is_right(const struct user *one, struct mdg_slice passcode)
{
    static const struct user nobody = {.log_n = LOG_N};
    const struct user *against = one ? one : &nobody;
    uint8_t hash[HASH_BYTES];
    if (scrypt(passcode, against->salt, against->log_n, hash) < 0)
        return false;
    return CRYPTO_memcmp(hash, against->hash, HASH_BYTES) == 0 && one;
}

int mdg_users_check(void *users, const struct mdg_login *login)
{
    struct mdg_users *u = users;
    const struct user *one = mdg_map_get(&u->map, login->name);
    uint8_t print[HASH_BYTES];
    size_t at = 0;
    /* Without users there is nobody whose absence could show. */
    if (login->passcode.len > MDG_PASSWORD_BYTES_MAX || u->map.len == 0)
        return MDG_E_DENIED;
    if (one) {
        at = fingerprint(u, one, login->passcode, print);
        if (is_known(u, at, print))
            return 0;
    }
    if (u->tries && !mdg_tries_take(u->tries, login->address, login->now_ms))
        return MDG_E_FULL;
    if (!is_right(one, login->passcode))
        return MDG_E_DENIED;
    if (u->tries)
        mdg_tries_give_back(u->tries, login->address, login->now_ms);
    remember(u, at, print);
    return 0;
}
