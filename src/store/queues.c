/* Notes are kept in a list; a sync gives the list to the writing thread, which gives it back with
 * the result. A message that is acknowledged before its list was given away never reaches the
 * disk. */
#include "store/queues_impl.h"
#include "store/record.h"
#include <errno.h>
#include <stdlib.h>

enum { SEARCH_STEPS = 64 };

static void free_batch(struct mdg_qbatch *b)
{
    if (!b)
        return;
    for (struct mdg_qnote *n = b->first, *next; n; n = next) {
        next = n->next;
        mdg_content_unref(n->content);
        mdg_queue_unit_unref(n->unit);
        free(n);
    }
    free(b);
}

static struct mdg_qbatch *open_batch(struct mdg_queue_journal *j)
{
    if (j->open)
        return j->open;
    struct mdg_qbatch *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->head.journal = j;
    b->last = &b->first;
    j->open = b;
    return b;
}

static int add_note(struct mdg_queue_journal *j, enum mdg_qnote_kind kind, struct mdg_slice queue,
                    struct mdg_slice source, struct mdg_qnote **out)
{
    struct mdg_qbatch *b = open_batch(j);
    struct mdg_qnote *n = b ? calloc(1, sizeof *n + queue.len + source.len) : NULL;
    if (!n)
        return MDG_E_NO_MEMORY;
    n->kind = (uint8_t)kind;
    n->queue_len = (uint32_t)queue.len;
    n->source_len = (uint32_t)source.len;
    if (queue.len)
        memcpy(n->bytes, queue.data, queue.len);
    if (source.len)
        memcpy(n->bytes + queue.len, source.data, source.len);
    n->unit = j->unit ? mdg_queue_unit_ref(j->unit) : NULL;
    *b->last = n;
    b->last = &n->next;
    if (!b->search)
        b->search = n;
    b->bytes += sizeof *n + queue.len + source.len;
    *out = n;
    return 0;
}

static bool is_full(struct mdg_queue_journal *j, size_t more)
{
    struct mdg_queue_db *db = j->db;
    pthread_mutex_lock(&db->lock);
    bool full =
        db->waiting_bytes + (j->open ? j->open->bytes : 0) + more > MDG_QUEUE_DB_WAITING_BYTES_MAX;
    pthread_mutex_unlock(&db->lock);
    return full;
}

static int put(void *store, struct mdg_slice queue, uint64_t id, struct mdg_content *content)
{
    struct mdg_queue_journal *j = store;
    struct mdg_qnote *n;
    if (is_full(j, content->bytes))
        return MDG_E_FULL;
    int err = add_note(j, MDG_QNOTE_PUT, queue, mdg_slice(NULL, 0), &n);
    if (err < 0)
        return err;
    n->id = id;
    n->content = mdg_content_ref(content);
    j->open->bytes += content->bytes;
    return 0;
}

/* A message that was put and taken in the same batch need not be written. Messages are usually
 * taken in the order in which they were put, so the search goes on where the last one ended, and
 * not far: a removal that is written too does no harm. */
static bool cancels_put(struct mdg_queue_journal *j, struct mdg_slice queue, uint64_t id)
{
    struct mdg_qbatch *b = j->open;
    while (b && b->search && b->search->kind != MDG_QNOTE_PUT)
        b->search = b->search->next;
    struct mdg_qnote *n = b ? b->search : NULL;
    for (int steps = 0; n && steps < SEARCH_STEPS; n = n->next, steps++) {
        if (n->kind == MDG_QNOTE_PUT && n->id == id && mdg_slice_eq(mdg_qnote_queue(n), queue)) {
            n->kind = MDG_QNOTE_VOID;
            mdg_content_unref(n->content);
            n->content = NULL;
            return true;
        }
    }
    return false;
}

static int remove_message(void *store, struct mdg_slice queue, uint64_t id)
{
    struct mdg_qnote *n;
    struct mdg_queue_journal *j = store;
    /* A unit that is dropped must not have taken a message along that was not its own. */
    if (!j->unit && cancels_put(j, queue, id))
        return 0;
    int err = add_note(store, MDG_QNOTE_REMOVE, queue, mdg_slice(NULL, 0), &n);
    if (err == 0)
        n->id = id;
    return err;
}

static int bind_queue(void *store, struct mdg_slice queue, struct mdg_slice source)
{
    struct mdg_qnote *n;
    return add_note(store, MDG_QNOTE_BIND, queue, source, &n);
}

static int forget(void *store, struct mdg_slice queue)
{
    struct mdg_qnote *n;
    return add_note(store, MDG_QNOTE_FORGET, queue, mdg_slice(NULL, 0), &n);
}

static void enter(void *store, struct mdg_queue_unit *unit)
{
    struct mdg_queue_journal *j = store;
    assert(!j->unit);
    j->unit = unit;
}

static void leave(void *store)
{
    struct mdg_queue_journal *j = store;
    struct mdg_qnote *n;
    struct mdg_slice none = {NULL, 0};
    if (add_note(j, MDG_QNOTE_PART, none, none, &n) == 0)
        j->open->has_parts = true;
    else
        mdg_queue_unit_fail(j->unit, MDG_E_NO_MEMORY); /* nobody may wait for this part */
    j->unit = NULL;
}

static int sync_notes(void *store, void (*fn)(void *arg, int err), void *arg)
{
    struct mdg_queue_journal *j = store;
    struct mdg_qbatch *b = open_batch(j);
    if (!b)
        return MDG_E_NO_MEMORY;
    b->fn = fn;
    b->arg = arg;
    j->open = NULL;
    j->under_way++;
    mdg_queue_db_give(j->db, b);
    return 0;
}

static int load_messages(struct mdg_queue_db *db, mdg_queue_load_fn message, void *arg)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(
        db->db, "SELECT queue, id, content FROM messages ORDER BY queue, id", -1, &s, NULL);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        struct mdg_slice queue =
            mdg_slice(sqlite3_column_blob(s, 0), (size_t)sqlite3_column_bytes(s, 0));
        struct mdg_slice record =
            mdg_slice(sqlite3_column_blob(s, 2), (size_t)sqlite3_column_bytes(s, 2));
        struct mdg_content *content;
        int err = mdg_record_read(record, &content);
        if (err < 0) {
            sqlite3_finalize(s);
            return err;
        }
        message(arg, queue, (uint64_t)sqlite3_column_int64(s, 1), content);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(s);
    return rc == SQLITE_DONE ? 0 : -EIO;
}

static int load_bindings(struct mdg_queue_db *db, mdg_queue_bound_fn bound, void *arg)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db->db, "SELECT queue, source FROM bindings", -1, &s, NULL);
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        bound(arg, mdg_slice(sqlite3_column_blob(s, 0), (size_t)sqlite3_column_bytes(s, 0)),
              mdg_slice(sqlite3_column_blob(s, 1), (size_t)sqlite3_column_bytes(s, 1)));
        rc = SQLITE_OK;
    }
    sqlite3_finalize(s);
    return rc == SQLITE_DONE ? 0 : -EIO;
}

/* Before there are notes, hence the writing thread sleeps and the connection is free. */
static int load(void *store, mdg_queue_load_fn message, mdg_queue_bound_fn bound, void *arg)
{
    struct mdg_queue_journal *j = store;
    int err = load_bindings(j->db, bound, arg);
    return err < 0 ? err : load_messages(j->db, message, arg);
}

const struct mdg_queue_store_ops mdg_queue_db_ops = {
    .put = put,
    .remove = remove_message,
    .bind = bind_queue,
    .forget = forget,
    .enter = enter,
    .leave = leave,
    .sync = sync_notes,
    .load = load,
};

int mdg_queue_journal_new(struct mdg_queue_db *db, mdg_queue_db_post_fn post, void *arg,
                          struct mdg_queue_journal **out)
{
    struct mdg_queue_journal *j = calloc(1, sizeof *j);
    if (!j)
        return MDG_E_NO_MEMORY;
    j->db = db;
    j->post = post;
    j->post_arg = arg;
    *out = j;
    return 0;
}

static void free_if_over(struct mdg_queue_journal *j)
{
    if (j->closed && j->under_way == 0)
        free(j);
}

static void nobody(void *arg, int err)
{
    (void)arg;
    (void)err;
}

void mdg_queue_journal_free(struct mdg_queue_journal *j)
{
    if (!j)
        return;
    if (j->open && sync_notes(j, nobody, NULL) < 0)
        free_batch(j->open);
    mdg_queue_db_drain(j->db);
    j->closed = true;
    free_if_over(j);
}

void mdg_queue_journal_done(struct mdg_queue_batch *batch)
{
    struct mdg_qbatch *b = MDG_CONTAINER_OF(batch, struct mdg_qbatch, head);
    struct mdg_queue_journal *j = batch->journal;
    j->under_way--;
    if (!j->closed)
        b->fn(b->arg, b->err);
    free_batch(b);
    free_if_over(j);
}
