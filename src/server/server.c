/* The life of a server: from a configuration to running workers and back. */
#include "server/server.h"
#include "broker/workers.h"
#include "net/net.h"
#include "net/tls.h"
#include "server/memory.h"
#include "server/room_store.h"
#include "server/sockjs.h"
#include "server/stomp.h"
#include "server/systemd.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

int mdg_server_fail(struct madang *server, int err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(server->error_text, sizeof server->error_text, fmt, args);
    va_end(args);
    return err;
}

int mdg_server_mount(struct madang *server, const char *method, const char *pattern,
                     const struct mdg_http_handler *handler, void *arg)
{
    struct mdg_http_mount *m = calloc(1, sizeof *m);
    if (!m)
        return MDG_E_NO_MEMORY;
    *m = (struct mdg_http_mount){.handler = handler, .arg = arg};
    int err = mdg_routes_add(&server->routes, MDG_ROUTE_HTTP, method, pattern, m);
    if (err < 0)
        free(m);
    return err;
}

int mdg_server_mount_ws(struct madang *server, const char *path, struct mdg_ws_mount *m)
{
    return mdg_routes_add(&server->routes, MDG_ROUTE_WS, "GET", path, m);
}

void mdg_server_on_shutdown(struct madang *server, mdg_shutdown_fn *fn, void *arg)
{
    assert(server->shutdown_hook_count < MDG_ARRAY_LEN(server->shutdown_hooks));
    server->shutdown_hooks[server->shutdown_hook_count] = fn;
    server->shutdown_args[server->shutdown_hook_count++] = arg;
}

void mdg_server_on_start(struct madang *server, int (*fn)(struct madang *server, void *arg),
                         void *arg)
{
    assert(server->start_hook_count < MDG_ARRAY_LEN(server->start_hooks));
    server->start_hooks[server->start_hook_count] = fn;
    server->start_args[server->start_hook_count++] = arg;
}

void mdg_server_on_fini(struct madang *server, void (*fini)(struct mdg_worker *w, void *arg),
                        void (*free)(void *arg), void *arg)
{
    assert(server->fini_hook_count < MDG_ARRAY_LEN(server->fini_hooks));
    server->fini_hooks[server->fini_hook_count] = fini;
    server->fini_args[server->fini_hook_count++] = arg;
    server->free_hooks[server->free_hook_count] = free;
    server->free_args[server->free_hook_count++] = arg;
}

/* Sockets that systemd passed on take the place of the default address. */
static int take_sockets(struct madang *server)
{
    int n = server->params.signals && !server->params.listen.replaced ? mdg_systemd_sockets() : 0;
    if (n == 0)
        return 0;
    server->binds = calloc((size_t)n, sizeof *server->binds);
    if (!server->binds)
        return mdg_server_fail(server, MDG_E_NO_MEMORY, "the listeners: out of memory");
    for (int i = 0; i < n; i++) {
        struct mdg_bind *b = &server->binds[server->bind_count++];
        *b = (struct mdg_bind){.kind = MDG_BIND_ALL, .inherited_fd = MDG_SYSTEMD_FIRST_FD + i};
    }
    return n;
}

static int parse_binds(struct madang *server)
{
    const struct mdg_strings *listen = &server->params.listen;
    char why[300];
    int taken = take_sockets(server);
    if (taken != 0)
        return taken < 0 ? taken : 0;
    server->binds = calloc(listen->len ? listen->len : 1, sizeof *server->binds);
    if (!server->binds)
        return mdg_server_fail(server, MDG_E_NO_MEMORY, "the listeners: out of memory");
    for (size_t i = 0; i < listen->len; i++) {
        int err =
            mdg_bind_parse(&server->binds[i], mdg_slice_str(listen->items[i]), why, sizeof why);
        if (err < 0)
            return mdg_server_fail(server, err, "%s", why);
        server->bind_count++;
    }
    return 0;
}

static int parse_trusted(struct madang *server)
{
    const struct mdg_strings *list = &server->params.trusted_proxies;
    server->trusted = calloc(list->len ? list->len : 1, sizeof *server->trusted);
    if (!server->trusted)
        return mdg_server_fail(server, MDG_E_NO_MEMORY, "trusted_proxies: out of memory");
    for (size_t i = 0; i < list->len; i++) {
        int err = mdg_cidr_parse(&server->trusted[i], mdg_slice_str(list->items[i]));
        if (err < 0)
            return mdg_server_fail(server, err,
                                   "trusted_proxies: '%s' is not a network such as 10.0.0.0/8",
                                   list->items[i]);
        server->trusted_count++;
    }
    return 0;
}

static void fill_configs(struct madang *server)
{
    const struct mdg_params *p = &server->params;
    server->http_config = (struct mdg_http_config){
        .head_bytes_max = p->http_head_bytes_max,
        .target_bytes_max = p->http_target_bytes_max,
        .header_count_max = (unsigned)p->http_headers_max,
        .body_bytes_max = p->http_body_bytes_max,
        .head_timeout_s = (uint32_t)p->http_head_timeout_s,
        .body_timeout_s = (uint32_t)p->http_body_timeout_s,
        .idle_timeout_s = (uint32_t)p->http_idle_timeout_s,
        .out_bytes_max = p->send_queue_bytes_max,
        .trusted_proxies = server->trusted,
        .trusted_proxy_count = server->trusted_count,
    };
    server->ws_defaults = (struct mdg_ws_options){
        .message_bytes_max = p->ws_message_bytes_max,
        .out_bytes_max = (uint32_t)p->send_queue_bytes_max,
        .ping_interval_s = (uint32_t)p->ws_ping_interval_s,
        .ping_timeout_s = (uint32_t)p->ws_ping_timeout_s,
        .close_timeout_s = (uint32_t)p->ws_close_timeout_s,
        .compress_bytes_min = (uint32_t)p->ws_compress_bytes_min,
        .compress = p->ws_compression,
        .context_takeover = p->ws_context_takeover,
        .window_bits = (uint8_t)p->ws_window_bits,
    };
}

/* The CPUs that the process may run on, not those that the machine has. */
static unsigned default_workers(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > MDG_SERVER_WORKERS_MAX ? MDG_SERVER_WORKERS_MAX : (unsigned)n;
}

int madang_new(const struct madang_config *config, struct madang **out)
{
    struct madang *server = calloc(1, sizeof *server);
    char why[300];
    *out = NULL;
    if (!server)
        return MDG_E_NO_MEMORY;
    int err = mdg_params_copy(&server->params, mdg_config_params(config));
    if (err < 0) {
        free(server);
        return err;
    }
    *out = server; /* also on an error from here on: madang_error_text has the words */
    const struct mdg_params *p = &server->params;
    mdg_logger_init(&server->log, p->log_level, p->log_format);
    server->worker_count = p->workers ? (unsigned)p->workers : default_workers();
    err = parse_binds(server);
    if (err == 0)
        err = parse_trusted(server);
    if (err < 0)
        return err;
    fill_configs(server);
    err = mdg_state_dir(p->state_dir, server->state_dir, sizeof server->state_dir, why, sizeof why);
    if (err == 0)
        err = mdg_auth_init(&server->auth, p, server->state_dir, why, sizeof why);
    server->auth.on_oust = mdg_server_oust;
    server->auth.on_oust_arg = server;
    return err < 0 ? mdg_server_fail(server, err, "%s", why) : 0;
}

/* A server needs descriptors: the soft limit is raised to what the administrator allows. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Every send says MSG_NOSIGNAL; OpenSSL and a full log pipe do not. */
static void ignore_broken_pipes(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
}

static void fill_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

static void block_signals(void)
{
    sigset_t set;
    fill_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static int make_tls(struct madang *server)
{
    struct mdg_params *p = &server->params;
    char cert[4200], key[4200], why[400] = "";
    struct mdg_tls_cert_files files[16];
    size_t n = 0;
    if (p->tls_cert.len != p->tls_key.len || p->tls_cert.len > MDG_ARRAY_LEN(files))
        return mdg_server_fail(server, MDG_E_SYNTAX,
                               "tls_cert and tls_key need the same number of files (at most %zu)",
                               MDG_ARRAY_LEN(files));
    for (; n < p->tls_cert.len; n++)
        files[n] = (struct mdg_tls_cert_files){p->tls_cert.items[n], p->tls_key.items[n]};
    if (n == 0 && p->tls_dev) {
        snprintf(cert, sizeof cert, "%s/dev-cert.pem", server->state_dir);
        snprintf(key, sizeof key, "%s/dev-key.pem", server->state_dir);
        int err = access(cert, R_OK) == 0 && access(key, R_OK) == 0
                      ? 0
                      : mdg_tls_dev_cert(cert, key, NULL);
        if (err < 0)
            return mdg_server_fail(server, err, "cannot make a certificate in %s: %s",
                                   server->state_dir, mdg_strerror(err));
        files[n++] = (struct mdg_tls_cert_files){cert, key};
    }
    for (size_t i = 0; n == 0 && i < server->bind_count; i++) {
        if (server->binds[i].kind == MDG_BIND_HTTPS)
            return mdg_server_fail(server, MDG_E_SYNTAX,
                                   "https:// needs --tls-cert FILE and --tls-key FILE, or "
                                   "--tls-dev");
    }
    if (n == 0)
        return 0;
    struct mdg_tls_config config = {.certs = files, .certs_len = n};
    int err = mdg_tls_context_new(&config, &server->tls, why, sizeof why);
    return err < 0 ? mdg_server_fail(server, err, "TLS: %s", why) : 0;
}

static int make_workers(struct madang *server)
{
    uint64_t seed[2];
    server->workers = calloc(server->worker_count, sizeof *server->workers);
    if (!server->workers || getrandom(seed, sizeof seed, 0) != sizeof seed)
        return MDG_E_NO_MEMORY;
    if (server->params.connections_per_address_max) {
        server->accounts =
            mdg_accounts_new((uint32_t)server->params.connections_per_address_max, seed);
        if (!server->accounts)
            return MDG_E_NO_MEMORY;
    }
    int err = mdg_workers_new(server->worker_count, seed, &server->brokers);
    if (err < 0)
        return err;
    for (unsigned i = 0; i < server->worker_count; i++) {
        struct mdg_worker *w = &server->workers[i];
        err = mdg_worker_init(w, server, i);
        if (err == 0)
            err = mdg_workers_attach(server->brokers, i, w->loop, w->hub);
        if (err < 0)
            return mdg_server_fail(server, err, "cannot set up a worker: %s", mdg_strerror(err));
    }
    for (unsigned i = 0; server->stomp && i < server->worker_count; i++) {
        err = mdg_stomp_part_load(server->workers[i].stomp);
        if (err < 0)
            return mdg_server_fail(server, err, "cannot read the stored queues: %s",
                                   mdg_strerror(err));
    }
    return 0;
}

static int spawn_workers(struct madang *server)
{
    atomic_store(&server->workers_alive, server->worker_count);
    atomic_store(&server->state, MDG_SERVER_RUNNING);
    for (unsigned i = server->params.embedded ? 1 : 0; i < server->worker_count; i++) {
        int err = mdg_worker_spawn(&server->workers[i]);
        if (err < 0)
            return mdg_server_fail(server, err, "cannot start a thread: %s", mdg_strerror(err));
    }
    if (server->params.embedded) {
        server->workers[0].thread = pthread_self();
        server->workers[0].is_embedded = true;
    }
    return 0;
}

static void say_started(struct madang *server)
{
    char workers[16];
    snprintf(workers, sizeof workers, "%u", server->worker_count);
    for (size_t i = 0; i < server->bind_count; i++)
        mdg_log(&server->log, MDG_LOG_INFO, "listening", "address", server->addresses[i], NULL);
    mdg_log(&server->log, MDG_LOG_INFO, "started", "version", MADANG_VERSION, "workers", workers,
            "send_path", mdg_net_send_path(server->workers[0].net), "state", server->state_dir,
            NULL);
}

int madang_start(struct madang *server)
{
    struct timespec now;
    if (server->workers)
        return mdg_server_fail(server, MDG_E_UNSUPPORTED, "the server was started already");
    ignore_broken_pipes();
    if (server->params.signals)
        block_signals(); /* before there are threads: from here on madang_run takes them */
    raise_descriptor_limit();
    if (server->params.memory_bytes_max == 0)
        server->params.memory_bytes_max = mdg_memory_default_max();
    clock_gettime(CLOCK_REALTIME, &now);
    server->started_unix_ms = (uint64_t)now.tv_sec * 1000;
    int err = make_tls(server);
    if (err == 0)
        err = make_workers(server);
    if (err == 0)
        err = mdg_room_store_open(server);
    for (size_t i = 0; err == 0 && i < server->start_hook_count; i++)
        err = server->start_hooks[i](server, server->start_args[i]);
    if (err == 0)
        err = mdg_ports_open(server);
    if (err == 0)
        err = spawn_workers(server);
    if (err < 0) {
        if (!server->error_text[0])
            mdg_server_fail(server, err, "%s", mdg_strerror(err));
        return err;
    }
    say_started(server);
    if (server->params.signals)
        mdg_systemd_notify("READY=1");
    return 0;
}

void madang_stop(struct madang *server)
{
    int running = MDG_SERVER_RUNNING;
    if (!atomic_compare_exchange_strong(&server->state, &running, MDG_SERVER_STOPPING))
        return;
    for (unsigned i = 0; i < server->worker_count; i++)
        mdg_worker_stop(&server->workers[i]);
}

static void reload(struct madang *server)
{
    char why[400] = "";
    if (!server->tls)
        return;
    int err = mdg_tls_context_reload(server->tls, why, sizeof why);
    if (err < 0)
        mdg_log(&server->log, MDG_LOG_ERROR, "certificates not reloaded", "why", why, NULL);
    else
        mdg_log(&server->log, MDG_LOG_INFO, "certificates reloaded", NULL);
}

/* The main thread waits for signals while the workers work. */
static void wait_for_signals(struct madang *server, const sigset_t *set)
{
    struct timespec slice = {0, 200 * 1000 * 1000};
    while (atomic_load(&server->state) != MDG_SERVER_STOPPED) {
        int got = sigtimedwait(set, NULL, &slice);
        if (got == SIGHUP) {
            reload(server);
        } else if (got == SIGTERM || got == SIGINT) {
            bool again = atomic_load(&server->state) == MDG_SERVER_STOPPING;
            mdg_log(&server->log, MDG_LOG_INFO, again ? "stopping at once" : "stopping", NULL);
            mdg_systemd_notify("STOPPING=1");
            madang_stop(server);
            for (unsigned i = 0; again && i < server->worker_count; i++)
                mdg_loop_stop(server->workers[i].loop);
            if (again)
                break;
        }
    }
}

int madang_run(struct madang *server)
{
    sigset_t set;
    bool signals = server->params.signals;
    if (server->params.embedded)
        return mdg_server_fail(server, MDG_E_UNSUPPORTED,
                               "an embedded server is driven with madang_step");
    fill_signals(&set);
    int err = server->workers ? 0 : madang_start(server);
    if (err == 0 && signals)
        wait_for_signals(server, &set);
    for (unsigned i = 0; err == 0 && i < server->worker_count; i++)
        mdg_worker_join(&server->workers[i]);
    if (err == 0)
        mdg_log(&server->log, MDG_LOG_INFO, "stopped", NULL);
    return err;
}

static void free_mounts(struct madang *server)
{
    for (size_t i = 0; i < server->routes.len; i++) {
        struct mdg_route *route = &server->routes.items[i];
        if (route->kind == MDG_ROUTE_WS)
            mdg_ws_mount_free(route->mount);
        else
            mdg_http_mount_free(route->mount);
    }
    mdg_routes_fini(&server->routes);
}

void madang_free(struct madang *server)
{
    if (!server)
        return;
    madang_stop(server);
    for (unsigned i = 0; server->workers && i < server->worker_count; i++)
        mdg_worker_join(&server->workers[i]);
    mdg_room_store_stop(server->room_store);
    for (unsigned i = 0; server->workers && i < server->worker_count; i++)
        mdg_worker_end(&server->workers[i]);
    if (server->workers)
        mdg_workers_free_loops(server->workers, server->worker_count);
    mdg_room_store_free(server->room_store);
    for (unsigned i = 0; server->workers && i < server->worker_count; i++)
        mdg_worker_fini(&server->workers[i]);
    free(server->workers);
    for (size_t i = 0; i < server->free_hook_count; i++)
        server->free_hooks[i](server->free_args[i]);
    mdg_workers_free(server->brokers);
    for (size_t i = 0; server->addresses && i < server->bind_count; i++)
        free(server->addresses[i]);
    free(server->addresses);
    if (server->accounts)
        mdg_accounts_free(server->accounts);
    if (server->tls)
        mdg_tls_context_unref(server->tls);
    free_mounts(server);
    mdg_server_free_sockjs(server);
    mdg_auth_fini(&server->auth);
    mdg_stomp_shared_free(server->stomp);
    free(server->binds);
    free(server->trusted);
    mdg_params_fini(&server->params);
    free(server);
}

const char *madang_error_text(const struct madang *server)
{
    return server->error_text;
}

const char *madang_address(const struct madang *server, size_t i)
{
    return server->addresses && i < server->bind_count ? server->addresses[i] : NULL;
}

int madang_port(const struct madang *server)
{
    for (size_t i = 0; server->addresses && i < server->bind_count; i++) {
        const struct mdg_bind *b = &server->binds[i];
        if (!b->is_unix && b->kind != MDG_BIND_UDP)
            return mdg_addr_port(&b->addr);
    }
    return 0;
}

int madang_fd(const struct madang *server)
{
    return server->workers ? mdg_loop_fd(server->workers[0].loop) : MDG_E_UNSUPPORTED;
}

int madang_timeout_ms(const struct madang *server)
{
    return server->workers ? mdg_loop_wait_ms(server->workers[0].loop) : -1;
}

int madang_step(struct madang *server, int timeout_ms)
{
    if (!server->workers || !server->params.embedded)
        return MDG_E_UNSUPPORTED;
    if (atomic_load(&server->state) == MDG_SERVER_STOPPED)
        return MDG_E_CLOSED;
    int n = mdg_loop_step(server->workers[0].loop, timeout_ms);
    return n < 0 ? n : 0;
}

const char *madang_strerror(int err)
{
    return mdg_strerror(err);
}

const char *madang_version(void)
{
    return MADANG_VERSION;
}
