/* The opening handshake of RFC 6455 section 4, both sides, and the negotiation of
 * permessage-deflate (RFC 7692 section 7.1). Headers are fed one by one by whoever parsed the HTTP
 * message; nothing is allocated and nothing copied: slices must live until the answer is written.
 */
#ifndef MDG_WS_HANDSHAKE_H
#define MDG_WS_HANDSHAKE_H

#include "base/base.h"
#include "base/writer.h"

enum {
    MDG_WS_KEY_LEN = 24,       /* base64 of 16 bytes */
    MDG_WS_ACCEPT_LEN = 28,    /* base64 of 20 bytes */
    MDG_WS_PROTOCOLS_MAX = 32, /* that an endpoint may know; a client may offer any number */
    /* Sub-protocol and extension fields of one request: RFC 9110 5.3 lets a list be spread over
     * several, but nobody needs more. */
    MDG_WS_FIELDS_MAX = 4
};

/* What this side wants of permessage-deflate. */
struct mdg_ws_deflate_policy {
    bool enabled;
    /* The server forgets its window after each message, asked or not, so that one compressed frame
     * serves every member of a room. */
    bool server_fresh;
    bool client_fresh;   /* the client is told to forget its window: saves its memory and ours */
    uint8_t server_bits; /* 8..15: largest window (RFC 7692 7.1.2) */
    uint8_t client_bits;
};

/* What was agreed. Zero: no compression. */
struct mdg_ws_deflate {
    bool on;
    bool server_fresh, client_fresh; /* the side's *_no_context_takeover */
    uint8_t server_bits, client_bits;
    bool tell_server_bits, tell_client_bits; /* the parameter stands in the answer */
};

/* Server side. */

/* Shared by every request of an endpoint. */
struct mdg_ws_offer_config {
    const struct mdg_slice *protocols; /* in the server's order of preference */
    size_t protocol_count;             /* at most MDG_WS_PROTOCOLS_MAX */
    struct mdg_ws_deflate_policy deflate;
};

struct mdg_ws_request {
    const struct mdg_ws_offer_config *config;
    struct mdg_slice key, version;
    struct mdg_slice protocols[MDG_WS_FIELDS_MAX], extensions[MDG_WS_FIELDS_MAX];
    uint8_t protocol_fields, extension_fields, key_fields, version_fields;
    bool is_get, is_http11, upgrade_seen, upgrade, connection;
    /* Filled by mdg_ws_request_check. */
    const char *problem;       /* a sentence for the body of the refusal */
    struct mdg_slice protocol; /* chosen, one of config's; empty: none */
    struct mdg_ws_deflate deflate;
    uint32_t offered; /* bit i: the client knows config->protocols[i] */
};

/* http_minor: 1 for HTTP/1.1. */
void mdg_ws_request_init(struct mdg_ws_request *r, const struct mdg_ws_offer_config *config,
                         struct mdg_slice method, unsigned http_minor);
void mdg_ws_request_header(struct mdg_ws_request *r, struct mdg_slice name, struct mdg_slice value);
/* 101: may be accepted. Else the status of the refusal: 405 (with Allow: GET), 426 (with Upgrade:
 * websocket and Sec-WebSocket-Version: 13), 400. */
unsigned mdg_ws_request_check(struct mdg_ws_request *r);

/* RFC 6455 4.2.2 step 5.4. */
void mdg_ws_accept_key(uint8_t out[MDG_WS_ACCEPT_LEN], struct mdg_slice key);
/* The value of Sec-WebSocket-Extensions in an answer. */
void mdg_ws_write_deflate(struct mdg_writer *w, const struct mdg_ws_deflate *d);

/* Client side. */

struct mdg_ws_client_config {
    struct mdg_slice host;   /* of the Host header, with a port unless it is the default one */
    struct mdg_slice target; /* path and query */
    struct mdg_slice origin; /* empty: no such header */
    struct mdg_slice extra;  /* whole header lines, each with CRLF */
    const struct mdg_slice *protocols;
    size_t protocol_count;
    struct mdg_ws_deflate_policy deflate;
};

/* random: 16 fresh random bytes (RFC 6455 4.1). */
void mdg_ws_client_key(uint8_t out[MDG_WS_KEY_LEN], const uint8_t random[16]);
void mdg_ws_write_request(struct mdg_writer *w, const struct mdg_ws_client_config *config,
                          const uint8_t key[MDG_WS_KEY_LEN]);

struct mdg_ws_answer {
    const struct mdg_ws_client_config *config;
    uint8_t accept[MDG_WS_ACCEPT_LEN];
    unsigned status;
    struct mdg_slice extensions;
    uint8_t accept_fields, protocol_fields, extension_fields;
    bool upgrade, connection, accepted;
    const char *problem;
    struct mdg_slice protocol; /* chosen by the server; empty: none */
    struct mdg_ws_deflate deflate;
};

void mdg_ws_answer_init(struct mdg_ws_answer *a, const struct mdg_ws_client_config *config,
                        const uint8_t key[MDG_WS_KEY_LEN], unsigned status);
void mdg_ws_answer_header(struct mdg_ws_answer *a, struct mdg_slice name, struct mdg_slice value);
/* 0, or MDG_E_PROTO with a->problem: the connection is to be dropped (RFC 6455 4.1). */
int mdg_ws_answer_check(struct mdg_ws_answer *a) MDG_NODISCARD;

#endif
