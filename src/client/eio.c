/* Engine.IO 4, the client's part: the handshake, the server's pings and their absence, and
 * messages, with Socket.IO's packets inside (sio.c) or without. Over WebSocket a unit is a packet;
 * eio_poll.c makes it the same by requests. */
#include "client/eio.h"
#include "client/client.h"
#include <stdio.h>
#include <stdlib.h>

static const char usual_path[] = "/engine.io/";

static void on_silence(struct mdg_timer *t, void *arg)
{
    (void)t;
    mdg_client_down(arg, MDG_CLOSE_ABNORMAL, "ping timeout: the server has fallen silent");
}

static void await_ping(struct madang_client *c)
{
    struct mdg_client_eio *e = c->eio;
    if (e->patience_ms)
        mdg_timer_start(c->clients->loop, &e->silence, e->patience_ms);
}

int mdg_client_eio_target(struct madang_client *c, const char *path)
{
    char query[MDG_CLIENT_TARGET_MAX];
    const char *mark = strchr(c->url.target, '?');
    snprintf(query, sizeof query, "%s", mark ? mark + 1 : "");
    int n = snprintf(c->url.target, sizeof c->url.target, "%s%s?%s%sEIO=4&transport=%s",
                     *path == '/' ? "" : "/", path, query, *query ? "&" : "",
                     c->url.kind == MDG_CLIENT_EIO_POLL ? "polling" : "websocket");
    return n > 0 && (size_t)n < sizeof c->url.target ? 0 : MDG_E_TOO_BIG;
}

static int prepare(struct madang_client *c)
{
    char path[MDG_CLIENT_TARGET_MAX];
    size_t len = strcspn(c->url.target, "?");
    snprintf(path, sizeof path, "%.*s", (int)len, c->url.target);
    return mdg_client_eio_target(c, len > 1 ? path : usual_path);
}

/* It waits for the server's OPEN. */
int mdg_client_eio_start(struct madang_client *c)
{
    struct mdg_client_eio *e = calloc(1, sizeof *e);
    if (!e)
        return MDG_E_NO_MEMORY;
    mdg_timer_init(&e->silence, on_silence, c);
    c->eio = e;
    return 0;
}

void mdg_client_eio_free(struct madang_client *c)
{
    if (!c->eio)
        return;
    mdg_timer_stop(c->clients->loop, &c->eio->silence);
    free(c->eio);
    c->eio = NULL;
}

static int greet(struct madang_client *c, struct mdg_slice json)
{
    struct mdg_eio_open open;
    struct mdg_client_eio *e = c->eio;
    if (mdg_eio_dec_open(json, &open) < 0)
        return MDG_E_PROTO;
    e->greeted = true;
    e->max_payload = open.max_payload;
    snprintf(e->sid, sizeof e->sid, "%.*s", (int)open.sid.len, (const char *)open.sid.data);
    /* "Heartbeat": a ping comes each pingInterval; pingTimeout is grace. */
    e->patience_ms = open.ping_interval_ms / 2 + open.ping_timeout_ms / 2 < UINT32_MAX / 2
                         ? open.ping_interval_ms + open.ping_timeout_ms
                         : 0;
    await_ping(c);
    if (c->url.layer == MDG_CLIENT_SIO)
        return mdg_client_sio_connect(c);
    mdg_client_opened(c, "");
    return 0;
}

static int pong(struct madang_client *c, struct mdg_slice data)
{
    uint8_t packet[64]; /* v4 pings are empty, probes hold a word */
    struct mdg_writer w;
    mdg_writer_init(&w, packet, sizeof packet);
    mdg_eio_write_packet(&w, 4, MDG_EIO_PONG, false, data);
    await_ping(c);
    if (!mdg_writer_fits(&w))
        return MDG_E_PROTO;
    int rc = mdg_client_carry(c, mdg_slice(packet, w.len), false);
    return rc == MDG_E_FULL ? 0 : rc; /* then data is on its way, which proves life as well */
}

static int take_message(struct madang_client *c, struct mdg_input in, bool binary)
{
    if (c->url.layer == MDG_CLIENT_SIO)
        return mdg_client_sio_packet(c, in, binary);
    mdg_client_message(c, mdg_slice(in.data, in.len), binary);
    return 0;
}

int mdg_client_eio_input(struct madang_client *c, struct mdg_input in, bool binary)
{
    struct mdg_eio_packet p;
    if (mdg_eio_dec_packet(4, in, binary, &p) < 0 || c->eio->greeted == (p.type == MDG_EIO_OPEN))
        return MDG_E_PROTO;
    switch (p.type) {
    case MDG_EIO_OPEN:
        return greet(c, mdg_slice(p.data.data, p.data.len));
    case MDG_EIO_PING:
        return pong(c, mdg_slice(p.data.data, p.data.len));
    case MDG_EIO_MESSAGE:
        return take_message(c, p.data, p.binary);
    case MDG_EIO_CLOSE:
        mdg_client_down(c, MDG_CLOSE_GOING_AWAY, "closed by the server");
        return 0;
    case MDG_EIO_PONG:
    case MDG_EIO_UPGRADE:
    case MDG_EIO_NOOP:
        break;
    }
    return 0;
}

int mdg_client_eio_message(struct madang_client *c, struct mdg_slice data, bool binary)
{
    if (binary) /* v4: a binary unit is the message itself */
        return mdg_client_carry(c, data, true);
    struct mdg_writer w;
    uint8_t *packet = malloc(data.len + 1);
    if (!packet)
        return MDG_E_NO_MEMORY;
    mdg_writer_init(&w, packet, data.len + 1);
    mdg_eio_write_packet(&w, 4, MDG_EIO_MESSAGE, false, data);
    int rc = mdg_client_carry(c, mdg_slice(packet, w.len), false);
    free(packet);
    return rc;
}

static int send_message(struct madang_client *c, const struct mdg_client_out *out)
{
    return mdg_client_eio_message(c, out->data, out->binary);
}

/* A WebSocket's end says it all; a session of polls must be told. */
void mdg_client_eio_goodbye(struct madang_client *c)
{
    if (c->url.kind == MDG_CLIENT_EIO_POLL)
        (void)!mdg_client_carry(c, MDG_SLICE_LIT("1"), false);
}

const struct mdg_client_protocol mdg_client_protocol_eio = {
    .prepare = prepare,
    .start = mdg_client_eio_start,
    .input = mdg_client_eio_input,
    .send = send_message,
    .goodbye = mdg_client_eio_goodbye,
    .free = mdg_client_eio_free,
};
