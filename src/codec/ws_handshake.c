/* Both sides' checks. Negotiation of the extension is in ws_extension.c. */
#include "codec/ws_handshake.h"
#include "base/base64.h"
#include "base/sha1.h"
#include "codec/ws_extension.h"

/* Is `wanted` (lower case) an element of the comma-separated list? */
static bool list_has(struct mdg_slice list, const char *wanted)
{
    while (list.data) {
        struct mdg_slice item = mdg_slice_trim(mdg_slice_split(&list, ','));
        if (mdg_slice_eq_nocase(item, mdg_slice_str(wanted)))
            return true;
    }
    return false;
}

static bool is(struct mdg_slice name, const char *wanted)
{
    return mdg_slice_eq_nocase(name, mdg_slice_str(wanted));
}

void mdg_ws_request_init(struct mdg_ws_request *r, const struct mdg_ws_offer_config *config,
                         struct mdg_slice method, unsigned http_minor)
{
    assert(config->protocol_count <= MDG_WS_PROTOCOLS_MAX);
    *r = (struct mdg_ws_request){.config = config};
    r->is_get = mdg_slice_eq(method, MDG_SLICE_LIT("GET"));
    r->is_http11 = http_minor >= 1;
}

static void keep_field(struct mdg_slice fields[MDG_WS_FIELDS_MAX], uint8_t *n, struct mdg_slice v)
{
    if (*n < MDG_WS_FIELDS_MAX)
        fields[*n] = v;
    if (*n < UINT8_MAX)
        (*n)++;
}

void mdg_ws_request_header(struct mdg_ws_request *r, struct mdg_slice name, struct mdg_slice value)
{
    if (name.len < 7)
        return;
    value = mdg_slice_trim(value);
    if (is(name, "upgrade")) {
        r->upgrade_seen = true;
        r->upgrade |= list_has(value, "websocket");
    } else if (is(name, "connection")) {
        r->connection |= list_has(value, "upgrade");
    } else if (is(name, "sec-websocket-key")) {
        r->key = value;
        r->key_fields = (uint8_t)(r->key_fields < 2 ? r->key_fields + 1 : 2);
    } else if (is(name, "sec-websocket-version")) {
        r->version = value;
        r->version_fields = (uint8_t)(r->version_fields < 2 ? r->version_fields + 1 : 2);
    } else if (is(name, "sec-websocket-protocol")) {
        keep_field(r->protocols, &r->protocol_fields, value);
    } else if (is(name, "sec-websocket-extensions")) {
        keep_field(r->extensions, &r->extension_fields, value);
    }
}

/* 16 bytes in base64: 22 digits and two signs of padding (RFC 6455 4.2.1 item 5). */
static bool key_valid(struct mdg_slice key)
{
    if (key.len != MDG_WS_KEY_LEN || key.data[22] != '=' || key.data[23] != '=')
        return false;
    for (size_t i = 0; i < 22; i++) {
        uint8_t c = key.data[i];
        bool digit = (c >= '0' && c <= '9') ||
                     (mdg_ascii_lower(c) >= 'a' && mdg_ascii_lower(c) <= 'z') || c == '+' ||
                     c == '/';
        if (!digit)
            return false;
    }
    return true;
}

/* Elements are tokens, and unique (RFC 6455 4.1 item 10). Marks those that the server knows. */
static bool read_protocols(struct mdg_ws_request *r, struct mdg_slice list, struct mdg_slice *seen,
                           size_t *seen_count)
{
    const struct mdg_ws_offer_config *c = r->config;
    if (list.len == 0)
        return false;
    while (list.data) {
        struct mdg_slice item = mdg_slice_trim(mdg_slice_split(&list, ','));
        if (!mdg_ws_is_token(item))
            return false;
        for (size_t i = 0; i < *seen_count; i++) {
            if (mdg_slice_eq(seen[i], item))
                return false;
        }
        if (*seen_count < MDG_WS_PROTOCOLS_MAX)
            seen[(*seen_count)++] = item;
        for (size_t i = 0; i < c->protocol_count; i++) {
            if (mdg_slice_eq(c->protocols[i], item))
                r->offered |= 1u << i;
        }
    }
    return true;
}

static bool choose_protocol(struct mdg_ws_request *r)
{
    struct mdg_slice seen[MDG_WS_PROTOCOLS_MAX];
    size_t seen_count = 0;
    if (r->protocol_fields > MDG_WS_FIELDS_MAX)
        return false;
    for (size_t i = 0; i < r->protocol_fields; i++) {
        if (!read_protocols(r, r->protocols[i], seen, &seen_count))
            return false;
    }
    for (size_t i = 0; i < r->config->protocol_count; i++) {
        if (r->offered & 1u << i) {
            r->protocol = r->config->protocols[i];
            break;
        }
    }
    return true;
}

static bool choose_extension(struct mdg_ws_request *r)
{
    if (r->extension_fields > MDG_WS_FIELDS_MAX)
        return false;
    for (size_t i = 0; i < r->extension_fields; i++) {
        if (mdg_ws_deflate_choose(r->extensions[i], &r->config->deflate, &r->deflate) < 0)
            return false;
    }
    return true;
}

static unsigned refuse(struct mdg_ws_request *r, unsigned status, const char *problem)
{
    r->problem = problem;
    return status;
}

unsigned mdg_ws_request_check(struct mdg_ws_request *r)
{
    if (!r->is_get)
        return refuse(r, 405, "A WebSocket handshake is a GET request.");
    if (!r->upgrade_seen && r->key_fields == 0)
        return refuse(r, 426, "This address speaks WebSocket.");
    if (!r->is_http11)
        return refuse(r, 400, "A WebSocket handshake needs HTTP/1.1.");
    if (!r->upgrade)
        return refuse(r, 400, "The Upgrade header must name websocket.");
    if (!r->connection)
        return refuse(r, 400, "The Connection header must name Upgrade.");
    if (r->version_fields != 1)
        return refuse(r, 400, "One Sec-WebSocket-Version header is needed.");
    if (!mdg_slice_eq(r->version, MDG_SLICE_LIT("13")))
        return refuse(r, 426, "Only version 13 of WebSocket is spoken here.");
    if (r->key_fields != 1 || !key_valid(r->key))
        return refuse(r, 400, "One Sec-WebSocket-Key of 16 bytes in base64 is needed.");
    if (!choose_protocol(r))
        return refuse(r, 400, "Sec-WebSocket-Protocol is not a list of different tokens.");
    if (!choose_extension(r))
        return refuse(r, 400, "Sec-WebSocket-Extensions is malformed.");
    return 101;
}

void mdg_ws_accept_key(uint8_t out[MDG_WS_ACCEPT_LEN], struct mdg_slice key)
{
    uint8_t both[MDG_WS_KEY_LEN + 36], digest[MDG_SHA1_LEN];
    assert(key.len == MDG_WS_KEY_LEN);
    memcpy(both, key.data, MDG_WS_KEY_LEN);
    memcpy(both + MDG_WS_KEY_LEN, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    mdg_sha1(digest, mdg_slice(both, sizeof both));
    struct mdg_writer w;
    mdg_writer_init(&w, out, MDG_WS_ACCEPT_LEN);
    mdg_write_base64(&w, mdg_slice(digest, sizeof digest));
    assert(w.len == MDG_WS_ACCEPT_LEN);
}

void mdg_ws_client_key(uint8_t out[MDG_WS_KEY_LEN], const uint8_t random[16])
{
    struct mdg_writer w;
    mdg_writer_init(&w, out, MDG_WS_KEY_LEN);
    mdg_write_base64(&w, mdg_slice(random, 16));
    assert(w.len == MDG_WS_KEY_LEN);
}

static void write_header(struct mdg_writer *w, const char *name, struct mdg_slice value)
{
    mdg_write_str(w, name);
    mdg_write_str(w, ": ");
    mdg_write_slice(w, value);
    mdg_write_str(w, "\r\n");
}

void mdg_ws_write_request(struct mdg_writer *w, const struct mdg_ws_client_config *config,
                          const uint8_t key[MDG_WS_KEY_LEN])
{
    mdg_write_str(w, "GET ");
    mdg_write_slice(w, config->target);
    mdg_write_str(w, " HTTP/1.1\r\n");
    write_header(w, "Host", config->host);
    mdg_write_str(w, "Upgrade: websocket\r\nConnection: Upgrade\r\n");
    write_header(w, "Sec-WebSocket-Key", mdg_slice(key, MDG_WS_KEY_LEN));
    mdg_write_str(w, "Sec-WebSocket-Version: 13\r\n");
    if (config->origin.len)
        write_header(w, "Origin", config->origin);
    for (size_t i = 0; i < config->protocol_count; i++) {
        mdg_write_str(w, i ? ", " : "Sec-WebSocket-Protocol: ");
        mdg_write_slice(w, config->protocols[i]);
    }
    if (config->protocol_count)
        mdg_write_str(w, "\r\n");
    if (config->deflate.enabled) {
        mdg_write_str(w, "Sec-WebSocket-Extensions: ");
        mdg_ws_write_deflate_offer(w, &config->deflate);
        mdg_write_str(w, "\r\n");
    }
    mdg_write_slice(w, config->extra);
    mdg_write_str(w, "\r\n");
}

void mdg_ws_answer_init(struct mdg_ws_answer *a, const struct mdg_ws_client_config *config,
                        const uint8_t key[MDG_WS_KEY_LEN], unsigned status)
{
    *a = (struct mdg_ws_answer){.config = config, .status = status};
    mdg_ws_accept_key(a->accept, mdg_slice(key, MDG_WS_KEY_LEN));
}

void mdg_ws_answer_header(struct mdg_ws_answer *a, struct mdg_slice name, struct mdg_slice value)
{
    value = mdg_slice_trim(value);
    if (is(name, "upgrade")) {
        a->upgrade = is(value, "websocket");
    } else if (is(name, "connection")) {
        a->connection |= list_has(value, "upgrade");
    } else if (is(name, "sec-websocket-accept")) {
        a->accepted = mdg_slice_eq(value, mdg_slice(a->accept, sizeof a->accept));
        a->accept_fields = (uint8_t)(a->accept_fields < 2 ? a->accept_fields + 1 : 2);
    } else if (is(name, "sec-websocket-protocol")) {
        a->protocol = value;
        a->protocol_fields = (uint8_t)(a->protocol_fields < 2 ? a->protocol_fields + 1 : 2);
    } else if (is(name, "sec-websocket-extensions")) {
        a->extensions = value;
        a->extension_fields = (uint8_t)(a->extension_fields < 2 ? a->extension_fields + 1 : 2);
    }
}

static bool was_asked_for(const struct mdg_ws_client_config *config, struct mdg_slice protocol)
{
    for (size_t i = 0; i < config->protocol_count; i++) {
        if (mdg_slice_eq(config->protocols[i], protocol))
            return true;
    }
    return false;
}

static int give_up(struct mdg_ws_answer *a, const char *problem)
{
    a->problem = problem;
    return MDG_E_PROTO;
}

int mdg_ws_answer_check(struct mdg_ws_answer *a)
{
    if (a->status != 101)
        return give_up(a, "the server did not switch protocols");
    if (!a->upgrade || !a->connection)
        return give_up(a, "the answer does not upgrade to websocket");
    if (a->accept_fields != 1 || !a->accepted)
        return give_up(a, "the accept key is wrong");
    if (a->protocol_fields > 1 || (a->protocol_fields && !was_asked_for(a->config, a->protocol)))
        return give_up(a, "a sub-protocol that was not asked for");
    if (a->extension_fields > 1 ||
        (a->extension_fields &&
         mdg_ws_deflate_accept(a->extensions, &a->config->deflate, &a->deflate) < 0))
        return give_up(a, "an extension that was not asked for, or malformed");
    return 0;
}
