/* Making a client of its options, and freeing it: the URL's carrier and protocol, the texts, the
 * proxy, the trusted certificates. */
#include "client/client.h"
#include <stdlib.h>

enum {
    CONNECT_MS = 10000,
    BUFFER_MAX_BYTES = 1 << 20,
    POSITION_MAX = 16384 /* it goes into a request's line or headers */
};

static const struct mdg_client_carrier *const carriers[MDG_CLIENT_KINDS] = {
    [MDG_CLIENT_WS] = &mdg_client_carrier_ws,
    [MDG_CLIENT_LINES] = &mdg_client_carrier_lines,
    [MDG_CLIENT_BYTES] = &mdg_client_carrier_bytes,
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

void mdg_client_free(struct mdg_loop *loop, void *arg)
{
    struct madang_client *c = arg;
    (void)loop;
    mdg_client_queue_free(c);
    mdg_client_acks_free(c);
    mdg_buf_fini(&c->position);
    free(c->sio_namespace);
    mdg_tls_context_unref(c->tls);
    free((void *)(uintptr_t)c->stomp_headers);
    free_texts(&c->options);
    free(c);
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

/* Texts that go into a request's lines: a line break in one of them would forge others. */
static int check_texts(const struct madang_client_options *o)
{
    const char *const texts[] = {o->subprotocols, o->origin, o->path, o->position};
    for (size_t i = 0; i < MDG_ARRAY_LEN(texts); i++) {
        if (texts[i] && strpbrk(texts[i], "\r\n"))
            return MDG_E_SYNTAX;
    }
    return 0;
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
    mdg_timer_init(&c->timer, mdg_client_on_timer, c);
    mdg_buf_init(&c->position, POSITION_MAX);
    int rc = copy_options(c, options);
    if (rc == 0)
        rc = options->url ? mdg_client_url_parse(&c->url, options->url) : MDG_E_SYNTAX;
    if (rc == 0)
        rc = check_texts(options);
    c->carrier = carriers[c->url.kind];
    c->protocol = protocols[c->url.layer];
    if (rc == 0)
        rc = prepare(c, options);
    if (rc == 0)
        rc = choose_proxy(c, options->proxy);
    if (rc == 0)
        rc = choose_tls(c, options);
    if (rc < 0) {
        mdg_client_free(clients->loop, c);
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

const char *const *madang_client_schemes(void)
{
    return mdg_client_schemes;
}
