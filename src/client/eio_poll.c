/* Engine.IO by requests: a GET that always waits for packets, and POSTs that take along what has
 * been said meanwhile. To eio.c it looks like a WebSocket. */
#include "base/base64.h"
#include "base/utf8.h"
#include "client/client.h"
#include "client/eio.h"
#include "client/exchange.h"
#include <stdio.h>
#include <stdlib.h>

enum {
    PAYLOAD_MAX = 64 << 20,
    BATCH_MAX = 64 << 10 /* of packets that wait for the one POST, unless a single one is longer */
};

/* Of the pair, `in` is the answer that is coming, `waiting` are packets with separators. */

static void session_of(const struct madang_client *c, char out[MDG_EIO_SID_BYTES_MAX + 8])
{
    out[0] = '\0';
    if (c->eio && c->eio->greeted)
        snprintf(out, MDG_EIO_SID_BYTES_MAX + 8, "&sid=%s", c->eio->sid);
}

static int ask_for_packets(struct mdg_client_exchange *x)
{
    char session[MDG_EIO_SID_BYTES_MAX + 8];
    session_of(x->client, session);
    return mdg_client_exchange_get(x, x->client->url.target, session, "");
}

static int send_waiting(struct mdg_client_exchange *x)
{
    struct mdg_buf *waiting = &x->client->pair->waiting;
    char session[MDG_EIO_SID_BYTES_MAX + 8];
    session_of(x->client, session);
    int rc = mdg_client_exchange_write(x, x->client->url.target, session,
                                       "text/plain;charset=UTF-8", mdg_buf_slice(waiting));
    mdg_buf_consume(waiting, waiting->len);
    return rc;
}

static bool packets_begin(struct mdg_client_exchange *x, const uint8_t *head)
{
    struct madang_client *c = x->client;
    if (x->head.status != 200)
        return mdg_client_exchange_refused(x, head);
    if (!c->eio)
        mdg_client_carried(c, "");
    return c->eio != NULL;
}

static bool keep_piece(struct mdg_client_exchange *x, struct mdg_slice piece)
{
    struct madang_client *c = x->client;
    int rc = mdg_buf_append(&c->pair->in, piece);
    if (rc < 0)
        mdg_client_lost(c, rc);
    return rc == 0;
}

/* False: the client is down. An answer holds a packet at least ("Payload"), or a server that gives
 * empty ones would be asked for ever. */
static bool take_packets(struct madang_client *c)
{
    struct mdg_client_pair *e = c->pair;
    int rc = e->in.len && mdg_utf8_valid(mdg_buf_slice(&e->in)) ? 1 : MDG_E_PROTO;
    struct mdg_input rest = {e->in.data, e->in.len};
    while (rc == 1 && rest.len) {
        uint8_t *end = memchr(rest.data, MDG_EIO_SEPARATOR, rest.len);
        size_t len = end ? (size_t)(end - rest.data) : rest.len;
        struct mdg_input packet = {rest.data, len};
        rest.data += len + (end != NULL);
        rest.len -= len + (end != NULL);
        rc = mdg_client_eio_input(c, packet, false) < 0 ? MDG_E_PROTO : 1;
        if (c->pair != e)
            return false;
    }
    if (rc < 0) {
        mdg_client_lost(c, rc);
        return false;
    }
    mdg_buf_consume(&e->in, e->in.len);
    return true;
}

static void received(struct mdg_client_exchange *x)
{
    struct madang_client *c = x->client;
    if (!take_packets(c))
        return;
    int rc = mdg_client_exchange_ask(x);
    if (rc < 0)
        mdg_client_lost(c, rc);
}

static bool taken(struct mdg_client_exchange *x, const uint8_t *head)
{
    return x->head.status == 200 || mdg_client_exchange_refused(x, head);
}

static const struct mdg_client_exchange_user receive_user = {ask_for_packets, packets_begin,
                                                             keep_piece, received};
static const struct mdg_client_exchange_user send_user = {
    send_waiting, taken, mdg_client_exchange_ignore, mdg_client_pair_sent};

static int start(struct madang_client *c)
{
    struct mdg_client_pair *pair = calloc(1, sizeof *pair);
    if (!pair)
        return MDG_E_NO_MEMORY;
    mdg_client_pair_init(c, pair, &receive_user, &send_user);
    return mdg_client_exchange_ask(&pair->receive);
}

static uint64_t payload_max(const struct madang_client *c)
{
    return c->eio->max_payload ? c->eio->max_payload : PAYLOAD_MAX;
}

static size_t encoded_len(size_t len, bool binary)
{
    return binary ? 1 + mdg_base64_encoded_len(len) : len;
}

bool mdg_client_eio_takes_bytes(const struct madang_client *c, size_t len)
{
    return c->url.kind != MDG_CLIENT_EIO_POLL || encoded_len(len, true) <= payload_max(c);
}

/* data is a packet as a WebSocket carries it. */
static int send_packet(struct madang_client *c, struct mdg_slice data, bool binary)
{
    struct mdg_client_pair *e = c->pair;
    size_t len = encoded_len(data.len, binary) + 1;
    uint64_t most = payload_max(c);
    struct mdg_writer w;
    if (!binary && !mdg_utf8_valid(data))
        return MDG_E_UNSUPPORTED;
    if (len - 1 > most)
        return MDG_E_TOO_BIG;
    if (e->waiting.len && e->waiting.len + len > (most < BATCH_MAX ? most : BATCH_MAX))
        return MDG_E_FULL;
    int rc = mdg_buf_reserve(&e->waiting, len);
    if (rc < 0)
        return rc;
    mdg_writer_init(&w, e->waiting.data + e->waiting.len, len);
    if (e->waiting.len)
        mdg_write_u8(&w, MDG_EIO_SEPARATOR);
    if (binary)
        mdg_eio4_write_in_payload(&w, MDG_EIO_MESSAGE, true, data);
    else
        mdg_write_slice(&w, data);
    e->waiting.len += w.len;
    return mdg_client_pair_push(c);
}

const struct mdg_client_carrier mdg_client_carrier_eio_poll = {
    .start = start,
    .send = send_packet,
    .queued = mdg_client_pair_queued,
    .end_ms = mdg_client_pair_end_ms,
    .free = mdg_client_pair_free,
};
