/* A connection: packets in, binary ones put together, each handed to the socket of its namespace.
 * What a packet may be is the codec's business, what it may do here and now is this file's. */
#include "base/json.h"
#include "dialect/peer.h"
#include "dialect/sio_impl.h"
#include <stdlib.h>

static const struct mdg_link_user link_user;

static void on_doom(struct mdg_timer *t, void *arg)
{
    struct mdg_sio_worker *w = arg;
    (void)t;
    while (!mdg_list_empty(&w->doomed)) {
        struct mdg_list *at = mdg_list_first(&w->doomed);
        sio_socket_disconnect(MDG_CONTAINER_OF(at, struct mdg_sio_socket, in_doomed),
                              "server namespace disconnect", false);
    }
}

static void on_burst_over(struct mdg_timer *t, void *arg)
{
    (void)t;
    sio_bursts_drop(arg);
}

int mdg_sio_worker_new(struct mdg_loop *loop, struct mdg_hub *hub, unsigned worker,
                       const struct mdg_sio_options *options, const struct mdg_sio_hooks *hooks,
                       void *arg, struct mdg_sio_worker **out)
{
    uint64_t seed[2];
    struct mdg_sio_worker *w = calloc(1, sizeof *w);
    assert(hooks->principal && hooks->random);
    assert(options->recovery_ring <= MDG_SIO_RING_MAX);
    if (!w)
        return MDG_E_NO_MEMORY;
    w->loop = loop;
    w->hub = hub;
    w->options = options;
    w->hooks = hooks;
    w->arg = arg;
    w->number = worker;
    hooks->random(arg, seed, sizeof seed);
    hooks->random(arg, w->seed, sizeof w->seed);
    mdg_map_init(&w->nsps, seed);
    mdg_map_init(&w->by_sid, seed);
    mdg_map_init(&w->by_pid, seed);
    mdg_list_init(&w->clients);
    mdg_list_init(&w->doomed);
    mdg_timer_init(&w->doom_timer, on_doom, w);
    mdg_timer_init(&w->burst_timer, on_burst_over, w);
    *out = w;
    return 0;
}

void mdg_sio_worker_stop(struct mdg_sio_worker *w)
{
    if (w)
        w->stopping = true;
}

static void end_clients(struct mdg_sio_worker *w);

void mdg_sio_worker_free(struct mdg_sio_worker *w)
{
    if (!w)
        return;
    size_t at = 0;
    struct sio_nsp *n;
    w->stopping = true;
    end_clients(w);
    mdg_timer_stop(w->loop, &w->doom_timer);
    mdg_timer_stop(w->loop, &w->burst_timer);
    sio_bursts_drop(w);
    while ((n = mdg_map_next(&w->nsps, &at))) {
        MDG_LIST_FOR(it, next, &n->sockets)
        sio_socket_free(MDG_CONTAINER_OF(it, struct mdg_sio_socket, in_nsp));
        free(n);
    }
    mdg_map_fini(&w->nsps);
    mdg_map_fini(&w->by_sid);
    mdg_map_fini(&w->by_pid);
    free(w);
}

/* The namespace as this worker has it, made on first use; NULL: there is none of that name. */
struct sio_nsp *sio_nsp_get(struct mdg_sio_worker *w, struct mdg_slice name)
{
    void *data = NULL;
    struct sio_nsp *n = mdg_map_get(&w->nsps, name);
    if (n)
        return n;
    if (w->nsps.len >= w->options->namespaces_max ||
        (w->hooks->namespace_known && !w->hooks->namespace_known(w->arg, name, &data)))
        return NULL;
    n = calloc(1, sizeof *n + name.len + 1);
    if (!n)
        return NULL;
    n->w = w;
    n->data = data;
    n->name_len = (uint16_t)name.len;
    memcpy(n->name, name.data, name.len);
    mdg_list_init(&n->sockets);
    if (mdg_map_put(&w->nsps, sio_nsp_name(n), n) < 0) {
        free(n);
        return NULL;
    }
    return n;
}

static void on_connect_timeout(struct mdg_timer *t, void *arg)
{
    struct mdg_sio_client *c = arg;
    (void)t;
    if (c->socket_count == 0)
        sio_client_close(c, "forced server close");
}

void sio_client_settled(struct mdg_sio_client *c)
{
    if (!c->connect_timer)
        return;
    mdg_timer_stop(c->w->loop, c->connect_timer);
    free(c->connect_timer);
    c->connect_timer = NULL;
}

static struct mdg_slice put_text(char **at, struct mdg_slice s)
{
    struct mdg_slice copy = mdg_slice(*at, s.len);
    if (s.len)
        memcpy(*at, s.data, s.len);
    *at += s.len;
    return s.data ? copy : s;
}

/* A copy that lives as long as the client, in one piece. */
static struct mdg_sio_kept_handshake *keep_handshake(const struct mdg_handshake *hs, bool headers)
{
    size_t n = headers ? hs->header_count : 0;
    size_t bytes = hs->address.len + hs->method.len + hs->path.len + hs->query.len;
    for (size_t i = 0; i < n; i++)
        bytes += hs->headers[i].name.len + hs->headers[i].value.len;
    struct mdg_sio_kept_handshake *k = malloc(sizeof *k + bytes);
    struct mdg_handshake_header *rows = n ? calloc(n, sizeof *rows) : NULL;
    if (!k || (n && !rows)) {
        free(k);
        free(rows);
        return NULL;
    }
    char *at = k->text;
    k->hs = (struct mdg_handshake){.carrier = hs->carrier,
                                   .port = hs->port,
                                   .secure = hs->secure,
                                   .unix_ms = hs->unix_ms,
                                   .headers = rows,
                                   .header_count = n};
    k->hs.address = put_text(&at, hs->address);
    k->hs.method = put_text(&at, hs->method);
    k->hs.path = put_text(&at, hs->path);
    k->hs.query = put_text(&at, hs->query);
    for (size_t i = 0; i < n; i++) {
        rows[i].name = put_text(&at, hs->headers[i].name);
        rows[i].value = put_text(&at, hs->headers[i].value);
    }
    k->headers = rows;
    return k;
}

void mdg_sio_kept_handshake_free(struct mdg_sio_kept_handshake *k)
{
    if (!k)
        return;
    free(k->headers);
    free(k);
}

static struct mdg_sio_client *client_new(struct mdg_sio_worker *w, struct mdg_link *l,
                                         struct mdg_principal *who,
                                         struct mdg_sio_kept_handshake *hs, unsigned protocol)
{
    struct mdg_sio_client *c = calloc(1, sizeof *c);
    struct mdg_timer *t = malloc(sizeof *t); /* it goes with the first namespace */
    if (!c || !t) {
        free(c);
        free(t);
        return NULL;
    }
    c->who = who;
    c->handshake = hs;
    c->link = l;
    c->w = w;
    c->protocol = (uint8_t)protocol;
    mdg_list_init(&c->sockets);
    mdg_list_push(&w->clients, &c->in_worker);
    c->connect_timer = t;
    mdg_timer_init(t, on_connect_timeout, c);
    mdg_timer_start(w->loop, t, w->options->connect_timeout_ms);
    l->user = &link_user;
    l->user_arg = c;
    return c;
}

int mdg_sio_open(struct mdg_sio_worker *w, struct mdg_link *l, const struct mdg_handshake *hs,
                 unsigned protocol)
{
    const struct mdg_sio_options *o = w->options;
    struct mdg_sio_kept_handshake *kept = NULL;
    struct mdg_sio_client *c;
    assert(protocol == 4 || protocol == 5);
    struct mdg_principal *who = w->hooks->principal(w->arg, hs);
    if (who && o->keep_handshake)
        kept = keep_handshake(hs, o->keep_headers);
    if (!who || (o->keep_handshake && !kept) || !(c = client_new(w, l, who, kept, protocol))) {
        mdg_principal_unref(who);
        mdg_sio_kept_handshake_free(kept);
        return MDG_E_DENIED;
    }
    if (protocol == 4) { /* socket.io#4300: old clients are in "/" without asking */
        struct sio_nsp *main = sio_nsp_get(w, MDG_SLICE_LIT("/"));
        if (main)
            sio_socket_connect(c, main, mdg_slice(NULL, 0));
    }
    return 0;
}

int mdg_sio_adopt(struct mdg_sio_worker *w, struct mdg_link *l, struct mdg_principal *who,
                  struct mdg_sio_kept_handshake *hs)
{
    if (client_new(w, l, who, hs, 5))
        return 0;
    mdg_principal_unref(who);
    mdg_sio_kept_handshake_free(hs);
    return MDG_E_NO_MEMORY;
}

/* A socket that another worker remembers: the whole connection goes there. True: it is gone. */
static bool goes_elsewhere(struct mdg_sio_client *c, const struct mdg_sio_packet *p,
                           struct mdg_slice text)
{
    struct mdg_sio_worker *w = c->w;
    int home = w->options->recovery && c->protocol == 5 && c->socket_count == 0
                   ? sio_recovery_worker(p->data)
                   : -1;
    if (home < 0 || (unsigned)home == w->number || !w->hooks->on_elsewhere ||
        w->hooks->on_elsewhere(w->arg, (unsigned)home, c->link, c->who, c->handshake, text) < 0)
        return false;
    sio_client_settled(c);
    mdg_list_remove(&c->in_worker);
    free(c);
    return true;
}

int sio_client_send_text(struct mdg_sio_client *c, struct mdg_slice text)
{
    const struct mdg_unit_meta meta = {.binary = false};
    return c->link ? mdg_link_send_unit(c->link, text, &meta) : MDG_E_CLOSED;
}

static void close_link(struct mdg_sio_client *c, const char *reason, int code,
                       struct mdg_slice text)
{
    if (!c->reason)
        c->reason = reason;
    c->closing = true;
    if (c->link)
        mdg_link_close(c->link, code, text);
}

void sio_client_close(struct mdg_sio_client *c, const char *reason)
{
    close_link(c, reason, MDG_CLOSE_NORMAL, mdg_slice(NULL, 0));
}

void sio_client_end(struct mdg_sio_client *c, int err)
{
    close_link(c, "transport error", mdg_peer_close_code(err),
               err == MDG_E_FULL ? MDG_SLICE_LIT("too slow") : mdg_slice_str(mdg_strerror(err)));
}

/* PITFALLS 15: what is not allowed in this state ends the connection. */
static int wrong_state(struct mdg_sio_client *c)
{
    c->reason = "forced server close";
    return MDG_E_PROTO;
}

static void refuse_namespace(struct mdg_sio_client *c, struct mdg_slice nsp)
{
    uint8_t room[512];
    struct mdg_writer w;
    mdg_writer_init(&w, room, sizeof room);
    mdg_sio_write_head(&w, MDG_SIO_CONNECT_ERROR, 0, nsp, NULL);
    mdg_write_str(&w, c->protocol == 4 ? "\"Invalid namespace\""
                                       : "{\"message\":\"Invalid namespace\"}");
    if (!mdg_writer_fits(&w) || sio_client_send_text(c, mdg_slice(room, w.len)) < 0)
        sio_client_close(c, "forced server close");
}

/* The query string of an old client's namespace stands where the auth object stands now. */
static struct mdg_slice query_as_auth(struct mdg_slice query, uint8_t *room, size_t size)
{
    struct mdg_writer w;
    bool first = true;
    mdg_writer_init(&w, room, size);
    mdg_write_u8(&w, '{');
    while (query.data) {
        struct mdg_slice value = mdg_slice_split(&query, '&');
        struct mdg_slice key = mdg_slice_split(&value, '=');
        if (!key.len)
            continue;
        if (!first)
            mdg_write_u8(&w, ',');
        first = false;
        mdg_write_json_string(&w, key);
        mdg_write_u8(&w, ':');
        mdg_write_json_string(&w, value);
    }
    mdg_write_u8(&w, '}');
    return mdg_writer_fits(&w) ? mdg_slice(room, w.len) : mdg_slice(NULL, 0);
}

static int on_connect(struct mdg_sio_client *c, const struct mdg_sio_packet *p)
{
    uint8_t room[1024];
    struct mdg_slice auth = p->data;
    if (c->protocol == 4 && p->query.len)
        auth = query_as_auth(p->query, room, sizeof room);
    struct sio_nsp *nsp = sio_nsp_get(c->w, p->nsp);
    if (!nsp) {
        refuse_namespace(c, p->nsp);
        return 0;
    }
    if (c->socket_count >= c->w->options->namespaces_per_client_max)
        return wrong_state(c);
    sio_socket_connect(c, nsp, auth);
    return 0;
}

/* The event's name as plain text, the arguments as an array of their own: both in one buffer. */
static int open_args(const struct mdg_sio_packet *p, struct mdg_buf *room, struct mdg_sio_args *out)
{
    struct mdg_slice args = mdg_sio_is_event(p->type) ? mdg_sio_args(p) : p->data;
    size_t need = args.len + p->event.len + 2;
    struct mdg_writer w;
    mdg_buf_init(room, need);
    if (mdg_buf_reserve(room, need) < 0)
        return MDG_E_NO_MEMORY;
    if (!mdg_sio_is_event(p->type)) {
        out->args = args;
        return 0;
    }
    mdg_writer_init(&w, room->data, need);
    mdg_write_u8(&w, '[');
    mdg_write_slice(&w, args);
    mdg_write_u8(&w, ']');
    out->args = mdg_slice(room->data, w.len);
    int64_t n = mdg_json_unescape(p->event, room->data + w.len, need - w.len);
    if (n < 0)
        return MDG_E_PROTO;
    out->event = mdg_slice(room->data + w.len, (size_t)n);
    return 0;
}

/* A whole packet with its attachments, for a connected socket. */
static int dispatch(struct mdg_sio_client *c, struct mdg_sio_socket *s,
                    const struct mdg_sio_packet *p, struct mdg_chunk *attachments)
{
    struct mdg_buf room;
    struct mdg_sio_args args = {.attachments = attachments,
                                .attachment_count = p->attachments,
                                .wants_ack = p->has_id && mdg_sio_is_event(p->type),
                                .ack_id = p->id};
    int err = open_args(p, &room, &args);
    if (err == 0 && s->state == SIO_CONNECTED) {
        if (mdg_sio_is_ack(p->type))
            sio_acks_answer(s, p->id, &args);
        else if (c->w->hooks->on_event)
            c->w->hooks->on_event(c->w->arg, s, &args);
    }
    mdg_buf_fini(&room);
    return err;
}

static void pending_free(struct mdg_sio_client *c)
{
    struct sio_pending *p = c->pending;
    c->pending = NULL;
    if (!p)
        return;
    for (size_t i = 0; i < p->have; i++)
        mdg_blob_unref(p->attachments[i].blob);
    free(p->text);
    free(p);
}

/* Moves a slice of the packet's text to the copy that is kept. */
static void rebase(struct mdg_slice *s, const uint8_t *from, const uint8_t *to)
{
    if (s->data && s->len)
        s->data = to + (s->data - from);
}

static int pending_start(struct mdg_sio_client *c, const struct mdg_sio_packet *packet,
                         struct mdg_slice text)
{
    struct sio_pending *p = calloc(1, sizeof *p + packet->attachments * sizeof p->attachments[0]);
    uint8_t *copy = malloc(text.len);
    if (!p || !copy) {
        free(p);
        free(copy);
        return MDG_E_NO_MEMORY;
    }
    memcpy(copy, text.data, text.len);
    p->text = copy;
    p->packet = *packet;
    if (packet->nsp.data >= text.data && packet->nsp.data < text.data + text.len)
        rebase(&p->packet.nsp, text.data, copy);
    rebase(&p->packet.data, text.data, copy);
    rebase(&p->packet.event, text.data, copy);
    c->pending = p;
    return 0;
}

static int on_attachment(struct mdg_sio_client *c, struct mdg_input in)
{
    struct sio_pending *p = c->pending;
    if (!p) /* "got binary data when not reconstructing a packet" */
        return MDG_E_PROTO;
    p->bytes += in.len;
    if (p->bytes > c->w->options->attachment_bytes_max)
        return MDG_E_TOO_BIG;
    struct mdg_blob *blob = mdg_blob_copy(mdg_slice(in.data, in.len));
    if (!blob)
        return MDG_E_NO_MEMORY;
    p->attachments[p->have++] = mdg_chunk_all(blob);
    if (p->have < p->packet.attachments)
        return 0;
    c->pending = NULL; /* the upcall may close the connection */
    struct mdg_sio_socket *s = sio_client_socket(c, p->packet.nsp);
    int err = s ? dispatch(c, s, &p->packet, p->attachments) : 0;
    for (size_t i = 0; i < p->have; i++)
        mdg_blob_unref(p->attachments[i].blob);
    free(p->text);
    free(p);
    return err;
}

static int on_packet(struct mdg_sio_client *c, const struct mdg_sio_packet *p,
                     struct mdg_slice text)
{
    struct mdg_sio_socket *s = sio_client_socket(c, p->nsp);
    if (p->type == MDG_SIO_CONNECT) {
        /* An old client confirms the namespace that it is in already. */
        if (s && c->protocol == 4 && mdg_slice_eq(p->nsp, MDG_SLICE_LIT("/")))
            return 0;
        if (s)
            return wrong_state(c);
        return goes_elsewhere(c, p, text) ? 0 : on_connect(c, p);
    }
    if (p->type == MDG_SIO_CONNECT_ERROR || !s || s->state == SIO_CONNECTING)
        return wrong_state(c);
    if (p->type == MDG_SIO_DISCONNECT) {
        if (s->state == SIO_CONNECTED)
            sio_socket_disconnect(s, "client namespace disconnect", false);
        return 0;
    }
    return p->attachments ? pending_start(c, p, text) : dispatch(c, s, p, NULL);
}

static int on_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    struct mdg_sio_client *c = l->user_arg;
    struct mdg_sio_packet packet;
    struct mdg_slice text = mdg_slice(in.data, in.len);
    if (c->closing)
        return 0;
    if (binary)
        return on_attachment(c, in);
    if (c->pending) /* "got plaintext data when reconstructing a packet" */
        return MDG_E_PROTO;
    int err = mdg_sio_dec(text, c->protocol, &c->w->options->limits, &packet);
    return err < 0 ? err : on_packet(c, &packet, text);
}

static void on_writable(struct mdg_link *l)
{
    struct mdg_sio_client *c = l->user_arg;
    MDG_LIST_FOR(it, next, &c->sockets)
    {
        struct mdg_sio_socket *s = MDG_CONTAINER_OF(it, struct mdg_sio_socket, in_client);
        MDG_SESSION_FOR(m, &s->session)
        mdg_hub_resume(m);
    }
}

static void on_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    struct mdg_sio_client *c = l->user_arg;
    char words[48];
    (void)code;
    size_t n = mdg_min_size(reason.len, sizeof words - 1);
    if (n)
        memcpy(words, reason.data, n);
    words[n] = '\0';
    c->link = NULL;
    c->closing = true;
    pending_free(c);
    sio_client_settled(c);
    while (!mdg_list_empty(&c->sockets)) {
        struct mdg_list *at = mdg_list_first(&c->sockets);
        struct mdg_sio_socket *s = MDG_CONTAINER_OF(at, struct mdg_sio_socket, in_client);
        sio_socket_disconnect(s, c->reason ? c->reason : words, true);
    }
    mdg_list_remove(&c->in_worker);
    mdg_principal_unref(c->who);
    mdg_sio_kept_handshake_free(c->handshake);
    free(c);
}

static const struct mdg_link_user link_user = {on_input, on_writable, on_close};

/* A link that outlives its client: one to another worker, whose last word is still on the way. */
static int nobody_input(struct mdg_link *l, struct mdg_input in, bool binary)
{
    (void)l, (void)in, (void)binary;
    return MDG_E_CLOSED;
}

static void nobody_writable(struct mdg_link *l)
{
    (void)l;
}

static void nobody_close(struct mdg_link *l, int code, struct mdg_slice reason)
{
    (void)l, (void)code, (void)reason;
}

static const struct mdg_link_user nobody = {nobody_input, nobody_writable, nobody_close};

static void end_clients(struct mdg_sio_worker *w)
{
    while (!mdg_list_empty(&w->clients)) {
        struct mdg_list *at = mdg_list_first(&w->clients);
        struct mdg_link *l = MDG_CONTAINER_OF(at, struct mdg_sio_client, in_worker)->link;
        on_close(l, MDG_CLOSE_GOING_AWAY, MDG_SLICE_LIT("server shutting down"));
        l->user = &nobody;
    }
}
