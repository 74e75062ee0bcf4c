/* A STOMP broker's side of one connection, whatever carries its bytes: versions 1.0, 1.1 and 1.2
 * (stomp.github.io). Topics are the rooms that every other protocol is in; queues are hub/queue.h.
 *
 * A connection is the user of one link: make it, give `mdg_stomp_link_user` and the connection to
 * the carrier, then attach the link. It frees itself when the link has closed. */
#ifndef MDG_DIALECT_STOMP_H
#define MDG_DIALECT_STOMP_H

#include "base/buf.h"
#include "base/map.h"
#include "codec/stomp.h"
#include "hub/hub.h"
#include "hub/queue.h"
#include "loop/timer.h"
#include "transport/handshake.h"
#include "transport/link.h"

struct mdg_stomp;
struct mdg_stomp_front;

enum mdg_stomp_kind {
    MDG_STOMP_REFUSED,
    MDG_STOMP_TOPIC,
    MDG_STOMP_QUEUE,
    MDG_STOMP_TEMP_QUEUE, /* of this connection; others reach it by the reply-to they were given */
    MDG_STOMP_USER_QUEUE, /* of this connection's user */
};

/* One more family of destinations, as other brokers have them: "/exchange/amq.topic" + "/news" is
 * the topic `room` + "news", which messages call `shown` + "news". */
struct mdg_stomp_rule {
    struct mdg_slice prefix; /* without the slash at its end */
    struct mdg_slice room, shown;
    enum mdg_stomp_kind kind; /* TOPIC or QUEUE */
    bool whole;               /* one destination, whatever word follows the prefix */
};

struct mdg_stomp_config {
    struct mdg_stomp_limits limits;
    uint32_t connect_timeout_ms;     /* attack: connections that never say CONNECT */
    uint32_t subscriptions_max;      /* of one connection */
    uint32_t subscription_bytes_max; /* of an id */
    uint32_t destination_bytes_max;
    uint32_t transactions_max;    /* open at the same time */
    uint32_t transaction_ops_max; /* frames in one of them */
    size_t transaction_bytes_max; /* their bodies, in all open transactions */
    uint32_t heartbeat_min_ms;  /* shorter ones are offered and asked for no more often than this */
    uint32_t heartbeat_can_ms;  /* what we offer to send; 0: none */
    uint32_t heartbeat_want_ms; /* what we ask for; 0: none */
    uint32_t prefetch_auto;     /* messages under way to a subscriber that need not acknowledge */
    bool slashes;               /* names of topics and queues may contain slashes */
    bool room_headers;          /* tell subscribers room, epoch, seq and sender */
    enum mdg_stomp_kind unknown;    /* destinations of no family: REFUSED, or TOPIC, QUEUE */
    const struct mdg_slice *vhosts; /* accepted values of `host`; none: any */
    size_t vhost_count;
    const struct mdg_stomp_rule *rules;
    size_t rule_count;
    struct mdg_slice server_name; /* of CONNECTED, such as madang/0.1 */
};

/* The defaults that the parameters start from. */
void mdg_stomp_config_init(struct mdg_stomp_config *config);

/* Refuses a SEND or SUBSCRIBE: a sentence for the ERROR frame, or NULL to allow. */
struct mdg_stomp_hooks {
    const char *(*may_send)(void *arg, const struct mdg_principal *who,
                            const struct mdg_stomp_frame *frame, struct mdg_slice destination);
    const char *(*may_subscribe)(void *arg, const struct mdg_principal *who,
                                 const struct mdg_stomp_frame *frame, struct mdg_slice destination);
    void *arg;
};

/* The end of a MESSAGE that many subscribers get: headers of the message, body, NUL. */
struct mdg_stomp_rest {
    struct mdg_content *content; /* a reference; NULL: empty */
    struct mdg_position at;
    uint8_t *bytes;
    uint32_t len;
    uint8_t version;
};

enum {
    MDG_STOMP_BATCH_MAX = 64, /* messages sent at once */
    MDG_STOMP_RESTS = 64,     /* the latest; each at most 8 KiB */
    MDG_STOMP_BURSTS = 16,    /* of as many different subscriptions; each at most 64 KiB */
};

/* The MESSAGE frames of a room's burst, for all subscribers that get the same bytes. */
struct mdg_stomp_burst {
    struct mdg_stomp_front *front;
    const struct mdg_framing *framing;
    struct mdg_blob *joined; /* NULL: these cannot be joined */
    size_t len;
    uint8_t version;
    struct mdg_msg *msgs[MDG_STOMP_BATCH_MAX]; /* references */
};

/* What the connections of one worker share. The caller fills it and keeps it. */
struct mdg_stomp_server {
    const struct mdg_stomp_config *config;
    struct mdg_hub *hub;
    struct mdg_queues *queues;
    struct mdg_loop *loop;
    void (*random)(void *arg, void *out, size_t len);
    /* Who this is, by login and passcode or by what came with the handshake. One reference. */
    int (*authenticate)(void *arg, const struct mdg_handshake *hs, struct mdg_principal **out);
    void *arg;
    struct mdg_stomp_hooks hooks;
    struct mdg_buf scratch; /* for output under construction; made by mdg_stomp_server_init */
    struct mdg_map fronts;  /* how MESSAGE frames begin, by text */
    struct mdg_stomp_rest rests[MDG_STOMP_RESTS];
    struct mdg_stomp_burst bursts[MDG_STOMP_BURSTS];
    struct mdg_list connections;
    size_t count;
};

/* After the fields that the caller fills. */
void mdg_stomp_server_init(struct mdg_stomp_server *server);
void mdg_stomp_server_fini(struct mdg_stomp_server *server); /* no connection is left */

/* The link's upcalls; user_arg is the connection. */
extern const struct mdg_link_user mdg_stomp_link_user;

/* hs is borrowed; what is needed of it is copied. MDG_E_NO_MEMORY. */
int mdg_stomp_new(struct mdg_stomp_server *server, const struct mdg_handshake *hs,
                  struct mdg_stomp **out) MDG_NODISCARD;
/* Before the first upcall. The connection is freed after the link's on_close. */
void mdg_stomp_attach(struct mdg_stomp *c, struct mdg_link *link);
/* For a connection that never got its link. */
void mdg_stomp_free(struct mdg_stomp *c);
/* Says ERROR to as many as *left, which is counted down, and closes. */
void mdg_stomp_close_some(struct mdg_stomp_server *server, const char *message, size_t *left);

#endif
