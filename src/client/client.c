/* A client's life: connect, open, messages, loss, back-off, once more, goodbye. */
#include "client/client.h"
#include <stdio.h>

enum { RETRY_MIN_MS = 500, RETRY_MAX_MS = 30000 };

static void nobody_closed(struct mdg_stream *s, int reason)
{
    (void)s;
    (void)reason;
}

static int64_t nobody_listens(struct mdg_stream *s, struct mdg_input in)
{
    (void)s;
    return (int64_t)in.len;
}

/* Owner of a stream that a client has turned away from. */
static const struct mdg_stream_user nobody = {
    .name = "nobody", .on_data = nobody_listens, .on_close = nobody_closed};

void mdg_client_drop_stream(struct mdg_stream *s)
{
    mdg_stream_adopt(s, &nobody, NULL);
    mdg_stream_close(s, 0);
}

/* A link that outlives its client by its closing handshake has nobody to tell. */
static int nobody_reads(struct mdg_link *l, struct mdg_input in, bool binary)
{
    (void)l, (void)in, (void)binary;
    return 0;
}

static void nobody_writes(struct mdg_link *l)
{
    (void)l;
}

static void nobody_waits(struct mdg_link *l, int code, struct mdg_slice reason)
{
    (void)l, (void)code, (void)reason;
}

static const struct mdg_link_user nobody_linked = {nobody_reads, nobody_writes, nobody_waits};

/* Lets go of whatever the present attempt has. */
static void drop_connection(struct madang_client *c)
{
    mdg_timer_stop(c->clients->loop, &c->timer);
    if (c->link) {
        c->link->user = &nobody_linked;
        c->link->user_arg = NULL;
        mdg_link_close(c->link, MDG_CLOSE_NORMAL, mdg_slice(NULL, 0));
    }
    if (c->connect)
        mdg_connect_cancel(c->connect);
    c->connect = NULL;
    if (c->stream)
        mdg_client_drop_stream(c->stream);
    c->stream = NULL;
    c->link = NULL;
    mdg_client_http_free(c);
    if (c->carrier->free)
        c->carrier->free(c);
    if (c->protocol->free)
        c->protocol->free(c);
}

/* Doubles from the shortest wait, and is spread over its upper half, so that a thousand clients of
 * a server that restarts do not come back as one. */
static uint32_t back_off(struct madang_client *c)
{
    uint64_t min = c->options.reconnect_min_ms ? c->options.reconnect_min_ms : RETRY_MIN_MS;
    uint64_t max = c->options.reconnect_max_ms ? c->options.reconnect_max_ms : RETRY_MAX_MS;
    if (c->retry_ms)
        min = c->retry_ms;
    uint64_t wait = min << (c->failures < 16 ? c->failures : 16);
    uint32_t random;
    if (wait > max)
        wait = mdg_max_size(max, min);
    mdg_loop_random(c->clients->loop, &random, sizeof random);
    return (uint32_t)(wait / 2 + random % (wait / 2 + 1));
}

void mdg_client_down(struct madang_client *c, int code, const char *reason)
{
    char copy[256];
    snprintf(copy, sizeof copy, "%s", reason);
    if (c->state == MDG_CLIENT_ENDED)
        return;
    if (c->state == MDG_CLIENT_ENDING) { /* we said goodbye: that was the reason */
        code = c->end_code;
        snprintf(copy, sizeof copy, "%s", c->end_reason);
    }
    drop_connection(c);
    bool again = c->options.reconnect && !c->closing &&
                 (c->options.attempts_max == 0 || c->failures + 1 < c->options.attempts_max);
    if (again) {
        uint32_t wait = back_off(c);
        c->failures++;
        c->state = MDG_CLIENT_WAITING;
        mdg_timer_start(c->clients->loop, &c->timer, wait);
        mdg_client_acks_lost(c, false);
        c->handlers->on_down(c, code, copy, wait, c->arg);
        return;
    }
    c->state = MDG_CLIENT_ENDED;
    mdg_list_remove(&c->node);
    c->clients->count--;
    mdg_client_acks_lost(c, true);
    c->handlers->on_down(c, code, copy, -1, c->arg);
    c->free_later = (struct mdg_defer){.fn = mdg_client_free, .arg = c};
    mdg_loop_dispose(c->clients->loop, &c->free_later);
}

void mdg_client_lost(struct madang_client *c, int err)
{
    mdg_client_down(c, MDG_CLOSE_ABNORMAL,
                    err < 0 ? mdg_strerror(err) : "the server closed the connection");
}

void mdg_client_refused(struct madang_client *c, int code, const char *reason)
{
    c->closing = true;
    mdg_client_down(c, code, reason);
}

void mdg_client_message(struct madang_client *c, struct mdg_slice data, bool binary)
{
    c->handlers->on_message(c, data.len ? (const void *)data.data : "", data.len, binary, c->arg);
}

void mdg_client_remember(struct madang_client *c, struct mdg_slice position)
{
    mdg_buf_consume(&c->position, c->position.len);
    if (mdg_buf_reserve(&c->position, position.len + 1) < 0)
        return;
    if (position.len)
        memcpy(c->position.data, position.data, position.len);
    c->position.data[position.len] = '\0';
    c->position.len = position.len + 1;
}

const char *mdg_client_position(const struct madang_client *c)
{
    return c->position.len ? (const char *)c->position.data : "";
}

const char *mdg_client_connect_error(const struct madang_client *c, int err)
{
    if (err == MDG_E_NOT_FOUND)
        return "there is no such host";
    if (err == MDG_E_DENIED)
        return c->url.tls ? "the certificate is not trusted, or the proxy refused"
                          : "the proxy refused";
    return mdg_strerror(err);
}

static int on_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    struct madang_client *c = l->user_arg;
    if (!in.data && in.len == 0 && c->url.kind == MDG_CLIENT_LINES)
        return 0; /* a line over the limit */
    if (c->protocol->input)
        return c->protocol->input(c, in, binary);
    mdg_client_message(c, mdg_slice(in.data, in.len), binary);
    return 0;
}

static uint32_t end_ms(const struct madang_client *c)
{
    return c->carrier->end_ms ? c->carrier->end_ms(c) : 0;
}

static void end_soon(struct madang_client *c)
{
    c->state = MDG_CLIENT_ENDING;
    mdg_timer_start(c->clients->loop, &c->timer, end_ms(c));
}

static void leave(struct madang_client *c)
{
    if (c->protocol->goodbye)
        c->protocol->goodbye(c);
    if (c->link)
        mdg_link_close(c->link, c->end_code, mdg_slice_str(c->end_reason));
    else
        end_soon(c);
}

void mdg_client_say_goodbye(struct madang_client *c)
{
    uint32_t wait = c->protocol->linger_ms ? c->protocol->linger_ms(c) : 0;
    if (wait)
        mdg_timer_start(c->clients->loop, &c->timer, wait);
    else
        leave(c);
}

void mdg_client_sent(struct madang_client *c)
{
    if (c->state == MDG_CLIENT_OPEN)
        mdg_client_flush(c);
    else if (c->state == MDG_CLIENT_ENDING && end_ms(c) == 0)
        mdg_client_down(c, c->end_code, c->end_reason);
}

static void on_writable(struct mdg_link *l)
{
    mdg_client_flush(l->user_arg);
}

static void on_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct madang_client *c = l->user_arg;
    char text[124];
    snprintf(text, sizeof text, "%.*s", (int)reason.len,
             reason.len ? (const char *)reason.data : "");
    c->link = NULL;
    if (c->sockjs_code) { /* what its close frame said counts, not the WebSocket's */
        code = c->sockjs_code;
        c->sockjs_code = 0;
        snprintf(text, sizeof text, "%s", c->sockjs_reason);
    }
    if (!text[0])
        snprintf(text, sizeof text, "%s",
                 code == MDG_CLOSE_ABNORMAL ? "the connection was lost"
                 : c->closing               ? "closed"
                                            : "closed by the server");
    mdg_client_down(c, code, text);
}

const struct mdg_link_user mdg_client_link_user = {on_input, on_writable, on_close};

void mdg_client_carried(struct madang_client *c, const char *subprotocol)
{
    if (!c->protocol->start) {
        mdg_client_opened(c, subprotocol);
        return;
    }
    int rc = c->protocol->start(c);
    if (rc < 0)
        mdg_client_down(c, MDG_CLOSE_ABNORMAL, mdg_strerror(rc));
}

void mdg_client_opened(struct madang_client *c, const char *subprotocol)
{
    mdg_timer_stop(c->clients->loop, &c->timer);
    c->state = MDG_CLIENT_OPEN;
    c->failures = 0;
    c->drained_owed = true;
    if (c->handlers->on_open)
        c->handlers->on_open(c, subprotocol, c->arg);
    mdg_client_flush(c);
}

static void on_connected(void *arg, int err, struct mdg_stream *s)
{
    struct madang_client *c = arg;
    c->connect = NULL;
    if (err < 0) {
        mdg_client_down(c, MDG_CLOSE_ABNORMAL, mdg_client_connect_error(c, err));
        return;
    }
    c->stream = s;
    c->state = MDG_CLIENT_OPENING;
    int rc = c->carrier->connected(c);
    if (rc < 0)
        mdg_client_down(c, MDG_CLOSE_ABNORMAL, mdg_strerror(rc));
}

int mdg_client_connect(struct madang_client *c, const struct mdg_stream_user *user, void *user_arg,
                       mdg_connected_fn done, void *arg, struct mdg_connect **out)
{
    struct mdg_connect_config config = {
        .host = mdg_slice_str(c->url.host),
        .port = c->url.port,
        .unix_path = mdg_slice_str(c->url.unix_path),
        .tls = c->tls,
        .timeout_ms = c->options.connect_timeout_ms,
    };
    if (c->use_proxy) {
        config.proxy_host = mdg_slice_str(c->proxy.host);
        config.proxy_port = c->proxy.port;
        config.proxy_credentials = mdg_slice_str(c->proxy.credentials);
    }
    return mdg_connect_start(c->clients->net, &config, user, user_arg, done, arg, out);
}

static int start_connecting(struct madang_client *c)
{
    if (c->carrier->start)
        return c->carrier->start(c);
    return mdg_client_connect(c, &mdg_client_http_user, c, on_connected, c, &c->connect);
}

static void begin(struct madang_client *c)
{
    c->state = MDG_CLIENT_CONNECTING;
    mdg_timer_start(c->clients->loop, &c->timer, c->options.connect_timeout_ms);
    int rc = start_connecting(c);
    if (rc < 0)
        mdg_client_down(c, MDG_CLOSE_ABNORMAL, mdg_strerror(rc));
}

void mdg_client_on_timer(struct mdg_timer *t, void *arg)
{
    struct madang_client *c = arg;
    (void)t;
    if (c->state == MDG_CLIENT_WAITING)
        begin(c);
    else if (c->state == MDG_CLIENT_ENDING)
        mdg_client_down(c, c->end_code, c->end_reason);
    else if (c->state != MDG_CLIENT_OPEN)
        mdg_client_down(c, MDG_CLOSE_ABNORMAL, "no answer in time");
    else if (c->closing)
        leave(c);
}

const char *madang_client_position(const struct madang_client *c)
{
    return mdg_client_position(c);
}

void madang_client_close(struct madang_client *c, int code, const char *reason)
{
    if (c->closing || c->state == MDG_CLIENT_ENDED)
        return;
    c->closing = true;
    c->end_code = code;
    snprintf(c->end_reason, sizeof c->end_reason, "%s", reason ? reason : "");
    if (c->state == MDG_CLIENT_OPEN && !c->queue)
        mdg_client_say_goodbye(c);
    else if (c->state == MDG_CLIENT_WAITING ? c->failures > 0 || !c->queue
                                            : c->state != MDG_CLIENT_OPEN && !c->queue)
        end_soon(c);
}
