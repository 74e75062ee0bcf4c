/* Queues in a SQLite file. All workers share one file and one writing thread; what they note in a
 * turn of theirs is written and synced together with what the others noted meanwhile, so the cost
 * of a sync is shared by everything that waits for it (group commit). */
#ifndef MDG_STORE_QUEUES_H
#define MDG_STORE_QUEUES_H

#include "base/base.h"
#include "hub/queue_store.h"

struct mdg_queue_db;
struct mdg_queue_journal;

enum {
    /* Attack, or a slow disk: notes that wait to be written. Beyond it publishing is refused. */
    MDG_QUEUE_DB_WAITING_BYTES_MAX = 256 << 20,
};

/* A batch of notes that has been written; it belongs to its worker again. */
struct mdg_queue_batch {
    void *node[3]; /* the poster's */
    struct mdg_queue_journal *journal;
};
/* Called on the writing thread: must bring the batch to the worker, which calls
 * mdg_queue_journal_done with it. Cannot fail. */
typedef void (*mdg_queue_db_post_fn)(void *arg, struct mdg_queue_batch *batch);

/* Opens or makes the file. why: a sentence on error. -errno, MDG_E_UNSUPPORTED (not such a file, or
 * of a later version), MDG_E_NO_MEMORY. */
int mdg_queue_db_open(const char *path, struct mdg_queue_db **out, char *why,
                      size_t why_size) MDG_NODISCARD;
/* Writes what is noted, then closes. Every journal is closed. NULL is allowed. */
void mdg_queue_db_close(struct mdg_queue_db *db);

/* One worker's access: the `store` of mdg_queue_store_ops. */
extern const struct mdg_queue_store_ops mdg_queue_db_ops;
int mdg_queue_journal_new(struct mdg_queue_db *db, mdg_queue_db_post_fn post, void *arg,
                          struct mdg_queue_journal **out) MDG_NODISCARD;
/* Waits until everything noted is written and posted; no answer comes any more, batches that still
 * arrive at mdg_queue_journal_done are only freed. When no other worker notes any more. */
void mdg_queue_journal_free(struct mdg_queue_journal *j);
void mdg_queue_journal_done(struct mdg_queue_batch *batch);

#endif
