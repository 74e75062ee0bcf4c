/* What `madang serve` offers besides the application's own endpoints: one function a part, each
 * mounts its routes before the start. */
#ifndef MDG_MOUNT_H
#define MDG_MOUNT_H

#include "server/server.h"

int mdg_mount_ops(struct madang *server) MDG_NODISCARD;    /* /healthz /readyz /metrics */
int mdg_mount_ui(struct madang *server) MDG_NODISCARD;     /* /chat and its files, / leads there */
int mdg_mount_chat(struct madang *server) MDG_NODISCARD;   /* sign-in, /ws/chat */
int mdg_mount_stomp(struct madang *server) MDG_NODISCARD;  /* STOMP on TCP and WebSocket */
int mdg_mount_echo(struct madang *server) MDG_NODISCARD;   /* /echo, with --echo */
int mdg_mount_sio(struct madang *server) MDG_NODISCARD;    /* /socket.io/, /engine.io/: sio_app.c */
int mdg_mount_lines(struct madang *server) MDG_NODISCARD;  /* text lines on TCP, and UDP */
int mdg_mount_sockjs(struct madang *server) MDG_NODISCARD; /* sockjs_paths */

/* Joins a dialect to a WebSocket that is about to open. 0: the exchange is gone. */
struct mdg_dialect;
int mdg_open_ws_peer(struct mdg_worker *w, struct mdg_exchange *x, const struct mdg_ws_options *o,
                     const struct mdg_dialect *dialect, struct mdg_principal *who,
                     struct mdg_slice subprotocol) MDG_NODISCARD;
/* Identity from the request; an error was answered (401, 403, 503). */
int mdg_authenticate(struct mdg_worker *w, struct mdg_exchange *x,
                     struct mdg_principal **out) MDG_NODISCARD;

#endif
