/* What queues.c (a worker's notes) and queues_db.c (the file and its writing thread) share. */
#ifndef MDG_STORE_QUEUES_IMPL_H
#define MDG_STORE_QUEUES_IMPL_H

#include "store/queues.h"
#include <pthread.h>
#include <sqlite3.h>

enum mdg_qnote_kind {
    MDG_QNOTE_PUT,
    MDG_QNOTE_REMOVE,
    MDG_QNOTE_BIND,
    MDG_QNOTE_FORGET,
    MDG_QNOTE_PART, /* one part of its unit ends here; nothing to write */
    MDG_QNOTE_VOID,
};

struct mdg_qnote {
    struct mdg_qnote *next;
    uint64_t id;
    struct mdg_content *content; /* of a put */
    struct mdg_queue_unit *unit; /* NULL: it stands for itself */
    uint32_t queue_len, source_len;
    uint8_t kind;    /* enum mdg_qnote_kind */
    uint8_t bytes[]; /* queue, then source */
};

/* Notes of one worker that are written together. */
struct mdg_qbatch {
    struct mdg_queue_batch head;
    struct mdg_qbatch *next;
    struct mdg_qnote *first, **last;
    struct mdg_qnote *search; /* no put stands before it */
    size_t bytes;
    bool has_parts, waits; /* `waits`: the writing thread's */
    int err;
    void (*fn)(void *arg, int err);
    void *arg;
};

struct mdg_queue_journal {
    struct mdg_queue_db *db;
    mdg_queue_db_post_fn post;
    void *post_arg;
    struct mdg_qbatch *open;     /* what is being noted */
    struct mdg_queue_unit *unit; /* what it is part of */
    unsigned under_way;          /* batches that are not back */
    bool closed;
};

enum mdg_queue_statement {
    MDG_QSQL_PUT,
    MDG_QSQL_REMOVE,
    MDG_QSQL_BIND,
    MDG_QSQL_FORGET,
    MDG_QSQL_UNBIND,
    MDG_QSQL_COUNT
};

struct mdg_queue_db {
    sqlite3 *db;
    sqlite3_stmt *statements[MDG_QSQL_COUNT];
    pthread_t thread;
    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t wake, idle;
    struct mdg_qbatch *waiting, **waiting_last;
    size_t waiting_bytes;
    bool writing, stop, has_thread;
    bool ending; /* no part of a unit comes any more: those that are not whole are dropped */
};

/* queues_db.c */
void mdg_queue_db_give(struct mdg_queue_db *db, struct mdg_qbatch *b);
/* Until everything that was given is written. */
void mdg_queue_db_drain(struct mdg_queue_db *db);

static inline struct mdg_slice mdg_qnote_queue(const struct mdg_qnote *n)
{
    return mdg_slice(n->bytes, n->queue_len);
}

#endif
