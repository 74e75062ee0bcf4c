/* TCP, TLS and unix sockets: text lines, or bytes for a protocol that finds its own frames. */
#include "transport/tcp.h"
#include "client/client.h"

enum { LINE_MAX_BYTES = 65536, BUFFER_MAX_BYTES = 1 << 20, LINGER_S = 1 };

/* What moves the bytes takes the stream over. */
static int carried_by(struct madang_client *c, int rc)
{
    if (rc < 0)
        return rc;
    c->stream = NULL;
    mdg_client_carried(c, "");
    return 0;
}

static const struct mdg_tcp_config tcp_config = {LINE_MAX_BYTES, BUFFER_MAX_BYTES, LINGER_S};

static int open_lines(struct madang_client *c)
{
    return carried_by(
        c, mdg_tcp_line_accept(c->stream, &tcp_config, &mdg_client_link_user, c, &c->link));
}

static int open_bytes(struct madang_client *c)
{
    return carried_by(
        c, mdg_tcp_bytes_accept(c->stream, &tcp_config, &mdg_client_link_user, c, &c->link));
}

const struct mdg_client_carrier mdg_client_carrier_lines = {.connected = open_lines};
const struct mdg_client_carrier mdg_client_carrier_bytes = {.connected = open_bytes};
