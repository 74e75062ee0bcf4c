/* A client's life: connect, open, messages, loss, back-off, once more; and the queue of what is to
 * be sent meanwhile. */
#include "client/client.h"
#include "codec/sio.h"
#include "codec/ws.h"
#include "transport/tcp.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    RETRY_MIN_MS = 500,
    RETRY_MAX_MS = 30000,
    CONNECT_MS = 10000,
    LINE_MAX_BYTES = 65536,
    BUFFER_MAX_BYTES = 1 << 20,
    POSITION_MAX = 16384, /* it goes into a request's line or headers */
    LINGER_S = 1
};

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

static void begin(struct madang_client *c);

static void free_queue(struct madang_client *c)
{
    while (c->queue) {
        struct mdg_client_waiting *next = c->queue->next;
        free(c->queue);
        c->queue = next;
    }
    c->queue_end = &c->queue;
    c->queued = 0;
}

static void free_texts(struct madang_client_options *o)
{
    free((void *)(uintptr_t)o->url);
    free((void *)(uintptr_t)o->subprotocols);
    free((void *)(uintptr_t)o->origin);
    free((void *)(uintptr_t)o->headers);
    free((void *)(uintptr_t)o->destination);
    free((void *)(uintptr_t)o->path);
    free((void *)(uintptr_t)o->auth);
    free((void *)(uintptr_t)o->event);
}

static void free_client(struct mdg_loop *loop, void *arg)
{
    struct madang_client *c = arg;
    (void)loop;
    free_queue(c);
    mdg_client_acks_free(c);
    mdg_buf_fini(&c->position);
    free(c->sio_namespace);
    mdg_tls_context_unref(c->tls);
    free((void *)(uintptr_t)c->stomp_headers);
    free_texts(&c->options);
    free(c);
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
    c->free_later = (struct mdg_defer){.fn = free_client, .arg = c};
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

int mdg_client_carry(struct madang_client *c, struct mdg_slice data, bool binary)
{
    const struct mdg_unit_meta meta = {.binary = binary, .compress = true};
    if (c->carrier->send)
        return c->carrier->send(c, data, binary);
    return c->link ? mdg_link_send_unit(c->link, data, &meta) : MDG_E_UNSUPPORTED;
}

static int send_now(struct madang_client *c, const struct mdg_client_out *out)
{
    if (c->protocol->send)
        return c->protocol->send(c, out);
    return mdg_client_carry(c, out->data, out->binary);
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

static void say_goodbye(struct madang_client *c)
{
    uint32_t wait = c->protocol->linger_ms ? c->protocol->linger_ms(c) : 0;
    if (wait)
        mdg_timer_start(c->clients->loop, &c->timer, wait);
    else
        leave(c);
}

/* It was buffered, and now nobody can take it. */
static void unsent(struct madang_client *c, const struct mdg_client_out *out, int err)
{
    mdg_client_ack_drop(c, out->ack);
    if (c->handlers->on_unsent)
        c->handlers->on_unsent(c, err, c->arg);
}

static void flush(struct madang_client *c)
{
    if (c->protocol->pay && c->protocol->pay(c) < 0)
        return;
    while (c->queue && c->state == MDG_CLIENT_OPEN) {
        struct mdg_client_waiting *m = c->queue;
        int rc = send_now(c, &m->out);
        if (rc == MDG_E_FULL || rc == MDG_E_CLOSED || rc == MDG_E_NO_MEMORY)
            return;
        c->queue = m->next;
        if (!c->queue)
            c->queue_end = &c->queue;
        c->queued -= m->out.data.len;
        if (rc < 0)
            unsent(c, &m->out, rc);
        free(m);
    }
    if (c->state != MDG_CLIENT_OPEN)
        return;
    if (c->drained_owed && c->handlers->on_drained && !c->closing) {
        c->drained_owed = false;
        c->handlers->on_drained(c, c->arg);
    }
    if (c->closing && !c->queue)
        say_goodbye(c);
}

void mdg_client_sent(struct madang_client *c)
{
    if (c->state == MDG_CLIENT_OPEN)
        flush(c);
    else if (c->state == MDG_CLIENT_ENDING && end_ms(c) == 0)
        mdg_client_down(c, c->end_code, c->end_reason);
}

static void on_writable(struct mdg_link *l)
{
    flush(l->user_arg);
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
    flush(c);
}

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

static const struct mdg_client_carrier carrier_lines = {.connected = open_lines};
static const struct mdg_client_carrier carrier_bytes = {.connected = open_bytes};

static const struct mdg_client_carrier *const carriers[MDG_CLIENT_KINDS] = {
    [MDG_CLIENT_WS] = &mdg_client_carrier_ws,
    [MDG_CLIENT_LINES] = &carrier_lines,
    [MDG_CLIENT_BYTES] = &carrier_bytes,
    [MDG_CLIENT_UDP] = &mdg_client_carrier_udp,
    [MDG_CLIENT_HTTP] = &mdg_client_carrier_http,
    [MDG_CLIENT_POLL] = &mdg_client_carrier_poll,
    [MDG_CLIENT_XHR] = &mdg_client_carrier_xhr,
    [MDG_CLIENT_EIO_POLL] = &mdg_client_carrier_eio_poll,
};

static const struct mdg_client_protocol protocol_none = {.start = NULL};

static const struct mdg_client_protocol *const protocols[MDG_CLIENT_LAYERS] = {
    [MDG_CLIENT_NONE] = &protocol_none,
    [MDG_CLIENT_SOCKJS] = &mdg_client_protocol_sockjs,
    [MDG_CLIENT_STOMP] = &mdg_client_protocol_stomp,
    [MDG_CLIENT_EIO] = &mdg_client_protocol_eio,
    [MDG_CLIENT_SIO] = &mdg_client_protocol_sio,
};

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

static void on_timer(struct mdg_timer *t, void *arg)
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

/* Making one. */

static char *copy_text(const char *text, bool *failed)
{
    char *copy = text ? strdup(text) : NULL;
    *failed |= text && !copy;
    return copy;
}

/* One block: the pointers, then the texts. */
static const char *const *copy_headers(const char *const *headers, bool *failed)
{
    size_t n = 0, bytes = 0;
    if (!headers)
        return NULL;
    for (; headers[n]; n++)
        bytes += strlen(headers[n]) + 1;
    char **copy = malloc((n + 1) * sizeof *copy + bytes);
    if (!copy) {
        *failed = true;
        return NULL;
    }
    char *text = (char *)(copy + n + 1);
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(headers[i]) + 1;
        copy[i] = memcpy(text, headers[i], len);
        text += len;
    }
    copy[n] = NULL;
    return (const char *const *)copy;
}

static int copy_options(struct madang_client *c, const struct madang_client_options *o)
{
    bool failed = false;
    c->options = *o;
    c->options.url = copy_text(o->url, &failed);
    c->options.subprotocols = copy_text(o->subprotocols, &failed);
    c->options.origin = copy_text(o->origin, &failed);
    c->options.headers = copy_headers(o->headers, &failed);
    c->options.destination = copy_text(o->destination, &failed);
    c->options.path = copy_text(o->path, &failed);
    c->options.auth = copy_text(o->auth, &failed);
    c->options.event = copy_text(o->event, &failed);
    c->options.position = NULL;
    c->options.ca_file = c->options.proxy = NULL;
    if (!c->options.buffer_bytes_max)
        c->options.buffer_bytes_max = BUFFER_MAX_BYTES;
    if (!c->options.connect_timeout_ms)
        c->options.connect_timeout_ms = CONNECT_MS;
    return failed ? MDG_E_NO_MEMORY : 0;
}

/* What the environment says, in either case; http_proxy in lower case alone, as a CGI's request
 * header Proxy would come as HTTP_PROXY. */
static const char *environment_proxy(const struct mdg_client_url *u)
{
    const char *except = getenv("no_proxy"), *proxy = NULL;
    if (!except)
        except = getenv("NO_PROXY");
    if (except && mdg_client_proxy_excepts(except, u->host))
        return NULL;
    if (u->tls)
        proxy = getenv("https_proxy") ? getenv("https_proxy") : getenv("HTTPS_PROXY");
    else
        proxy = getenv("http_proxy");
    if (!proxy)
        proxy = getenv("all_proxy") ? getenv("all_proxy") : getenv("ALL_PROXY");
    return proxy;
}

static int choose_proxy(struct madang_client *c, const char *wish)
{
    bool web = c->url.kind != MDG_CLIENT_LINES && c->url.kind != MDG_CLIENT_BYTES;
    const char *proxy = wish ? wish : web ? environment_proxy(&c->url) : NULL;
    if (!proxy || !*proxy || c->url.kind == MDG_CLIENT_UDP || c->url.unix_path[0])
        return 0;
    c->use_proxy = true;
    return mdg_client_proxy_parse(&c->proxy, proxy);
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static int choose_tls(struct madang_client *c, const struct madang_client_options *o)
{
    struct madang_clients *cs = c->clients;
    struct mdg_tls_config config = {.client = true, .verify = !o->insecure, .ca_path = o->ca_file};
    char text[256];
    bool failed = false;
    if (!c->url.tls)
        return 0;
    if (!cs->tls || cs->tls_insecure != o->insecure || !same_text(cs->tls_ca, o->ca_file)) {
        struct mdg_tls_context *tls;
        int rc = mdg_tls_context_new(&config, &tls, text, sizeof text);
        if (rc < 0)
            return rc;
        mdg_tls_context_unref(cs->tls);
        free(cs->tls_ca);
        cs->tls = tls;
        cs->tls_insecure = o->insecure;
        cs->tls_ca = copy_text(o->ca_file, &failed);
    }
    mdg_tls_context_ref(cs->tls);
    c->tls = cs->tls;
    return 0;
}

static int prepare(struct madang_client *c, const struct madang_client_options *o)
{
    int rc = c->carrier->prepare ? c->carrier->prepare(c) : 0;
    if (rc == 0 && c->protocol->prepare)
        rc = c->protocol->prepare(c);
    if (rc == 0 && o->position)
        mdg_client_remember(c, mdg_slice_str(o->position));
    return rc;
}

int madang_client_open(struct madang_clients *clients, const struct madang_client_options *options,
                       const struct madang_client_handlers *handlers, void *arg,
                       struct madang_client **out)
{
    struct madang_client *c = calloc(1, sizeof *c);
    if (!c)
        return MDG_E_NO_MEMORY;
    c->clients = clients;
    c->handlers = handlers;
    c->arg = arg;
    c->queue_end = &c->queue;
    mdg_timer_init(&c->timer, on_timer, c);
    mdg_buf_init(&c->position, POSITION_MAX);
    int rc = copy_options(c, options);
    if (rc == 0)
        rc = options->url ? mdg_client_url_parse(&c->url, options->url) : MDG_E_SYNTAX;
    c->carrier = carriers[c->url.kind];
    c->protocol = protocols[c->url.layer];
    if (rc == 0)
        rc = prepare(c, options);
    if (rc == 0)
        rc = choose_proxy(c, options->proxy);
    if (rc == 0)
        rc = choose_tls(c, options);
    if (rc < 0) {
        free_client(clients->loop, c);
        return rc;
    }
    mdg_list_push(&clients->all, &c->node);
    clients->count++;
    /* Connecting begins with the next turn: nothing may be called from inside. */
    c->state = MDG_CLIENT_WAITING;
    mdg_timer_start(clients->loop, &c->timer, 0);
    *out = c;
    return 0;
}

static int put_off(struct madang_client *c, const struct mdg_client_out *out)
{
    if (c->queued + out->data.len > c->options.buffer_bytes_max)
        return MDG_E_FULL;
    struct mdg_client_waiting *m = malloc(sizeof *m + out->data.len);
    if (!m)
        return MDG_E_NO_MEMORY;
    *m = (struct mdg_client_waiting){.out = *out};
    m->out.data.data = (const uint8_t *)(m + 1);
    if (out->data.len)
        memcpy(m + 1, out->data.data, out->data.len);
    *c->queue_end = m;
    c->queue_end = &m->next;
    c->queued += out->data.len;
    c->drained_owed = true;
    return 0;
}

/* Now, or when there is a connection and room. */
static int submit(struct madang_client *c, const struct mdg_client_out *out)
{
    if (c->closing || c->state == MDG_CLIENT_ENDED)
        return MDG_E_CLOSED;
    if (c->url.kind == MDG_CLIENT_HTTP || (out->binary && c->url.kind == MDG_CLIENT_LINES))
        return MDG_E_UNSUPPORTED;
    if (c->state == MDG_CLIENT_OPEN && !c->queue) {
        int rc = send_now(c, out);
        if (rc != MDG_E_FULL)
            return rc;
    }
    return put_off(c, out);
}

int madang_client_send(struct madang_client *c, const void *data, size_t len, bool binary)
{
    const struct mdg_client_out out = {.data = mdg_slice(data, len), .binary = binary};
    return submit(c, &out);
}

int madang_client_emit(struct madang_client *c, const char *json, size_t len,
                       madang_client_answer_fn answer, void *arg)
{
    struct mdg_client_out out = {.event = true};
    if (c->url.layer != MDG_CLIENT_SIO)
        return MDG_E_UNSUPPORTED;
    int rc = mdg_sio_check_event(mdg_slice(json, len), &out.data);
    if (rc == 0 && answer)
        rc = mdg_client_ack_new(c, answer, arg, &out.ack);
    if (rc == 0)
        rc = submit(c, &out);
    if (rc < 0)
        mdg_client_ack_drop(c, out.ack);
    return rc;
}

size_t madang_client_queued(const struct madang_client *c)
{
    size_t below = c->link && c->link->carrier->queued ? c->link->carrier->queued(c->link) : 0;
    if (c->carrier->queued)
        below += c->carrier->queued(c);
    if (c->protocol->queued)
        below += c->protocol->queued(c);
    return c->queued + below;
}

const char *madang_client_position(const struct madang_client *c)
{
    return mdg_client_position(c);
}

const char *const *madang_client_schemes(void)
{
    return mdg_client_schemes;
}

void madang_client_close(struct madang_client *c, int code, const char *reason)
{
    if (c->closing || c->state == MDG_CLIENT_ENDED)
        return;
    c->closing = true;
    c->end_code = code;
    snprintf(c->end_reason, sizeof c->end_reason, "%s", reason ? reason : "");
    if (c->state == MDG_CLIENT_OPEN && !c->queue)
        say_goodbye(c);
    else if (c->state == MDG_CLIENT_WAITING ? c->failures > 0 || !c->queue
                                            : c->state != MDG_CLIENT_OPEN && !c->queue)
        end_soon(c);
}

/* All of them. */

int madang_clients_new(struct madang_clients **out)
{
    static const struct mdg_loop_config config = {.timer_fd = true};
    struct madang_clients *cs = calloc(1, sizeof *cs);
    if (!cs)
        return MDG_E_NO_MEMORY;
    mdg_list_init(&cs->all);
    int rc = mdg_loop_new(&config, &cs->loop);
    if (rc == 0)
        rc = mdg_net_new(cs->loop, NULL, &cs->net);
    if (rc == 0)
        rc = mdg_ws_worker_new(cs->loop, &cs->ws);
    if (rc < 0) {
        madang_clients_free(cs);
        return rc;
    }
    *out = cs;
    return 0;
}

static void on_no_down(struct madang_client *c, int code, const char *reason, int64_t retry_ms,
                       void *arg)
{
    (void)c;
    (void)code;
    (void)reason;
    (void)retry_ms;
    (void)arg;
}

static void on_no_message(struct madang_client *c, const void *data, size_t len, bool binary,
                          void *arg)
{
    (void)c;
    (void)data;
    (void)len;
    (void)binary;
    (void)arg;
}

void madang_clients_free(struct madang_clients *cs)
{
    static const struct madang_client_handlers silent = {.on_down = on_no_down,
                                                         .on_message = on_no_message};
    if (!cs)
        return;
    MDG_LIST_FOR(it, next, &cs->all)
    {
        struct madang_client *c = MDG_CONTAINER_OF(it, struct madang_client, node);
        c->handlers = &silent;
        c->closing = true;
        if (!c->link)
            mdg_client_down(c, MDG_CLOSE_GOING_AWAY, "");
    }
    mdg_net_free(cs->net); /* the rest hears of its end here */
    if (cs->ws)
        mdg_ws_worker_free(cs->ws);
    mdg_loop_free(cs->loop);
    while (cs->ws_options) {
        struct mdg_client_ws_options *next = cs->ws_options->next;
        free(cs->ws_options);
        cs->ws_options = next;
    }
    mdg_tls_context_unref(cs->tls);
    free(cs->tls_ca);
    free(cs);
}

int madang_clients_fd(const struct madang_clients *cs)
{
    return mdg_loop_fd(cs->loop);
}

int madang_clients_step(struct madang_clients *cs, int timeout_ms)
{
    int rc = mdg_loop_step(cs->loop, timeout_ms);
    return rc < 0 && rc != -EINTR ? rc : (int)cs->count;
}

int madang_clients_run(struct madang_clients *cs)
{
    int rc = (int)cs->count;
    while (rc > 0)
        rc = madang_clients_step(cs, -1);
    return rc;
}
