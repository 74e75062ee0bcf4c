/* SockJS services: which there are, and each worker's half of them. */
#ifndef MDG_SERVER_SOCKJS_H
#define MDG_SERVER_SOCKJS_H

#include "server/server.h"
#include "transport/sockjs.h"

struct mdg_dialect;
struct madang_sockjs_options;

/* One service, the same for all workers; constant after the start. */
struct mdg_sockjs_mount {
    struct mdg_sockjs_mount *next;
    struct madang *server;
    struct mdg_sockjs_config config;
    const struct mdg_sockjs_user *user;
    const struct mdg_dialect *dialect; /* of our own services */
    struct mdg_ws_mount *ws;           /* handlers of an application's service */
    struct mdg_strings origins;        /* of this service alone; len 0: the server's */
    char *prefix, *sockjs_url, *frame_ancestors;
};

/* A service on one worker: the argument of its upcalls. */
struct mdg_sockjs_here {
    struct mdg_worker *worker;
    struct mdg_sockjs_mount *mount;
    struct mdg_sockjs *service;
};

/* Mounts a service whose sessions are peers of this dialect. Errors as madang_sockjs. */
int mdg_server_mount_sockjs(struct madang *server, const char *prefix,
                            const struct mdg_dialect *dialect) MDG_NODISCARD;
/* Mounts a service whose sessions belong to somebody else. The upcalls' argument is a struct
 * mdg_sockjs_here; origin_ok and home are the two functions below. */
int mdg_server_mount_sockjs_for(struct madang *server, const char *prefix,
                                const struct mdg_sockjs_user *user) MDG_NODISCARD;
bool mdg_sockjs_origin_ok(struct mdg_exchange *x, void *arg);
struct mdg_http_server *mdg_sockjs_home(struct mdg_slice session, void *arg);
int mdg_worker_init_sockjs(struct mdg_worker *w) MDG_NODISCARD;
/* The handler of a service that owns this path, or NULL. */
const struct mdg_http_handler *mdg_worker_find_sockjs(struct mdg_worker *w, struct mdg_slice path,
                                                      void **arg);
void mdg_worker_close_sockjs(struct mdg_worker *w, size_t *left); /* the server stops */
void mdg_worker_fini_sockjs(struct mdg_worker *w);
void mdg_server_free_sockjs(struct madang *server);

#endif
