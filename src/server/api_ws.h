/* What the files of the public API share. */
#ifndef MDG_API_WS_H
#define MDG_API_WS_H

#include "server/server.h"

struct mdg_peer;

enum { MDG_REQUEST_TEXTS_MAX = 64 };

/* A request as the application sees it. Texts handed out are copies with a NUL, freed with it. */
struct madang_request {
    struct mdg_worker *worker;
    struct mdg_exchange *exchange; /* NULL once the response is complete */
    struct mdg_handle *held;       /* madang_request_hold */
    const struct mdg_api_route *route;
    struct mdg_route_match match;
    void *user;
    char *texts[MDG_REQUEST_TEXTS_MAX];
    size_t text_count;
};

void mdg_request_texts_free(struct madang_request *request);

/* What a peer needs beyond its handle: the application's pointer, rooms. */
struct mdg_api_peer {
    const struct mdg_ws_mount *mount;
    struct mdg_handle *handle;
    struct mdg_worker *worker;
    void *user;
    struct mdg_peer *rooms; /* NULL: it was in none yet */
};

/* make: allocates it when it is not there. NULL: there is none, or out of memory. */
struct mdg_api_peer *mdg_api_peer(struct mdg_handle *h, bool make);
/* The worker that a handle names; NULL when there is none, or before the start. */
struct mdg_worker *mdg_api_worker(struct madang *server, uint64_t id);
/* The peer's place, unless it is gone or its on_close is running. */
struct mdg_handle *mdg_api_find(struct mdg_worker *w, madang_peer peer);
bool mdg_api_is_here(const struct mdg_worker *w);

/* Upcalls of a connection, whichever layer its link reports to. */
int mdg_api_on_input(struct mdg_handle *h, struct mdg_input in, bool binary);
void mdg_api_on_writable(struct mdg_handle *h);
void mdg_api_on_close(struct mdg_handle *h, int code, struct mdg_slice reason);
/* api_work.c: frees what madang_after still holds. */
void mdg_api_work_free(struct mdg_worker *w);

#endif
