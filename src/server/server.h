/* A server and its workers, as the files of this folder share them. */
#ifndef MDG_SERVER_H
#define MDG_SERVER_H

#include "base/base.h"
#include "hub/hub.h"
#include "loop/loop.h"
#include "madang/madang.h"
#include "net/addr.h"
#include "server/auth.h"
#include "server/binds.h"
#include "server/handles.h"
#include "server/log.h"
#include "server/params.h"
#include "server/polls.h"
#include "server/routes.h"
#include "transport/http.h"
#include "transport/tcp.h"
#include "transport/ws.h"
#include <pthread.h>
#include <stdatomic.h>

struct mdg_accounts;
struct mdg_cidr;
struct mdg_listener;
struct mdg_net;
struct mdg_room_store;
struct mdg_stomp_part;
struct mdg_stomp_shared;
struct mdg_sockjs_here;
struct mdg_sockjs_mount;
struct mdg_stream;
struct mdg_tls_context;
struct mdg_udp_part;
struct mdg_worker;
struct mdg_workers;

enum { MDG_SERVER_WORKERS_MAX = 64 };

/* What stands behind an HTTP route. on_request gets a struct mdg_mounted. */
struct mdg_http_mount {
    const struct mdg_http_handler *handler;
    void *arg;
    void (*free)(struct mdg_http_mount *m); /* NULL: not owned */
};

/* What stands behind a WebSocket endpoint. `upgrade` is called after origin and handshake were
 * found good: it accepts or refuses and returns 0; <0: 500. 1: it is
 * answered later, and `later` handles it until then; its on_request gets mdg_exchange_arg. */
struct mdg_ws_mount {
    struct mdg_ws_options options;
    int (*upgrade)(struct mdg_worker *w, struct mdg_exchange *x, struct mdg_ws_mount *m,
                   struct mdg_slice subprotocol);
    const struct mdg_http_handler *later;
    void *arg;
    struct madang_ws_handlers handlers; /* of the application's endpoints */
    char **subprotocols;                /* owned; options point at them */
};

enum {
#define MDG_COUNTER(name, type, text, value) MDG_METRIC_##name,
#include "server/counters.def"
#undef MDG_COUNTER
    MDG_METRICS
};

/* A mount as one worker sees it: the argument of on_request. */
struct mdg_mounted {
    struct mdg_worker *worker;
    const struct mdg_http_mount *mount;
    struct mdg_route_match match; /* of the request at hand; valid during on_request only */
};

/* Streams of a kind that is not HTTP are handed to these; NULL: closed. */
typedef int (*mdg_accept_fn)(struct mdg_worker *w, struct mdg_stream *s, bool greet);

struct mdg_worker {
    struct madang *server;
    unsigned index;
    pthread_t thread;
    bool has_thread;
    bool is_embedded; /* driven by madang_step, on `thread` */
    struct mdg_loop *loop;
    struct mdg_net *net;
    struct mdg_hub *hub;
    struct mdg_peers *peers;      /* what all dialects share */
    struct mdg_principal *nobody; /* whom the application's own connections are in rooms */
    struct mdg_http_server *http;
    struct mdg_ws_worker *ws;
    struct mdg_stomp_part *stomp;   /* NULL: not mounted */
    struct mdg_udp_part *udp;       /* NULL: not on this worker */
    struct mdg_sockjs_here *sockjs; /* one a service */
    size_t sockjs_count;
    struct mdg_listener **listeners;
    size_t listener_count;
    struct mdg_port_slot *ports; /* per listener: which bind it belongs to */
    struct mdg_handles clients;  /* the application's connections */
    struct mdg_handle *ending;   /* whose on_close is running */
    struct mdg_handles held;     /* handshakes that wait for an answer */
    struct mdg_timer tick;       /* hub housekeeping */
    uint64_t tickets_due_ms;     /* a new key for TLS tickets; the first worker's */
    struct mdg_timer turn_again; /* the hub yielded */
    struct mdg_timer grace;      /* the steps and the end of a graceful stop */
    struct mdg_defer hub_turn;
    struct mdg_mounted mounted;
    struct mdg_polls polls; /* GET /poll */
    uint64_t grace_until_ms;
    struct work *delayed; /* madang_after; the first worker's */
    bool draining;        /* nobody comes in, and those who are here are told to go */
    bool stopping;        /* all have been told */
    size_t drain_step;
    uint64_t drain_until_ms;
    atomic_uint_fast64_t load, incoming; /* spread.c: connections here, and on their way here */
    atomic_uint_fast64_t metrics[MDG_METRICS]; /* read by whichever worker serves /metrics */
};

enum { MDG_SERVER_HOOKS_MAX = 64 }; /* endpoints that hold something in each worker */

enum mdg_server_state {
    MDG_SERVER_NEW,
    MDG_SERVER_RUNNING,
    MDG_SERVER_STOPPING,
    MDG_SERVER_STOPPED,
};

/* A carrier says goodbye to as many of its peers as *left, and counts it down. Called until it
 * leaves something of it. */
typedef void mdg_shutdown_fn(struct mdg_worker *w, size_t *left, void *arg);

struct madang {
    struct mdg_params params;
    struct mdg_logger log;
    struct mdg_auth auth;
    char state_dir[4096];
    char error_text[512];
    struct mdg_routes routes;
    struct mdg_ws_mount *last_ws; /* the endpoint that madang_ws mounted last */
    struct mdg_ws_options ws_defaults;
    struct mdg_sockjs_mount *sockjs; /* a list */
    uint64_t sockjs_seed[2];         /* names the worker of a session */
    struct mdg_http_config http_config;
    struct mdg_cidr *trusted;
    size_t trusted_count;
    struct mdg_bind *binds;
    size_t bind_count;
    char **addresses; /* one a bind, after start */
    struct mdg_accounts *accounts;
    struct mdg_tls_context *tls;
    mdg_accept_fn accept_line, accept_stomp;
    struct mdg_tcp_config tcp_config; /* of text lines */
    bool udp;                         /* beside TCP, on the same port */
    struct mdg_stomp_shared *stomp;   /* NULL: not mounted */
    struct mdg_worker *workers;
    unsigned worker_count;
    struct mdg_workers *brokers;       /* the workers as each other's brokers */
    struct mdg_room_store *room_store; /* NULL: rooms live in memory only */
    atomic_int state;                  /* enum mdg_server_state */
    atomic_bool memory_full;           /* memory.c */
    atomic_uint workers_alive;         /* that still have connections to end */
    uint64_t started_unix_ms;
    mdg_shutdown_fn *shutdown_hooks[MDG_SERVER_HOOKS_MAX];
    void *shutdown_args[MDG_SERVER_HOOKS_MAX];
    size_t shutdown_hook_count;
    void (*fini_hooks[MDG_SERVER_HOOKS_MAX])(struct mdg_worker *w,
                                             void *arg); /* carriers free what they have */
    void *fini_args[MDG_SERVER_HOOKS_MAX];
    size_t fini_hook_count;
    int (*start_hooks[MDG_SERVER_HOOKS_MAX])(struct madang *server, void *arg);
    void *start_args[MDG_SERVER_HOOKS_MAX];
    size_t start_hook_count;
    void (*free_hooks[MDG_SERVER_HOOKS_MAX])(void *arg); /* after the workers */
    void *free_args[MDG_SERVER_HOOKS_MAX];
    size_t free_hook_count;
};

/* worker.c */
int mdg_worker_init(struct mdg_worker *w, struct madang *server, unsigned index) MDG_NODISCARD;
int mdg_worker_spawn(struct mdg_worker *w) MDG_NODISCARD;
/* Any thread: begins to end every connection of the worker. */
void mdg_worker_stop(struct mdg_worker *w);
void mdg_worker_join(struct mdg_worker *w);
/* Ends what is left of a worker's connections. Its loop stays until all have ended, because the
 * others still post to it. */
void mdg_worker_end(struct mdg_worker *w);
/* Runs the last posts and frees the loops; then _fini frees the hubs, which these may have used. */
void mdg_workers_free_loops(struct mdg_worker *workers, unsigned count);
void mdg_worker_fini(struct mdg_worker *w);
/* The worker whose thread this is, or NULL. */
struct mdg_worker *mdg_worker_here(struct madang *server);

/* ops.c */
void mdg_metrics_publish(struct mdg_worker *w);

/* oust.c: struct mdg_auth's on_oust; arg is the server */
void mdg_server_oust(void *arg, struct mdg_slice name, uint64_t owner);

/* ports.c */
int mdg_ports_open(struct madang *server) MDG_NODISCARD;
void mdg_ports_close(struct mdg_worker *w);

/* dispatch.c */
const struct mdg_http_handler *mdg_dispatch(void *router, struct mdg_exchange *x, void **arg);

/* api_config.c */
const struct mdg_params *mdg_config_params(const struct madang_config *config);
/* api_ws.c, api_http.c */
void mdg_ws_mount_free(struct mdg_ws_mount *m);
void mdg_http_mount_free(struct mdg_http_mount *m);

/* Errors with words: returns err. */
int mdg_server_fail(struct madang *server, int err, const char *fmt, ...) MDG_PRINTF(3, 4);
/* Mounts a handler of our own. arg is found as mounted->mount->arg. */
int mdg_server_mount(struct madang *server, const char *method, const char *pattern,
                     const struct mdg_http_handler *handler, void *arg) MDG_NODISCARD;
int mdg_server_mount_ws(struct madang *server, const char *path,
                        struct mdg_ws_mount *m) MDG_NODISCARD;
/* Called on each worker when the server stops. */
void mdg_server_on_shutdown(struct madang *server, mdg_shutdown_fn *fn, void *arg);

/* Called in madang_start, once the rooms are back from the store and before the first thread. */
void mdg_server_on_start(struct madang *server, int (*fn)(struct madang *server, void *arg),
                         void *arg);
/* Called for each worker when it is taken apart, while its loop, net and hub are still there but
 * nothing turns any more; and once when the server is freed. */
void mdg_server_on_fini(struct madang *server, void (*fini)(struct mdg_worker *w, void *arg),
                        void (*free)(void *arg), void *arg);

static inline struct mdg_mounted *mdg_mounted(void *arg)
{
    return arg;
}

#endif
