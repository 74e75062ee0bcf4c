/* Wires the STOMP dialect and the queues into workers: configuration, carriers, turns, the way from
 * worker to worker. */
#include "server/stomp.h"
#include "net/addr.h"
#include "net/stream.h"
#include "server/mount.h"
#include "server/sockjs.h"
#include "store/private_file.h"
#include <stdio.h>
#include <stdlib.h>

enum { TICK_MS = 1000, LINGER_S = 5, USERS_FILE_MAX = 16 << 20 };

/* ---- shared ---- */

static enum mdg_stomp_kind kind_of(struct mdg_slice name)
{
    if (mdg_slice_eq(name, MDG_SLICE_LIT("topic")))
        return MDG_STOMP_TOPIC;
    return mdg_slice_eq(name, MDG_SLICE_LIT("queue")) ? MDG_STOMP_QUEUE : MDG_STOMP_REFUSED;
}

/* "/exchange/amq.topic/=topic", "/exchange/amq.direct/=topic:direct.",
 * "/exchange/amq.fanout=topic:amq.fanout" */
static int parse_rule(const char *text, struct mdg_stomp_rule *r)
{
    struct mdg_slice rest = mdg_slice_str(text);
    struct mdg_slice prefix = mdg_slice_split(&rest, '=');
    struct mdg_slice kind = mdg_slice_split(&rest, ':');
    bool family = prefix.len > 1 && prefix.data[prefix.len - 1] == '/';
    *r = (struct mdg_stomp_rule){.prefix = prefix, .kind = kind_of(kind), .whole = !family};
    if (r->kind == MDG_STOMP_REFUSED || prefix.len < 2 || (!family && rest.len == 0))
        return MDG_E_SYNTAX;
    r->shown = prefix;
    r->room = rest;
    if (family)
        r->prefix.len--;
    if (family && rest.len == 0) {
        /* Another name for our own family: messages say that. */
        bool topic = r->kind == MDG_STOMP_TOPIC;
        r->shown = topic ? MDG_SLICE_LIT("/topic/") : MDG_SLICE_LIT("/queue/");
        r->room = topic ? mdg_slice(NULL, 0) : MDG_SLICE_LIT("/queue/");
    }
    return 0;
}

static int read_rules(struct mdg_stomp_shared *s)
{
    const struct mdg_params *p = &s->server->params;
    if (p->stomp_destinations.len > MDG_STOMP_RULES_MAX || p->stomp_hosts.len > MDG_STOMP_RULES_MAX)
        return mdg_server_fail(s->server, MDG_E_TOO_BIG,
                               "stomp_destinations and stomp_hosts take at most %d entries",
                               MDG_STOMP_RULES_MAX);
    for (size_t i = 0; i < p->stomp_destinations.len; i++) {
        if (parse_rule(p->stomp_destinations.items[i], &s->rules[i]) < 0)
            return mdg_server_fail(s->server, MDG_E_SYNTAX,
                                   "stomp_destinations: '%s' is not PREFIX=topic|queue:NAME",
                                   p->stomp_destinations.items[i]);
    }
    for (size_t i = 0; i < p->stomp_hosts.len; i++)
        s->hosts[i] = mdg_slice_str(p->stomp_hosts.items[i]);
    s->config.rules = s->rules;
    s->config.rule_count = p->stomp_destinations.len;
    s->config.vhosts = s->hosts;
    s->config.vhost_count = p->stomp_hosts.len;
    return 0;
}

static int read_users(struct mdg_stomp_shared *s)
{
    const char *path = s->server->params.users_file;
    unsigned line;
    if (!*path)
        return 0;
    FILE *f = fopen(path, "re");
    char *text = malloc(USERS_FILE_MAX);
    size_t len = f && text ? fread(text, 1, USERS_FILE_MAX, f) : 0;
    bool failed = !f || !text || ferror(f);
    if (f)
        fclose(f);
    int err = failed
                  ? mdg_server_fail(s->server, MDG_E_NOT_FOUND, "cannot read the users of %s", path)
                  : mdg_users_parse(s->users, mdg_slice(text, len), &line);
    if (!failed && err < 0)
        mdg_server_fail(s->server, err,
                        "%s, line %u: not name:hash, or a name that is there already", path, line);
    free(text);
    return err;
}

static void fill_config(struct mdg_stomp_shared *s)
{
    const struct mdg_params *p = &s->server->params;
    mdg_stomp_config_init(&s->config);
    s->config.limits.body_bytes_max = p->stomp_body_bytes_max;
    s->config.slashes = p->stomp_slashes;
    s->config.room_headers = p->stomp_room_headers;
    s->config.heartbeat_can_ms = s->config.heartbeat_want_ms = (uint32_t)p->stomp_heartbeat_ms;
    s->config.heartbeat_min_ms = (uint32_t)p->stomp_heartbeat_min_ms;
    s->config.subscriptions_max = (uint32_t)p->rooms_per_session_max;
    s->config.unknown = kind_of(mdg_slice_str(p->stomp_unknown));
    s->config.transaction_bytes_max =
        mdg_max_size(s->config.transaction_bytes_max, p->stomp_body_bytes_max);
    s->queues = (struct mdg_queues_config){
        .queues_max = (uint32_t)p->queues_max,
        .messages_max = (uint32_t)p->queue_messages_max,
        .bytes_max = p->queue_bytes_max,
        .bytes_total_max = p->queue_bytes_total_max,
        .prefetch_max = (uint32_t)p->queue_prefetch_max,
        .tries_max = (uint32_t)p->queue_tries_max,
        .idle_s = (uint32_t)p->queue_idle_s,
        .dead_to = mdg_slice_str(p->queue_dead_letters),
    };
    s->tcp = (struct mdg_tcp_config){.line_bytes_max = 65536,
                                     .out_bytes_max = (uint32_t)p->send_queue_bytes_max,
                                     .linger_s = LINGER_S};
}

/* Beside the rooms' file, not in it: each of them has a writer of its own. */
static int open_store(struct mdg_stomp_shared *s)
{
    char path[4096 + 16], why[400] = "";
    const char *store = s->server->params.store;
    if (!*store)
        return 0;
    snprintf(path, sizeof path, "%s-queues", store);
    mdg_private_file_make(path);
    int err = mdg_queue_db_open(path, &s->db, why, sizeof why);
    return err < 0 ? mdg_server_fail(s->server, err, "store: %s", why) : 0;
}

int mdg_stomp_shared_get(struct madang *server, struct mdg_stomp_shared **out)
{
    *out = server->stomp;
    if (*out)
        return 0;
    struct mdg_stomp_shared *s = calloc(1, sizeof *s);
    if (!s)
        return MDG_E_NO_MEMORY;
    s->server = server;
    mdg_list_init(&s->early_subs);
    fill_config(s);
    int err = mdg_users_new(&s->users);
    if (err == 0)
        err = read_rules(s);
    if (err == 0)
        err = read_users(s);
    if (err == 0)
        err = mdg_users_limit(s->users, (uint32_t)server->params.login_tries_per_minute,
                              (uint32_t)server->params.login_tries_all_per_s);
    if (err == 0)
        err = open_store(s);
    if (err < 0) {
        mdg_stomp_shared_free(s);
        return err;
    }
    server->auth.check_password = mdg_users_check;
    server->auth.users = s->users;
    server->stomp = *out = s;
    return 0;
}

void mdg_stomp_shared_free(struct mdg_stomp_shared *s)
{
    if (!s)
        return;
    mdg_stomp_early_subs_free(s);
    mdg_users_free(s->users);
    mdg_queue_db_close(s->db);
    free(s);
}

/* ---- a worker's part ---- */

static void run_queues(struct mdg_stomp_part *p)
{
    if (mdg_queues_turn(p->queues))
        mdg_timer_start(p->worker->loop, &p->again, 0);
}

static void on_turn(struct mdg_loop *loop, void *arg)
{
    (void)loop;
    run_queues(arg);
}

static void on_again(struct mdg_timer *t, void *arg)
{
    (void)t;
    run_queues(arg);
}

static void on_tick(struct mdg_timer *t, void *arg)
{
    struct mdg_stomp_part *p = arg;
    if (p->worker->index == 0)
        mdg_stomp_app_subs_start(p); /* every worker is there by now */
    mdg_queues_tick(p->queues, mdg_loop_now_ms(p->worker->loop));
    run_queues(p);
    mdg_timer_start(p->worker->loop, t, TICK_MS);
}

static void on_pending(void *arg)
{
    struct mdg_stomp_part *p = arg;
    mdg_loop_defer(p->worker->loop, &p->turn);
}

/* From worker to worker: the operation itself is the loop's node; behind it, where it goes. */
struct envelope {
    struct mdg_post post;
    struct mdg_worker *to;
};
static_assert(sizeof(struct envelope) <= sizeof((struct mdg_queue_op *)0)->node,
              "an operation has room for its envelope");

static void receive(struct mdg_loop *loop, struct mdg_post *post)
{
    struct envelope *e = MDG_CONTAINER_OF(post, struct envelope, post);
    struct mdg_queue_op *op = MDG_CONTAINER_OF(e, struct mdg_queue_op, node);
    (void)loop;
    if (e->to->stomp)
        mdg_queues_accept(e->to->stomp->queues, op);
    else
        mdg_queue_op_drop(op); /* that worker has ended */
}

static void post_op(void *arg, unsigned worker, struct mdg_queue_op *op)
{
    struct mdg_stomp_part *p = arg;
    struct madang *server = p->worker->server;
    struct envelope *e = (struct envelope *)(void *)op->node;
    e->to = &server->workers[worker];
    e->post = (struct mdg_post){.fn = receive};
    if (atomic_load(&server->state) == MDG_SERVER_STOPPED || !e->to->loop)
        mdg_queue_op_drop(op);
    else
        mdg_loop_post_node(e->to->loop, &e->post);
}

/* From the writing thread to the worker. */
static void receive_batch(struct mdg_loop *loop, struct mdg_post *post)
{
    struct envelope *e = MDG_CONTAINER_OF(post, struct envelope, post);
    (void)loop;
    mdg_queue_journal_done(MDG_CONTAINER_OF(e, struct mdg_queue_batch, node));
}

static void post_batch(void *arg, struct mdg_queue_batch *batch)
{
    struct mdg_stomp_part *p = arg;
    struct envelope *e = (struct envelope *)(void *)batch->node;
    e->to = p->worker;
    e->post = (struct mdg_post){.fn = receive_batch};
    mdg_loop_post_node(p->worker->loop, &e->post);
}

static int authenticate(void *arg, const struct mdg_handshake *hs, struct mdg_principal **out)
{
    struct mdg_stomp_part *p = arg;
    return mdg_auth_handshake(&p->worker->server->auth, hs, out);
}

static void random_bytes(void *arg, void *out, size_t len)
{
    struct mdg_stomp_part *p = arg;
    mdg_loop_random(p->worker->loop, out, len);
}

static int make_queues(struct mdg_stomp_part *p)
{
    struct mdg_worker *w = p->worker;
    struct mdg_queues_config config = w->server->stomp->queues;
    uint64_t seed[2];
    config.worker = w->index;
    config.worker_count = w->server->worker_count;
    config.post = post_op;
    config.post_arg = p;
    mdg_loop_random(w->loop, seed, sizeof seed);
    int err = 0;
    if (w->server->stomp->db) {
        err = mdg_queue_journal_new(w->server->stomp->db, post_batch, p, &p->journal);
        config.store = (struct mdg_queue_store){&mdg_queue_db_ops, p->journal};
    }
    if (err == 0)
        err = mdg_queues_new(&config, seed, &p->queues);
    return err < 0 ? err : mdg_durables_new(w->hub, p->queues, seed, &p->durables);
}

int mdg_stomp_part_load(struct mdg_stomp_part *p)
{
    return mdg_queues_load(p->queues);
}

int mdg_stomp_part_new(struct mdg_worker *w, struct mdg_stomp_part **out)
{
    struct mdg_stomp_part *p = calloc(1, sizeof *p);
    if (!p)
        return MDG_E_NO_MEMORY;
    p->worker = w;
    mdg_list_init(&p->app_subs);
    mdg_stomp_server_init(&p->stomp);
    int err = make_queues(p);
    if (err < 0) {
        mdg_stomp_part_free(p);
        return err;
    }
    p->stomp.config = &w->server->stomp->config;
    p->stomp.hub = w->hub;
    p->stomp.queues = p->queues;
    p->stomp.loop = w->loop;
    p->stomp.random = random_bytes;
    p->stomp.authenticate = authenticate;
    p->stomp.arg = p;
    p->stomp.hooks = w->server->stomp->hooks;
    p->turn = (struct mdg_defer){.fn = on_turn, .arg = p};
    mdg_timer_init(&p->again, on_again, p);
    mdg_timer_init(&p->tick, on_tick, p);
    mdg_queues_on_pending(p->queues, on_pending, p);
    mdg_timer_start(w->loop, &p->tick, 0);
    *out = p;
    return 0;
}

void mdg_stomp_part_free(struct mdg_stomp_part *p)
{
    if (!p)
        return;
    mdg_timer_stop(p->worker->loop, &p->tick);
    mdg_timer_stop(p->worker->loop, &p->again);
    if (p->queues) /* the application's subscriptions leave them: no turn comes for that */
        mdg_queues_on_pending(p->queues, NULL, NULL);
    mdg_defer_cancel(&p->turn);
    mdg_stomp_app_subs_free(p);
    mdg_queue_journal_free(p->journal); /* before the queues: they forget what it would answer */
    mdg_durables_free(p->durables);
    mdg_queues_free(p->queues);
    mdg_stomp_server_fini(&p->stomp);
    free(p);
}

/* ---- carriers ---- */

int mdg_stomp_accept_stream(struct mdg_worker *w, struct mdg_stream *s, bool greet)
{
    struct mdg_addr peer;
    struct mdg_stomp *c;
    struct mdg_link *link;
    uint8_t address[64];
    struct mdg_writer to;
    struct mdg_handshake hs = {
        .carrier = "tcp", .secure = mdg_stream_secure(s), .unix_ms = mdg_loop_unix_ms(w->loop)};
    (void)greet; /* in STOMP the client speaks first */
    if (mdg_stream_peer(s, &peer) == 0) {
        mdg_writer_init(&to, address, sizeof address);
        mdg_addr_write_ip(&to, &peer);
        hs.address = mdg_slice(address, mdg_min_size(to.len, sizeof address));
        hs.port = mdg_addr_port(&peer);
    }
    int err = mdg_stomp_new(&w->stomp->stomp, &hs, &c);
    if (err < 0)
        return err;
    err = mdg_tcp_bytes_accept(s, &w->server->stomp->tcp, &mdg_stomp_link_user, c, &link);
    if (err < 0)
        mdg_stomp_free(c);
    else
        mdg_stomp_attach(c, link);
    return err;
}

static int on_upgrade(struct mdg_worker *w, struct mdg_exchange *x, struct mdg_ws_mount *m,
                      struct mdg_slice subprotocol)
{
    struct mdg_stomp *c;
    struct mdg_link *link;
    struct mdg_handshake hs = *mdg_exchange_handshake(x);
    hs.carrier = "ws";
    hs.subprotocol = subprotocol;
    int err = mdg_stomp_new(&w->stomp->stomp, &hs, &c);
    if (err < 0)
        return err;
    err = mdg_ws_accept(w->ws, x, &m->options, &mdg_stomp_link_user, c, &link);
    if (err < 0)
        mdg_stomp_free(c);
    else
        mdg_stomp_attach(c, link);
    return err;
}

static int admit_sockjs(struct mdg_exchange *x, void *arg, void **visitor)
{
    const struct mdg_sockjs_here *here = arg;
    struct mdg_handshake hs = *mdg_exchange_handshake(x);
    struct mdg_stomp *c;
    hs.carrier = "sockjs";
    if (mdg_stomp_new(&here->worker->stomp->stomp, &hs, &c) < 0)
        return 503;
    *visitor = c;
    return 0;
}

static int open_sockjs(struct mdg_link *l, void *visitor, void *arg)
{
    (void)arg;
    l->user = &mdg_stomp_link_user;
    l->user_arg = visitor;
    mdg_stomp_attach(visitor, l);
    return 0;
}

static void drop_sockjs(void *visitor, void *arg)
{
    (void)arg;
    mdg_stomp_free(visitor);
}

static const struct mdg_sockjs_user sockjs_user = {
    .origin_ok = mdg_sockjs_origin_ok,
    .on_handshake = admit_sockjs,
    .on_open = open_sockjs,
    .on_drop = drop_sockjs,
    .home = mdg_sockjs_home,
};

/* ---- mounting ---- */

static int mount_sockjs(struct madang *server, const char *path)
{
    return mdg_server_mount_sockjs_for(server, path, &sockjs_user);
}

static int mount_ws(struct madang *server, const char *path)
{
    static const char *const subprotocols[] = {"v12.stomp", "v11.stomp", "v10.stomp", NULL};
    struct mdg_ws_mount *m = calloc(1, sizeof *m);
    if (!m)
        return MDG_E_NO_MEMORY;
    m->options = server->ws_defaults;
    m->options.subprotocols = subprotocols;
    /* Small frames to many subscribers are not worth a compressor each, and a compressed body could
     * not be sent by reference. */
    m->options.compress = false;
    /* A STOMP frame and its headers may come as one message. */
    m->options.message_bytes_max = mdg_max_size(m->options.message_bytes_max,
                                                server->params.stomp_body_bytes_max +
                                                    server->stomp->config.limits.header_bytes_max);
    m->upgrade = on_upgrade;
    int err = mdg_server_mount_ws(server, path, m);
    if (err < 0)
        free(m);
    return err;
}

static void on_shutdown(struct mdg_worker *w, size_t *left, void *arg)
{
    (void)arg;
    mdg_stomp_close_some(&w->stomp->stomp, "Server shutdown", left);
}

/* Mounts each path of a list that is separated by commas. */
static int mount_each(struct madang *server, const char *list,
                      int (*mount)(struct madang *server, const char *path))
{
    struct mdg_slice rest = mdg_slice_str(list);
    char path[256];
    int err = 0;
    while (err == 0 && rest.len) {
        struct mdg_slice one = mdg_slice_trim(mdg_slice_split(&rest, ','));
        if (one.len >= sizeof path)
            return MDG_E_TOO_BIG;
        snprintf(path, sizeof path, "%.*s", (int)one.len, (const char *)one.data);
        if (one.len)
            err = mount(server, path);
    }
    return err;
}

int mdg_mount_stomp(struct madang *server)
{
    struct mdg_stomp_shared *s;
    if (server->accept_stomp)
        return 0; /* mounted already */
    int err = mdg_stomp_shared_get(server, &s);
    if (err == 0)
        err = mount_each(server, server->params.stomp_paths, mount_ws);
    if (err == 0)
        err = mount_each(server, server->params.stomp_sockjs_paths, mount_sockjs);
    if (err < 0)
        return err;
    server->accept_stomp = mdg_stomp_accept_stream;
    mdg_server_on_shutdown(server, on_shutdown, NULL);
    return 0;
}
