/* Rooms ("channels"): members, order, history, presence, limits. One hub a worker; it knows no
 * socket and no wire format, makes no system call and is told the time.
 *
 * Nothing here calls back from inside a call. Publishing, joining and asking only take note;
 * mdg_hub_turn, called by the worker once a turn after the reads, does the upcalls. So a burst of
 * messages reaches each member in one delivery. */
#ifndef MDG_HUB_H
#define MDG_HUB_H

#include "base/base.h"
#include "hub/msg.h"
#include "hub/principal.h"

struct mdg_hub;
struct mdg_channel;
struct mdg_member;
struct mdg_session;

/* A place in a room's order. epoch changes when the order could not be carried on. */
struct mdg_position {
    uint64_t epoch, seq;
};

/* What a room does with a member that falls behind its log or its queue. */
enum mdg_slow_policy {
    MDG_SLOW_KICK,     /* the connection ends with a reason */
    MDG_SLOW_DROP_OLD, /* the cursor jumps forward, a gap is told */
    MDG_SLOW_DROP_NEW, /* what comes while the queue is full is skipped, a gap is told */
};

struct mdg_channel_config {
    uint32_t log_count_max;     /* messages kept for history and resume */
    size_t log_bytes_max;       /* and their bytes */
    uint32_t log_age_max_s;     /* and their age; 0: no limit */
    uint32_t presence_list_max; /* users; above it presence says counts only */
    uint32_t presence_delay_ms; /* joins and leaves within it are told together */
    uint32_t idle_s;            /* an empty room without messages is forgotten after this long */
    enum mdg_slow_policy slow;
};

struct mdg_user {
    struct mdg_slice name;
    bool guest;
};

/* Payload of MDG_MSG_PRESENCE, found by mdg_msg_presence. Lists are empty in a counts-only room. */
struct mdg_presence {
    uint64_t count; /* users now in the room */
    const struct mdg_user *joined, *left;
    size_t joined_count, left_count;
};

struct mdg_joined {
    struct mdg_position at; /* the newest message when the member joined */
    bool asked_resume, recovered;
    uint64_t missing_from, missing_to; /* seqs lost when not recovered and known; else 0 */
    uint64_t count;                    /* users in the room, this one included */
    const struct mdg_user *users;      /* NULL in a counts-only room */
    size_t user_count;
};

/* Upcalls to the dialect that owns the session; all from mdg_hub_turn or mdg_hub_tick. */
struct mdg_session_ops {
    /* The join is complete (err 0) or was refused. History or missed messages follow as deliveries.
     * After an error the member is freed when this returns. */
    void (*joined)(struct mdg_member *m, int err, const struct mdg_joined *info);
    /* The next messages in order. Returns how many were taken, from the front (fewer than n: the
     * rest stays behind the member's cursor until mdg_hub_resume), or a negative error: kick.
     * Messages not in a log (seq 0) are lost if not taken. */
    int (*deliver)(struct mdg_member *m, struct mdg_msg *const *msgs, size_t n);
    /* Messages from..to will not come. Returns 0, or MDG_E_FULL: tell me again on resume. For a
     * pattern member, m->channel says of which room. */
    int (*gap)(struct mdg_member *m, uint64_t from_seq, uint64_t to_seq);
    /* The hub wants the client gone: MDG_E_FULL (too slow), MDG_E_EXPIRED, MDG_E_EXISTS (its name
     * went to somebody else), or what deliver returned. The dialect closes; the session leaves in
     * its own close path. */
    void (*kick)(struct mdg_session *s, int reason);
    /* A private message (mdg_hub_send). NULL: such messages are dropped. */
    void (*direct)(struct mdg_session *s, struct mdg_msg *m);
    /* Not the hub's: whoever made all sessions of a kind closes them (mdg_hub_each_session). */
    void (*close)(struct mdg_session *s, int code, struct mdg_slice reason);
};

struct mdg_expiry;

/* One client. Lives inside the dialect's peer. */
struct mdg_session {
    const struct mdg_session_ops *ops;
    struct mdg_hub *hub;
    struct mdg_principal *principal; /* a reference; see mdg_session_set_principal */
    uint64_t id;                     /* names the worker in its top 8 bits; never 0 */
    struct mdg_session *id_next;     /* the hub's: chain of its table by id */
    struct mdg_member *last;         /* ring of its members: see mdg_session_first */
    struct mdg_expiry *expiry;       /* the hub's, of a session whose principal expires */
    uint32_t member_count;
    /* Of whoever made the session, in what would be padding: see dialect/peer_impl.h. */
    uint8_t user_flags, user_slot, user_words;
};

static_assert(sizeof(struct mdg_session) <= 64, "ten thousand clients wait; one line of the cache");

/* One membership: (session, room or pattern, cookie). A session may have several in one room. */
struct mdg_member {
    struct mdg_session *session;
    struct mdg_channel *channel;  /* NULL for a pattern member between deliveries */
    void *cookie;                 /* the dialect's: STOMP subscription, Socket.IO namespace */
    uint64_t next_seq;            /* cursor: the first seq not delivered yet */
    uint32_t index;               /* place in the channel's array of members */
    uint8_t state;                /* the hub's */
    uint8_t kind;                 /* the hub's: of a room, of a pattern, ... */
    bool hidden : 1;              /* not part of presence */
    bool behind : 1;              /* waits for mdg_hub_resume */
    bool queued : 1;              /* the hub's: in its queue of members to serve */
    struct mdg_member *next;      /* in the session's ring */
    struct mdg_member *work_next; /* the hub's: in its queue */
    void *presence;               /* the hub's: what tells the owner that this one left */
};

static_assert(sizeof(struct mdg_member) <= 64, "one line of the cache for a delivery");

/* A ring of members is known by its newest, whose `next` is the oldest: one pointer in the session
 * and one in the member. From the oldest on; ask for the next one before m leaves. */
static inline struct mdg_member *mdg_ring_first(const struct mdg_member *last)
{
    return last ? last->next : NULL;
}

static inline struct mdg_member *mdg_ring_next(const struct mdg_member *last,
                                               const struct mdg_member *m)
{
    return m == last ? NULL : m->next;
}

/* A session's members in order of arrival. */
static inline struct mdg_member *mdg_session_first(const struct mdg_session *s)
{
    return mdg_ring_first(s->last);
}

static inline struct mdg_member *mdg_session_next(const struct mdg_session *s,
                                                  const struct mdg_member *m)
{
    return mdg_ring_next(s->last, m);
}

/* Nothing may leave in the body. */
#define MDG_SESSION_FOR(m, s)                                                                      \
    for (struct mdg_member *m = mdg_session_first(s); m; m = mdg_session_next(s, m))

struct mdg_join_options {
    bool resume; /* continue behind `from`; else start at the newest */
    struct mdg_position from;
    uint32_t history; /* without resume, or from another epoch: the last N messages first */
    bool hidden;      /* a member that presence does not show */
    void *cookie;
};

struct mdg_hub_config {
    struct mdg_channel_config channel;
    uint32_t channels_max; /* in this worker; attack: a client that invents rooms */
    uint32_t memberships_per_session_max;
    size_t log_bytes_total_max; /* of all rooms together */
    uint32_t channel_name_bytes_max;
    uint32_t fanout_budget; /* deliveries before a long fan-out yields to the loop */
};

/* Values that suit a server with a thousand rooms. */
void mdg_hub_config_init(struct mdg_hub_config *config);

/* Life. worker: this hub's number, 0..255. seed: 16 random bytes for hash tables and epochs. */
int mdg_hub_new(const struct mdg_hub_config *config, unsigned worker, const uint64_t seed[2],
                struct mdg_hub **out) MDG_NODISCARD;
void mdg_hub_free(struct mdg_hub *h);
void mdg_hub_set_time(struct mdg_hub *h, uint64_t now_ms, uint64_t unix_ms);
uint64_t mdg_hub_now_ms(const struct mdg_hub *h); /* what was set last */
uint64_t mdg_hub_unix_ms(const struct mdg_hub *h);
/* Does the upcalls that are due. Returns true when work is left (it yielded): call again soon. */
bool mdg_hub_turn(struct mdg_hub *h);
/* Ages logs, forgets idle rooms, tells presence, enforces expiry. Every 100 ms or so. */
void mdg_hub_tick(struct mdg_hub *h);
/* fn is called, from any of the functions below, when a turn has become necessary. */
void mdg_hub_on_pending(struct mdg_hub *h, void (*fn)(void *arg), void *arg);

/* Sessions. The session's memory is the caller's and stays valid until mdg_session_fini. */
void mdg_session_init(struct mdg_session *s, struct mdg_hub *h, const struct mdg_session_ops *ops,
                      struct mdg_principal *who); /* takes a reference of its own */
/* The session of that id on this worker, or NULL. */
struct mdg_session *mdg_session_find(const struct mdg_hub *h, uint64_t id);
/* Leaves every room at once; no upcall for this session comes after it. */
void mdg_session_fini(struct mdg_session *s);
/* fn must not end a session. */
void mdg_hub_each_session(struct mdg_hub *h, void (*fn)(struct mdg_session *s, void *arg),
                          void *arg);
/* A refreshed or changed identity: presence follows. */
void mdg_session_set_principal(struct mdg_session *s, struct mdg_principal *who);
/* Kicks (MDG_E_EXISTS) this worker's sessions of a principal that was registered for this owner
 * under this name. Looks at all sessions. */
void mdg_hub_oust(struct mdg_hub *h, struct mdg_slice name, uint64_t owner);

/* Rooms. A name is 1..channel_name_bytes_max bytes of UTF-8 without control characters. */
bool mdg_channel_name_ok(const struct mdg_hub *h, struct mdg_slice name);
struct mdg_slice mdg_channel_name(const struct mdg_channel *c);
/* Of the member's room; 0 while its join is under way. */
uint64_t mdg_member_epoch(const struct mdg_member *m);
/* The upcall `joined` follows. MDG_E_SYNTAX (name), MDG_E_TOO_BIG (limits), MDG_E_NO_MEMORY,
 * MDG_E_DENIED (no right). */
int mdg_hub_join(struct mdg_hub *h, struct mdg_session *s, struct mdg_slice channel,
                 const struct mdg_join_options *options, struct mdg_member **out) MDG_NODISCARD;
/* As join, for every room of every worker whose name matches a pattern ("a.*", "a.#"; see
 * hub/pattern.h); only new messages, and presence does not show it. During `deliver` and `gap`
 * m->channel is the room. What it does not take waits in the log of that room. */
int mdg_hub_join_pattern(struct mdg_hub *h, struct mdg_session *s, struct mdg_slice pattern,
                         const struct mdg_join_options *options,
                         struct mdg_member **out) MDG_NODISCARD;
/* How far the member is: a join that resumes from here goes on without a hole. */
struct mdg_position mdg_member_position(const struct mdg_member *m);
void mdg_hub_leave(struct mdg_member *m); /* frees m; no upcall for it comes after */
/* The dialect has room again: the hub delivers what the member missed, in a later turn. */
void mdg_hub_resume(struct mdg_member *m);
/* The first membership of the session in that room, or NULL. */
struct mdg_member *mdg_session_member(const struct mdg_session *s, struct mdg_slice channel);

/* done fires exactly once, from mdg_hub_turn, when the configured guarantee holds (in memory;
 * written and synced; assigned by the owner). err < 0: nobody will receive it. done may be NULL. */
typedef void (*mdg_published_fn)(void *arg, int err, struct mdg_position at);
/* Takes the content's reference over in every case. MDG_E_SYNTAX, MDG_E_FULL, MDG_E_NO_MEMORY. */
int mdg_hub_publish(struct mdg_hub *h, struct mdg_content *content, mdg_published_fn done,
                    void *arg) MDG_NODISCARD;
/* Memory is short: every publication is refused with MDG_E_FULL until it is taken back. */
void mdg_hub_refuse(struct mdg_hub *h, bool refuse);
/* To one session, on whatever worker it lives, as ops->direct. Takes the reference over. */
int mdg_hub_send(struct mdg_hub *h, uint64_t session, struct mdg_content *content) MDG_NODISCARD;

/* Questions; the answer comes from mdg_hub_turn, exactly once, borrowed during the upcall. */
struct mdg_history {
    uint64_t epoch;
    struct mdg_msg *const *msgs; /* oldest first */
    size_t count;
    bool more; /* older ones are in the log */
};
typedef void (*mdg_history_fn)(void *arg, int err, const struct mdg_history *history);
/* The last `limit` messages with seq < before (0: from the newest). */
int mdg_hub_history(struct mdg_hub *h, struct mdg_slice channel, uint64_t before, uint32_t limit,
                    mdg_history_fn done, void *arg) MDG_NODISCARD;

/* Messages behind a position, oldest first, at most limit: for carriers that poll. */
struct mdg_since {
    struct mdg_position newest;
    struct mdg_msg *const *msgs;
    size_t count;
    bool recovered; /* false: the log does not reach back; msgs begin with what there is */
    uint64_t missing_from, missing_to;
};
typedef void (*mdg_since_fn)(void *arg, int err, const struct mdg_since *since);
int mdg_hub_since(struct mdg_hub *h, struct mdg_slice channel, struct mdg_position after,
                  uint32_t limit, mdg_since_fn done, void *arg) MDG_NODISCARD;

typedef void (*mdg_users_fn)(void *arg, int err, const struct mdg_joined *now);
int mdg_hub_presence(struct mdg_hub *h, struct mdg_slice channel, mdg_users_fn done,
                     void *arg) MDG_NODISCARD;

struct mdg_room_info {
    struct mdg_slice name;
    uint64_t count; /* users */
};
typedef void (*mdg_rooms_fn)(void *arg, int err, const struct mdg_room_info *rooms, size_t count);
/* Rooms that have visible members, at most limit, the fullest first. */
int mdg_hub_rooms(struct mdg_hub *h, uint32_t limit, mdg_rooms_fn done, void *arg) MDG_NODISCARD;
/* Takes back every question and publication whose `arg` is this one: its function will not be
 * called any more. For objects that go away while an answer is under way. */
void mdg_hub_forget(struct mdg_hub *h, void *arg);

/* What a presence message says. Borrowed from the message. */
const struct mdg_presence *mdg_msg_presence(const struct mdg_msg *m);

#endif
