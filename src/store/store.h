/* One SQLite file in which rooms and small facts survive a restart and a crash.
 *
 * One thread writes. Workers hand it entries; it takes all that wait, writes them in one
 * transaction, syncs once, and gives them back: the more load, the more messages share a sync.
 * What was reported as written is on the disk (sync FULL), whatever then happens to the process or
 * the machine. */
#ifndef MDG_STORE_H
#define MDG_STORE_H

#include "base/base.h"
#include "hub/hub.h"
#include "hub/keep.h"

struct mdg_store;

enum mdg_store_sync {
    MDG_STORE_SYNC_FULL,   /* each commit is on the disk: survives loss of power */
    MDG_STORE_SYNC_NORMAL, /* survives the end of the process; power loss may cost the last */
};

struct mdg_store_config {
    const char *path;
    unsigned workers;
    enum mdg_store_sync sync;
    uint32_t log_count_max;  /* messages kept of each room */
    uint32_t log_age_max_s;  /* 0: no limit */
    uint64_t bytes_max;      /* of the file; 0: no limit. Past it writes fail as on a full disk */
    size_t queued_bytes_max; /* waiting to be written; then MDG_E_FULL */
    /* Called by the writing thread: worker `worker` must call mdg_store_collect soon. */
    void (*wake)(void *arg, unsigned worker);
    void *wake_arg;
};

void mdg_store_config_init(struct mdg_store_config *config);
/* Opens or makes the file and starts the thread. MDG_E_EXISTS: another process uses it.
 * MDG_E_UNSUPPORTED: made by a newer version. -errno or MDG_E_NO_MEMORY otherwise; *why (may be
 * NULL) gets a sentence, valid as long as the process. */
int mdg_store_open(const struct mdg_store_config *config, struct mdg_store **out,
                   const char **why) MDG_NODISCARD;
/* Writes what waits, ends the thread. Nothing may be given to it any more. */
void mdg_store_stop(struct mdg_store *s);
/* After stop; before the hubs are freed. NULL is allowed. */
void mdg_store_free(struct mdg_store *s);

/* On the worker's thread, after wake: tells the givers of entries that are written. */
void mdg_store_collect(struct mdg_store *s, unsigned worker);

/* For mdg_hub_set_keeper; the same for all hubs. */
struct mdg_keeper *mdg_store_keeper(struct mdg_store *s);
/* Gives a hub all its rooms back; before its first join. */
int mdg_store_restore(struct mdg_store *s, struct mdg_hub *h) MDG_NODISCARD;
/* Small facts: (space, key) -> value, for sessions, sequences and the like. Later ones replace
 * earlier ones; all of them are written in order with everything else. MDG_E_FULL, MDG_E_NO_MEMORY.
 */
int mdg_store_put(struct mdg_store *s, unsigned worker, struct mdg_slice space,
                  struct mdg_slice key, struct mdg_slice value) MDG_NODISCARD;
int mdg_store_delete(struct mdg_store *s, unsigned worker, struct mdg_slice space,
                     struct mdg_slice key) MDG_NODISCARD;
/* Everything of one space, at start. fn's slices are borrowed. */
typedef void (*mdg_store_each_fn)(void *arg, struct mdg_slice key, struct mdg_slice value);
int mdg_store_each(struct mdg_store *s, struct mdg_slice space, mdg_store_each_fn fn,
                   void *arg) MDG_NODISCARD;
/* fn(arg, err) comes from mdg_store_collect of that worker, once, when everything that the worker
 * gave before is written. */
int mdg_store_sync(struct mdg_store *s, unsigned worker, void (*fn)(void *arg, int err),
                   void *arg) MDG_NODISCARD;

struct mdg_store_stats {
    uint64_t entries, commits, failures; /* written; transactions; failed transactions */
};
struct mdg_store_stats mdg_store_stats(struct mdg_store *s); /* any thread */

#endif
