/* What the files of the hub share and nobody else may see.
 *
 * A room is split in two roles. Its *owner* (one worker, by hash of the name) assigns seqs, counts
 * users and knows which workers have members. Every worker with members, the owner too, keeps the
 * room's recent messages and serves its own members from them. The two roles talk in operations,
 * also when they are on the same worker: one path for one worker and for many. */
#ifndef MDG_HUB_IMPL_H
#define MDG_HUB_IMPL_H

#include "base/map.h"
#include "base/pool.h"
#include "hub/broker.h"
#include "hub/hub.h"
#include "hub/keep.h"
#include "hub/log.h"
#include "hub/pattern.h"

enum {
    ASKED_BUCKETS = 256, /* open questions by their arg */
    EXPIRY_BUCKETS = 64, /* the wheel of expiring sessions, a second each */
    CHAIN_LEN = 2,       /* on average in the tables of sessions and users, before they grow */
    ROUND_MSGS_MAX = 64, /* messages in one upcall of deliver */
    ROUND_BYTES_MAX = 256 * 1024,
    PENDING_MSGS_MAX = 1024,  /* of one room in one turn; what is more comes from its log */
    OPS_PER_TURN_MAX = 20000, /* then the loop has its turn */
};

enum mdg_op_kind {
    /* Questions, which come back to the worker that asked. */
    OP_PUBLISH,
    OP_JOIN,
    OP_SUBSCRIBE, /* this worker has members now: comes back with the log */
    OP_HISTORY,
    OP_SINCE,
    OP_USERS,
    OP_ROOMS,
    /* One way. */
    OP_LEAVE,
    OP_UNSUBSCRIBE, /* this worker has no members any more */
    OP_PATTERN,     /* this worker wants every room that matches, or no longer */
    OP_DIRECT,
    OP_STORED,   /* to itself: a publication is on the disk, or could not be written */
    OP_APPEND,   /* owner to worker: one message */
    OP_SNAPSHOT, /* owner to worker: the log again, after memory was short */
};

struct mdg_op_item {
    struct mdg_content *content;
    uint64_t seq;
};

struct mdg_op_room {
    uint64_t count;
    uint32_t name_off, name_len; /* in `names` */
};

/* Says that a member left; kept beside the member so that leaving cannot fail. */
struct mdg_leave;

struct mdg_op {
    struct mdg_op *next, *next_parcel;
    uint8_t kind;
    uint8_t asker; /* the worker that asked */
    bool answer;
    bool small; /* a struct mdg_leave: nothing behind `small` exists */

    /* The asker's own: no other worker looks at it. */
    struct mdg_list in_asked;
    union {
        mdg_published_fn published;
        mdg_history_fn history;
        mdg_since_fn since;
        mdg_users_fn users;
        mdg_rooms_fn rooms;
    } done;
    void *arg;
    struct mdg_op *leader; /* of the questions that have one answer together; NULL: itself */
    uint32_t open;         /* in the leader: how many are not back yet */
    int group_err;
    struct mdg_op *merged; /* in the leader: answers that came back */
    struct mdg_member *member;
    struct mdg_leave *leave;
    struct mdg_join_options options;

    /* The question. */
    struct mdg_content *content;
    struct mdg_principal *who;
    uint64_t number; /* before, session */
    struct mdg_position after;
    uint32_t limit;
    bool hidden;
    bool on; /* OP_PATTERN */

    /* The answer. */
    int err;
    bool more, recovered, counts_only;
    struct mdg_position at;
    uint64_t count;
    uint64_t missing_from, missing_to;
    struct mdg_user_entry *entry;
    struct mdg_op_item *items;
    size_t item_count;
    struct mdg_principal **principals;
    size_t principal_count;
    struct mdg_op_room *rooms;
    uint8_t *names;
    size_t room_count;

    /* A publication on its way to the disk. */
    struct mdg_keep_entry entry_to_store;
    struct mdg_hub *hub;
    struct mdg_channel *channel;

    uint16_t name_len;
    uint8_t name[];
};

struct mdg_leave {
    struct mdg_op *next, *next_parcel;
    uint8_t kind, asker;
    bool answer, small;
    struct mdg_user_entry *entry;
};

/* A user in a room, at the room's owner. Counted by member; told to members as one. */
struct mdg_user_entry {
    struct mdg_user_entry *hash_next;
    struct mdg_list in_room; /* links of room->users or room->changed */
    struct mdg_channel *channel;
    struct mdg_principal *who;
    uint32_t hash;
    uint32_t members : 30;
    bool told : 1; /* the members of the room think that this user is here */
    bool changed : 1;
};

static_assert(sizeof(struct mdg_user_entry) <= 48, "every guest in a room has one");

/* Of a session whose principal expires: its place in the wheel. */
struct mdg_expiry {
    struct mdg_list link;
    struct mdg_session *session;
};

/* The owner's part of a room, made when there is a user to count or another worker to serve. */
struct mdg_room {
    struct mdg_channel *channel;
    struct mdg_list in_hub;  /* links of hub->rooms while there are users */
    struct mdg_list due;     /* links of hub->presence_due while there are changes to tell */
    struct mdg_list users;   /* whom the members know of, in the order of arrival */
    struct mdg_list changed; /* who came or left since they were told */
    uint64_t user_count, told_count;
    uint64_t due_ms;
    uint64_t subscribers[MDG_WORKERS_MAX / 64], lost[MDG_WORKERS_MAX / 64];
    uint32_t subscriber_count, lost_count;
};

/* Messages on their way to the members. The first `active` are in delivery, the member at `at` is
 * next; the others came later. */
struct mdg_fanout {
    struct mdg_msg **msgs;
    uint32_t len, cap, active, at;
    uint64_t first_seq, end_seq; /* of the active ones: first logged one, one past the last; 0 */
    bool filtered;               /* at least one of the active has exceptions */
};

enum channel_flag {
    CHANNEL_OWNER = 1,      /* this worker assigns the seqs */
    CHANNEL_SUBSCRIBED = 2, /* a replica; the subscription is on its way or complete */
    CHANNEL_SYNCED = 4,     /* epoch and next_seq are known */
    CHANNEL_DIRTY = 8,      /* in hub->dirty */
    CHANNEL_IDLE = 16,      /* in hub->idle or hub->idle_kept */
    CHANNEL_LAGGING = 32,   /* memory was short: members catch up from the log */
    CHANNEL_HOLES = 64,     /* the array of members has empty slots */
    CHANNEL_FED = 128,      /* a replica that its owner feeds because a pattern here matches */
    CHANNEL_SPILLS = 256,   /* has members that stand in for a pattern member */
};

struct mdg_channel {
    struct mdg_channel *hash_next;
    uint32_t hash;
    uint16_t name_len;
    uint16_t flags;
    union {
        struct mdg_member *one; /* member_cap == 0 */
        struct mdg_member **many;
    } members;
    uint32_t slot_count; /* slots in use, empty ones included */
    uint32_t member_cap;
    uint64_t epoch, next_seq;
    struct mdg_log *log;
    struct mdg_fanout *fanout;
    struct mdg_room *room;
    struct mdg_list link; /* of hub->dirty, hub->idle or hub->idle_kept */
    uint32_t member_count;
    uint32_t idle_since_s;
    uint8_t name[];
};

enum member_kind {
    MEMBER_OF_ROOM,
    MEMBER_OF_PATTERN, /* channel is NULL but during an upcall; presence: its struct mdg_wildcard */
    MEMBER_SPILL,      /* stands in for a pattern member that is behind in one room; presence: it */
};

enum member_state {
    MEMBER_JOINING,    /* waits for the owner's answer */
    MEMBER_LIVE,       /* at the head: gets each batch */
    MEMBER_SERVING,    /* in hub->work: reads from the log */
    MEMBER_STUCK,      /* its dialect was full while live; waits for mdg_hub_resume */
    MEMBER_STUCK_PAST, /* the same while it read old messages */
    MEMBER_DEAD,       /* kicked; nothing more comes */
    MEMBER_GONE,       /* left while it stood in hub->work; freed when its turn comes */
};

struct mdg_ops_queue {
    struct mdg_op *first, *last;
};

struct mdg_hub {
    struct mdg_hub_config config;
    unsigned worker, workers;
    struct mdg_broker *broker; /* NULL: one worker */
    uint64_t seed[2], now_ms, unix_ms;
    uint64_t epochs, serial; /* how many of them were given out */
    void (*pending_fn)(void *arg);
    void *pending_arg;
    bool pending, in_turn;
    bool refusing; /* memory is short: no publication is taken */

    struct mdg_channel **channels;
    uint32_t channel_mask, channel_count;
    struct mdg_list dirty, rooms, presence_due, logs;
    struct mdg_list idle, idle_kept; /* rooms that nobody is in: without and with messages */
    size_t log_bytes;
    uint32_t lost_rooms;

    struct mdg_user_entry **users;
    uint32_t user_mask, user_count;

    struct mdg_session **sessions;
    uint32_t session_mask, session_count;
    struct mdg_list expiry[EXPIRY_BUCKETS];
    uint64_t expiry_s;
    bool expiry_lost; /* memory was short: a session that expires is not in the wheel */

    struct mdg_patterns *patterns;  /* of members here; NULL until there is one */
    struct mdg_patterns *interests; /* of other workers, in rooms that are owned here */
    struct mdg_list all_interests;
    struct mdg_wildcard **matched; /* those that get the present batch */
    size_t matched_len, matched_cap;

    struct mdg_pool members, user_entries;
    struct mdg_member *work_first, *work_last; /* those to serve from the log */
    struct mdg_member *current;                /* whose upcall runs; NULL once it left */
    uint32_t budget;                           /* deliveries left in this turn */

    struct mdg_keeper *keeper; /* NULL: memory only */
    uint32_t keep_generation;

    struct mdg_ops_queue inbox;   /* to this worker, from itself and others */
    struct mdg_ops_queue *outbox; /* one for each other worker */
    struct mdg_list asked[ASKED_BUCKETS];
    struct mdg_list parked; /* leaders that are back and wait for the rest of their group */
    struct mdg_msg *scratch[ROUND_MSGS_MAX];
};

/* op.c */
struct mdg_op *mdg_op_new(struct mdg_hub *h, enum mdg_op_kind kind, struct mdg_slice name);
void mdg_op_free(struct mdg_op *op);
void mdg_op_send(struct mdg_hub *h, unsigned to, struct mdg_op *op);
void mdg_op_answer(struct mdg_hub *h, struct mdg_op *op); /* back to the asker */
/* Notes who waits for the answer, so that mdg_hub_forget finds it. */
void mdg_op_asks(struct mdg_hub *h, struct mdg_op *op, void *arg);
void mdg_hub_wake(struct mdg_hub *h);
unsigned mdg_hub_owner(const struct mdg_hub *h, struct mdg_slice name);
static inline struct mdg_slice mdg_op_name(const struct mdg_op *op)
{
    return mdg_slice(op->name, op->name_len);
}

/* channel.c */
struct mdg_channel *mdg_channel_find(const struct mdg_hub *h, struct mdg_slice name);
int mdg_channel_get(struct mdg_hub *h, struct mdg_slice name, struct mdg_channel **out);
int mdg_channel_add_member(struct mdg_channel *c, struct mdg_member *m);
void mdg_channel_remove_member(struct mdg_hub *h, struct mdg_channel *c, struct mdg_member *m);
void mdg_channel_compact(struct mdg_channel *c);
static inline struct mdg_member **mdg_channel_slots(struct mdg_channel *c)
{
    return c->member_cap ? c->members.many : &c->members.one;
}
/* To the list of idle ones, or out of it, as its state asks. */
void mdg_channel_settle(struct mdg_hub *h, struct mdg_channel *c);
void mdg_channel_mark_dirty(struct mdg_hub *h, struct mdg_channel *c);
void mdg_channel_free(struct mdg_hub *h, struct mdg_channel *c);
void mdg_channels_tick(struct mdg_hub *h);
uint64_t mdg_hub_new_epoch(struct mdg_hub *h);
/* Room in the log for one more message; *log stays NULL when the room keeps none. */
int mdg_channel_log_reserve(struct mdg_hub *h, struct mdg_channel *c);
void mdg_channel_log_push(struct mdg_hub *h, struct mdg_channel *c, struct mdg_msg *m);
void mdg_channel_log_reset(struct mdg_hub *h, struct mdg_channel *c, uint64_t next_seq);
/* The oldest seq that the log has; next_seq when it is empty. */
static inline uint64_t mdg_channel_first_seq(const struct mdg_channel *c)
{
    return c->log ? c->log->first : c->next_seq;
}

/* fanout.c */
void mdg_fanout_add(struct mdg_hub *h, struct mdg_channel *c, struct mdg_msg *m);
bool mdg_fanout_run(struct mdg_hub *h); /* true: work is left */
void mdg_fanout_free(struct mdg_channel *c);
/* Delivers msgs to the member and moves its cursor; end_seq: where it stands if all are taken.
 * False when the member is gone or must wait. */
bool mdg_member_deliver(struct mdg_hub *h, struct mdg_member *m, struct mdg_msg *const *msgs,
                        size_t n, bool filtered, uint64_t end_seq);
bool mdg_msg_has_filter(const struct mdg_msg *m);

/* member.c */
void mdg_member_joined(struct mdg_hub *h, struct mdg_op *op); /* the owner's answer */
bool mdg_members_serve(struct mdg_hub *h);                    /* true: work is left */
void mdg_member_work(struct mdg_hub *h, struct mdg_member *m);
void mdg_member_kick(struct mdg_hub *h, struct mdg_member *m, int reason);
/* The session is another user now: presence follows. */
void mdg_member_rename(struct mdg_hub *h, struct mdg_member *m);

/* Rings of members, through `next`: *last is the newest, its next the oldest. */
void mdg_ring_push(struct mdg_member **last, struct mdg_member *m);
void mdg_ring_remove(struct mdg_member **last, struct mdg_member *m);
/* Takes it out of everything but its channel: `ring` is its session's, or its wildcard's. */
void mdg_member_detach(struct mdg_hub *h, struct mdg_member *m, struct mdg_member **ring);
/* Frees the memory of a member that nothing refers to any more but the queue. */
void mdg_member_free(struct mdg_hub *h, struct mdg_member *m);

/* wildcard.c */
void mdg_wildcards_fini(struct mdg_hub *h);
void mdg_wildcard_leave(struct mdg_hub *h, struct mdg_member *m);
void mdg_wildcard_resume(struct mdg_member *m);
/* The active messages of a fan-out, to the members of patterns that match the room. */
void mdg_wildcards_give(struct mdg_hub *h, struct mdg_channel *c);
bool mdg_wildcards_match(struct mdg_hub *h, struct mdg_slice name);
static inline bool mdg_wildcards_any(const struct mdg_hub *h)
{
    return h->patterns && !mdg_patterns_empty(h->patterns);
}
/* Subscribes the workers that want the room by a pattern, before a message is appended. */
void mdg_interests_feed(struct mdg_hub *h, struct mdg_channel *c);
void mdg_interest_change(struct mdg_hub *h, struct mdg_op *op);
/* The member that the dialect knows; for a spill, the one it stands in for. */
struct mdg_member *mdg_member_face(struct mdg_member *m);
/* Ends what mdg_member_face began. */
void mdg_member_unface(struct mdg_member *m);
void mdg_spill_free(struct mdg_hub *h, struct mdg_member *m);
void mdg_spills_sweep(struct mdg_hub *h, struct mdg_channel *c); /* those that caught up */

/* session.c */
void mdg_sessions_tick(struct mdg_hub *h);

/* presence.c */
struct mdg_room *mdg_room_get(struct mdg_hub *h, struct mdg_channel *c);
void mdg_room_drop_if_unused(struct mdg_hub *h, struct mdg_channel *c);
void mdg_room_free(struct mdg_hub *h, struct mdg_channel *c);
int mdg_user_join(struct mdg_hub *h, struct mdg_channel *c, struct mdg_principal *who,
                  struct mdg_user_entry **out);
void mdg_user_leave(struct mdg_hub *h, struct mdg_user_entry *entry);
void mdg_presence_tick(struct mdg_hub *h);
void mdg_users_fini(struct mdg_hub *h);
/* Who is in the room, into the answer. MDG_E_NO_MEMORY. */
int mdg_room_list(struct mdg_hub *h, struct mdg_channel *c, struct mdg_op *op);
/* The list as upcalls show it; borrowed from the op. NULL: out of memory or counts only. */
struct mdg_user *mdg_op_users(const struct mdg_op *op);

/* owner.c */
void mdg_owner_handle(struct mdg_hub *h, struct mdg_op *op);
/* Gives a message to every worker that has members of the room, this one included. */
void mdg_owner_distribute(struct mdg_hub *h, struct mdg_channel *c, struct mdg_content *content,
                          uint64_t seq);
void mdg_owner_resync_lost(struct mdg_hub *h);
/* From now on that worker gets every message of the room; it is told where they begin. */
void mdg_owner_feed(struct mdg_hub *h, struct mdg_channel *c, unsigned worker);

/* The next message of the room is safe: into the log and to the members. */
void mdg_owner_append_safe(struct mdg_hub *h, struct mdg_channel *c, struct mdg_content *content);

/* keep.c */
/* Begins to write a publication; the room gets it when it is safe. */
int mdg_keep(struct mdg_hub *h, struct mdg_channel *c, struct mdg_op *op);
void mdg_kept(struct mdg_hub *h, struct mdg_op *op);

/* replica.c */
/* Appends the message that has the next seq; without memory it becomes a gap. */
void mdg_replica_push(struct mdg_hub *h, struct mdg_channel *c, struct mdg_content *content,
                      uint64_t seq);
void mdg_asker_handle(struct mdg_hub *h, struct mdg_op *op); /* an answer came back */
void mdg_replica_append(struct mdg_hub *h, struct mdg_op *op);
void mdg_replica_snapshot(struct mdg_hub *h, struct mdg_op *op);
void mdg_replica_unsubscribe(struct mdg_hub *h, struct mdg_channel *c);

#endif
