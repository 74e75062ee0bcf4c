/* HMAC from OpenSSL; the JSON is read by the slicing validator, since only a few claims matter. */
#include "server/token.h"
#include "base/base64.h"
#include "base/json.h"
#include "base/utf8.h"
#include "base/writer.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAC_BYTES = 32, PAYLOAD_MAX = 1024, JSON_DEPTH = 8 };

static const char header_json[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";

static bool mac(const struct mdg_key *key, struct mdg_slice bytes, uint8_t out[MAC_BYTES])
{
    unsigned len = MAC_BYTES;
    return HMAC(EVP_sha256(), key->bytes, sizeof key->bytes, bytes.data, bytes.len, out, &len) &&
           len == MAC_BYTES;
}

static void write_payload(struct mdg_writer *w, const struct mdg_claims *claims)
{
    char owner[17];
    snprintf(owner, sizeof owner, "%016llx", (unsigned long long)claims->owner);
    mdg_write_str(w, "{\"sub\":");
    mdg_write_json_string(w, mdg_slice(claims->sub, claims->sub_len));
    if (claims->exp_unix_ms) {
        mdg_write_str(w, ",\"exp\":");
        mdg_write_dec(w, claims->exp_unix_ms / 1000);
    }
    if (claims->owner) {
        mdg_write_str(w, ",\"jti\":\"");
        mdg_write_str(w, owner);
        mdg_write_u8(w, '"');
    }
    if (claims->read_only)
        mdg_write_str(w, ",\"publish\":false");
    if (claims->admin)
        mdg_write_str(w, ",\"admin\":true");
    mdg_write_u8(w, '}');
}

int mdg_token_sign(const struct mdg_key *key, const struct mdg_claims *claims, char *out,
                   size_t size)
{
    char payload[PAYLOAD_MAX];
    uint8_t signature[MAC_BYTES];
    struct mdg_writer pw, w;
    mdg_writer_init(&pw, payload, sizeof payload);
    write_payload(&pw, claims);
    mdg_writer_init(&w, out, size);
    mdg_write_base64url(&w, mdg_slice(header_json, sizeof header_json - 1));
    mdg_write_u8(&w, '.');
    if (!mdg_writer_fits(&pw))
        return MDG_E_NO_SPACE;
    mdg_write_base64url(&w, mdg_slice(payload, pw.len));
    if (!mdg_writer_fits(&w))
        return MDG_E_NO_SPACE;
    if (!mac(key, mdg_slice(out, w.len), signature))
        return MDG_E_NO_MEMORY;
    mdg_write_u8(&w, '.');
    mdg_write_base64url(&w, mdg_slice(signature, sizeof signature));
    mdg_write_u8(&w, '\0');
    return mdg_writer_fits(&w) ? 0 : MDG_E_NO_SPACE;
}

/* A decoded part that must be a JSON object in UTF-8. */
static int decode_object(struct mdg_slice part, uint8_t *room, size_t size, struct mdg_slice *out)
{
    int64_t len = mdg_base64_decode(part, room, size);
    if (len < 0)
        return MDG_E_SYNTAX;
    struct mdg_slice text = mdg_slice(room, (size_t)len);
    if (!mdg_utf8_valid(text) || mdg_json_check(text, JSON_DEPTH, out) < 0 ||
        mdg_json_type(*out) != MDG_JSON_OBJECT)
        return MDG_E_SYNTAX;
    return 0;
}

/* Seconds since 1970, fractions cut off. Absent: 0. */
static int read_time(struct mdg_slice object, const char *key, uint64_t *out_ms)
{
    struct mdg_slice value;
    uint64_t seconds;
    *out_ms = 0;
    if (!mdg_json_find(object, mdg_slice_str(key), &value))
        return 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] == '.')
            value.len = i;
    }
    if (mdg_json_u64(value, &seconds) < 0 || seconds > UINT64_MAX / 2000)
        return MDG_E_SYNTAX;
    *out_ms = seconds ? seconds * 1000 : 1;
    return 0;
}

static uint64_t read_owner(struct mdg_slice object)
{
    struct mdg_slice value;
    char text[17] = "";
    bool escaped;
    if (!mdg_json_find(object, MDG_SLICE_LIT("jti"), &value))
        return 0;
    value = mdg_json_inside(value, &escaped);
    if (value.len != 16)
        return 0;
    memcpy(text, value.data, 16);
    return strtoull(text, NULL, 16);
}

static bool read_flag(struct mdg_slice object, const char *key, bool otherwise)
{
    struct mdg_slice value;
    bool flag = otherwise;
    if (mdg_json_find(object, mdg_slice_str(key), &value) && mdg_json_bool(value, &flag) < 0)
        flag = false; /* nonsense grants nothing */
    return flag;
}

static int read_claims(struct mdg_slice payload, struct mdg_claims *claims)
{
    struct mdg_slice sub;
    memset(claims, 0, sizeof *claims);
    if (!mdg_json_find(payload, MDG_SLICE_LIT("sub"), &sub))
        return MDG_E_SYNTAX;
    int64_t len = mdg_json_unescape(sub, (uint8_t *)claims->sub, MDG_TOKEN_SUB_MAX);
    if (len <= 0)
        return MDG_E_SYNTAX;
    claims->sub_len = (size_t)len;
    claims->owner = read_owner(payload);
    claims->read_only = !read_flag(payload, "publish", true);
    claims->admin = read_flag(payload, "admin", false);
    int err = read_time(payload, "exp", &claims->exp_unix_ms);
    return err < 0 ? err : read_time(payload, "nbf", &claims->nbf_unix_ms);
}

static int check_header(struct mdg_slice part)
{
    uint8_t room[256];
    struct mdg_slice object, alg;
    int err = decode_object(part, room, sizeof room, &object);
    if (err < 0)
        return err;
    if (!mdg_json_find(object, MDG_SLICE_LIT("alg"), &alg) ||
        !mdg_json_string_eq(alg, MDG_SLICE_LIT("HS256")))
        return MDG_E_DENIED;
    /* RFC 7515 4.1.11: an extension that must be understood, and is not. */
    return mdg_json_find(object, MDG_SLICE_LIT("crit"), &alg) ? MDG_E_DENIED : 0;
}

int mdg_token_verify(const struct mdg_key *key, struct mdg_slice token, uint64_t now_unix_ms,
                     struct mdg_claims *claims)
{
    uint8_t room[MDG_TOKEN_BYTES_MAX], signature[MAC_BYTES + 2], expected[MAC_BYTES];
    struct mdg_slice rest = token, payload;
    if (token.len > MDG_TOKEN_BYTES_MAX)
        return MDG_E_SYNTAX;
    struct mdg_slice header = mdg_slice_split(&rest, '.'), body = mdg_slice_split(&rest, '.');
    if (!rest.data || rest.len == 0)
        return MDG_E_SYNTAX;
    struct mdg_slice signed_part = mdg_slice(token.data, header.len + 1 + body.len);
    int err = check_header(header);
    if (err < 0)
        return err;
    if (mdg_base64_decode(rest, signature, sizeof signature) != MAC_BYTES)
        return MDG_E_SYNTAX;
    if (!mac(key, signed_part, expected) || CRYPTO_memcmp(signature, expected, MAC_BYTES) != 0)
        return MDG_E_DENIED;
    err = decode_object(body, room, sizeof room, &payload);
    if (err == 0)
        err = read_claims(payload, claims);
    if (err == 0 && ((claims->exp_unix_ms && now_unix_ms >= claims->exp_unix_ms) ||
                     now_unix_ms < claims->nbf_unix_ms))
        err = MDG_E_EXPIRED;
    return err;
}
