/* What the parts of the STOMP dialect share. For src/dialect/stomp*.c only. */
#ifndef MDG_DIALECT_STOMP_IMPL_H
#define MDG_DIALECT_STOMP_IMPL_H

#include "base/buf.h"
#include "dialect/stomp.h"

/* Which deliveries of a subscription are not acknowledged yet: tags from `base` on, one bit each
 * once they are. Only subscriptions with `ack` other than auto have one. */
struct mdg_stomp_window {
    uint64_t base, next; /* base == next: nothing is open */
    uint64_t *bits;      /* of tag t at t % cap */
    uint32_t cap;        /* a power of two, or 0 */
};

enum mdg_stomp_ack {
    MDG_STOMP_AUTO,
    MDG_STOMP_CLIENT,     /* an ACK covers everything before it */
    MDG_STOMP_INDIVIDUAL, /* an ACK covers one message */
};

struct mdg_stomp_sub {
    struct mdg_list in_conn;
    struct mdg_stomp *conn;
    struct mdg_member *member;         /* topics */
    struct mdg_stomp_pending *joining; /* topics: the SUBSCRIBE, until the hub has answered */
    struct mdg_queue_sub queue_sub;
    struct mdg_stomp_window window;
    struct mdg_stomp_front *front; /* of its MESSAGE frames; found with the first one */
    uint64_t number;               /* names it in `ack` headers */
    uint64_t next_tag;             /* of the next message on a topic */
    uint32_t prefetch;             /* 0: no limit */
    uint8_t ack;                   /* enum mdg_stomp_ack */
    bool is_queue, is_pattern, has_id, durable, blocked;
    uint16_t id_len, shown_len, key_len;
    uint8_t text[]; /* id, then the destination as messages show it, then the queue's key */
};

/* What a subscription to a queue that has ended was given and has not acknowledged: it may do so
 * still, as long as nobody else was given the message. */
struct mdg_stomp_ended {
    struct mdg_list in_conn;
    struct mdg_stomp_window window;
    uint64_t number, queue_sub;
    bool cumulative;
    uint16_t key_len;
    uint8_t key[]; /* of the queue */
};

/* Work that has been started and is not finished: its receipt, and what a DISCONNECT waits for. */
struct mdg_stomp_pending {
    struct mdg_list in_conn;
    struct mdg_stomp *conn;
    struct mdg_stomp_pending *whole; /* the COMMIT that this frame is part of */
    uint32_t waits;                  /* answers to come */
    int err;
    bool closes; /* DISCONNECT */
    uint16_t receipt_len;
    uint8_t receipt[];
};

struct mdg_stomp_tx;

enum mdg_stomp_phase {
    MDG_STOMP_WAITS,    /* for CONNECT */
    MDG_STOMP_READY,    /* connected */
    MDG_STOMP_LEAVING,  /* DISCONNECT came; its answer waits for what is under way */
    MDG_STOMP_FINISHED, /* closing: nothing is read or sent any more */
};

struct mdg_stomp {
    struct mdg_stomp_server *server;
    struct mdg_link *link;
    struct mdg_list in_server;
    struct mdg_stomp_dec dec;
    struct mdg_buf in;              /* an incomplete frame, or what waits behind `hold` */
    struct mdg_stomp_pending *hold; /* no frame is taken before it is done; NULL: none */
    struct mdg_stomp_late *late;    /* a SUBSCRIBE that waits for what came before it; or NULL */
    struct mdg_buf control;         /* answers that wait for the link */
    uint16_t close_code;            /* close once they have gone out; 0: no */
    uint8_t phase;                  /* enum mdg_stomp_phase */
    bool heard, said;               /* since the last beat */
    uint8_t silent;                 /* beats in a row in which nothing was heard */
    bool in_session;                /* session is initialised */
    uint32_t sub_count, tx_count, pending_count, ended_count;
    size_t tx_bytes;
    struct mdg_list subs, txs, pendings;
    struct mdg_list ended; /* the latest last */
    struct mdg_session session;
    struct mdg_principal *who;
    struct mdg_queue_waiter waiter;
    struct mdg_timer timer_in, timer_out; /* timer_in is the connect timeout at first */
    struct mdg_timer timer_hold;          /* goes on after a hold, from the loop */
    uint32_t beat_in_ms, beat_out_ms;     /* 0: none */
    uint64_t next_sub;
    uint8_t session_id[16]; /* hex */
    char *client_id;        /* names durable subscriptions; NULL: none was given */
    struct mdg_handshake hs;
    uint8_t *hs_bytes; /* what hs points into; freed once authenticated */
};

/* stomp.c */
/* ERROR (1.2 "ERROR") and close. body: sentences for a person, printf-like. f: the frame that is
 * to blame, for its receipt; NULL: none. */
void mdg_stomp_fail(struct mdg_stomp *c, const struct mdg_stomp_frame *f, const char *message,
                    const char *fmt, ...) MDG_PRINTF(4, 5);
/* The same for an error code of the hub or the queues. */
void mdg_stomp_fail_code(struct mdg_stomp *c, const struct mdg_stomp_frame *f, int err);
/* A frame changes what a durable subscription collects, on the worker of its queue, while rooms
 * have an order of their own: the frames behind it wait until p is done. */
void mdg_stomp_hold(struct mdg_stomp *c, struct mdg_stomp_pending *p);
void mdg_stomp_release(struct mdg_stomp *c, const struct mdg_stomp_pending *p);
/* stomp_subs.c: a frame is done; perhaps the late SUBSCRIBE was waiting for it. */
void mdg_stomp_start_late(struct mdg_stomp *c);
/* Sends an answer. */
void mdg_stomp_say(struct mdg_stomp *c, struct mdg_slice frame);
/* Closes once the answers have gone out. */
void mdg_stomp_finish(struct mdg_stomp *c, int code, const char *reason);

/* stomp_connect.c */
void mdg_stomp_on_connect(struct mdg_stomp *c, const struct mdg_stomp_frame *f);
void mdg_stomp_start_timers(struct mdg_stomp *c);
void mdg_stomp_stop_timers(struct mdg_stomp *c);
int mdg_stomp_keep_handshake(struct mdg_stomp *c, const struct mdg_handshake *hs) MDG_NODISCARD;

/* stomp_dest.c */
struct mdg_stomp_dest {
    enum mdg_stomp_kind kind;
    bool pattern;
    struct mdg_slice name;  /* room, or key of the queue; borrowed, or in `room` */
    struct mdg_slice shown; /* as messages show it */
    uint8_t room[2048];     /* for names that had to be put together */
};
/* False: the connection was failed. f: SEND or SUBSCRIBE. */
bool mdg_stomp_dest_parse(struct mdg_stomp *c, const struct mdg_stomp_frame *f,
                          struct mdg_stomp_dest *out);
/* The queue's key of a temporary queue "/temp-queue/x": "/reply-queue/SESSION.x". */
bool mdg_stomp_temp_key(const struct mdg_stomp *c, struct mdg_slice destination,
                        struct mdg_writer *w);

/* stomp_pending.c */
/* For a frame that may carry a receipt. NULL: out of memory, the connection was failed. */
struct mdg_stomp_pending *mdg_stomp_pend(struct mdg_stomp *c, const struct mdg_stomp_frame *f);
/* One answer more is to come, or has come; at zero the receipt goes out. */
void mdg_stomp_pend_more(struct mdg_stomp_pending *p);
void mdg_stomp_pend_done(struct mdg_stomp_pending *p, int err);
void mdg_stomp_published(void *arg, int err, struct mdg_position at); /* arg: the pending */
void mdg_stomp_queue_done(void *arg, uint64_t cookie, int err);       /* cookie: the pending */
void mdg_stomp_drop_pendings(struct mdg_stomp *c);
void mdg_stomp_on_disconnect(struct mdg_stomp *c, const struct mdg_stomp_frame *f);

/* stomp_send.c */
void mdg_stomp_on_send(struct mdg_stomp *c, const struct mdg_stomp_frame *f);
/* Publishes; takes the content over. */
int mdg_stomp_publish(struct mdg_stomp *c, enum mdg_stomp_kind kind, bool keep,
                      struct mdg_slice name, struct mdg_content *content,
                      struct mdg_stomp_pending *p) MDG_NODISCARD;

/* stomp_subs.c */
void mdg_stomp_on_subscribe(struct mdg_stomp *c, const struct mdg_stomp_frame *f);
void mdg_stomp_on_unsubscribe(struct mdg_stomp *c, const struct mdg_stomp_frame *f);
/* The connection takes nothing from queues any more: what it holds goes to others at once, however
 * long the peer takes to close. */
void mdg_stomp_give_back(struct mdg_stomp *c);
void mdg_stomp_drop_subs(struct mdg_stomp *c);
void mdg_stomp_resume_subs(struct mdg_stomp *c);
/* A subscription to a temporary queue of this connection, made for its reply-to. */
int mdg_stomp_subscribe_reply(struct mdg_stomp *c, struct mdg_slice destination,
                              struct mdg_slice key) MDG_NODISCARD;

static inline struct mdg_slice mdg_stomp_sub_id(const struct mdg_stomp_sub *s)
{
    return mdg_slice(s->text, s->id_len);
}

static inline struct mdg_slice mdg_stomp_sub_shown(const struct mdg_stomp_sub *s)
{
    return mdg_slice(s->text + s->id_len, s->shown_len);
}

static inline struct mdg_slice mdg_stomp_sub_key(const struct mdg_stomp_sub *s)
{
    return mdg_slice(s->text + s->id_len + s->shown_len, s->key_len);
}

/* stomp_message.c: into a writer; one over no memory measures. */
struct mdg_stomp_out {
    struct mdg_content *content;
    struct mdg_position at; /* seq 0: not in a room's log */
    uint64_t tag;
    bool redelivered;
};
/* The same bytes for every subscriber with this front and version. */
static inline bool mdg_stomp_is_common(const struct mdg_stomp_sub *s, const struct mdg_stomp_out *o)
{
    return o->at.seq > 0 && s->ack == MDG_STOMP_AUTO;
}
void mdg_stomp_write_number_pair(struct mdg_writer *w, uint64_t a, uint64_t b);
/* Up to what tells the message in the message-id: the same for every message, but for patterns. */
void mdg_stomp_write_front(struct mdg_writer *w, const struct mdg_stomp_sub *s,
                           const struct mdg_content *content);
/* What this delivery alone says, or what it says of its place in the room. */
void mdg_stomp_write_own(struct mdg_writer *w, const struct mdg_stomp_sub *s,
                         const struct mdg_stomp_out *o);
/* What is the same for every subscriber of this version: up to the body. */
void mdg_stomp_write_rest(struct mdg_writer *w, const struct mdg_stomp_sub *s,
                          const struct mdg_stomp_out *o, size_t body_len, bool base64);
/* Everything before the body. body_len: of the body as it will be sent. */
void mdg_stomp_write_head(struct mdg_writer *w, const struct mdg_stomp_sub *s,
                          const struct mdg_stomp_out *o, size_t body_len, bool base64);

/* stomp_share.c */
/* The front of a subscription to one destination; data NULL: out of memory. */
struct mdg_slice mdg_stomp_front_of(struct mdg_stomp_sub *s, const struct mdg_content *content);
void mdg_stomp_drop_front(struct mdg_stomp_sub *s);
/* The end of a room's message, body and NUL included; data NULL: not here. */
struct mdg_slice mdg_stomp_rest_of(struct mdg_stomp_sub *s, const struct mdg_stomp_out *o);
/* All of these messages, framed; borrowed. NULL: they are for each subscriber on its own. */
struct mdg_blob *mdg_stomp_burst_of(struct mdg_stomp_sub *s, struct mdg_msg *const *msgs, size_t n);
void mdg_stomp_drop_shared(struct mdg_stomp_server *server);

/* stomp_deliver.c */
/* The hub's upcalls, and the queues'. */
extern const struct mdg_session_ops mdg_stomp_session_ops;
extern const struct mdg_queue_sub_ops mdg_stomp_queue_ops;
/* A room's message to one destination whose body is copied, not referred to. */
bool mdg_stomp_is_short(const struct mdg_stomp_sub *s, const struct mdg_stomp_out *o);
/* Appends such a message, framed. MDG_E_NO_MEMORY, MDG_E_TOO_BIG. */
int mdg_stomp_append_short(struct mdg_buf *to, struct mdg_stomp_sub *s,
                           const struct mdg_stomp_out *o) MDG_NODISCARD;

/* stomp_ack.c */
void mdg_stomp_on_ack(struct mdg_stomp *c, const struct mdg_stomp_frame *f);
/* Settles the delivery of the subscription with that number. One that is no longer open is none of
 * ours any more: nothing is left to do. */
int mdg_stomp_settle(struct mdg_stomp *c, uint64_t number, uint64_t tag, enum mdg_settle how,
                     struct mdg_stomp_pending *p) MDG_NODISCARD;
/* Remembers what is open of a subscription that ends; without memory it is forgotten. */
void mdg_stomp_keep_ended(struct mdg_stomp_sub *s);
void mdg_stomp_drop_ended(struct mdg_stomp *c);
/* How many more messages the subscription may be given now. */
size_t mdg_stomp_credit(const struct mdg_stomp_sub *s);
/* Notes a delivery that is to be acknowledged. */
int mdg_stomp_window_open(struct mdg_stomp_window *w, uint64_t tag) MDG_NODISCARD;
bool mdg_stomp_window_has(const struct mdg_stomp_window *w, uint64_t tag);
void mdg_stomp_window_close(struct mdg_stomp_window *w, uint64_t tag);

/* stomp_tx.c */
void mdg_stomp_on_begin(struct mdg_stomp *c, const struct mdg_stomp_frame *f);
void mdg_stomp_on_commit(struct mdg_stomp *c, const struct mdg_stomp_frame *f);
void mdg_stomp_on_abort(struct mdg_stomp *c, const struct mdg_stomp_frame *f);
void mdg_stomp_drop_txs(struct mdg_stomp *c);
/* Keeps a frame of a transaction for later. content is taken over. False: the connection failed. */
bool mdg_stomp_tx_send(struct mdg_stomp *c, const struct mdg_stomp_frame *f,
                       enum mdg_stomp_kind kind, bool keep, struct mdg_slice name,
                       struct mdg_content *content);
bool mdg_stomp_tx_settle(struct mdg_stomp *c, const struct mdg_stomp_frame *f, uint64_t sub,
                         uint64_t tag, enum mdg_settle how);

#endif
