/* Rooms over plain HTTP: /sse, /stream, /poll, /publish. What their routes share. */
#ifndef MDG_ROOM_HTTP_H
#define MDG_ROOM_HTTP_H

#include "dialect/plain.h"
#include "server/mount.h"

enum {
    MDG_ROOM_NAMES_BYTES = 4096, /* of all room names in one URL, decoded */
    MDG_HEARTBEAT_S = 20,        /* below the 30 s or 60 s after which proxies hang up */
};

/* What the URL asks for: ?room=R (repeated, for those who take several), &after=TOKEN,
 * &history=N, &wait=SECONDS. Names are decoded into `names`. */
struct mdg_room_query {
    struct mdg_slice rooms[MDG_PLAIN_ROOMS_MAX];
    size_t room_count;
    struct mdg_position after[MDG_PLAIN_ROOMS_MAX]; /* epoch 0: not known */
    bool has_after;
    uint32_t history, wait_s;
    uint8_t names[MDG_ROOM_NAMES_BYTES];
};

/* Without a room it is the chat's. token: instead of ?after=, may be empty. False: answered with
 * 400. */
bool mdg_room_query_read(struct mdg_worker *w, struct mdg_exchange *x, size_t rooms_max,
                         struct mdg_slice token, struct mdg_room_query *q);
/* An error of the hub as a response. */
void mdg_room_respond_error(struct mdg_exchange *x, int err);

int mdg_mount_push(struct madang *server) MDG_NODISCARD;
int mdg_mount_poll(struct madang *server) MDG_NODISCARD;
int mdg_mount_publish(struct madang *server) MDG_NODISCARD;

#endif
