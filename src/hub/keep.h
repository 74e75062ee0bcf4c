/* What a hub needs of a store that survives a restart. The store writes messages in the order in
 * which they were given, many at a time, and says when each is safe; only then does the hub deliver
 * and acknowledge it, so that nobody ever saw a message, or a seq, that a crash can take back. */
#ifndef MDG_KEEP_H
#define MDG_KEEP_H

#include "base/base.h"
#include "hub/hub.h"

/* Something to be written. The store owns it from `append` until it calls one of the functions. */
struct mdg_keep_entry {
    struct mdg_keep_entry *next; /* the store's */
    uint8_t kind;                /* the store's; a hub's entry is 0: append */
    uint8_t worker;
    /* One write that failed makes all of the same generation behind it fail too, because their
     * seqs follow on. The hub then begins the next generation at the last seq that is safe. */
    uint32_t generation;
    int err;                     /* the result */
    struct mdg_content *content; /* borrowed from the giver */
    struct mdg_position at;
    void (*complete)(struct mdg_keep_entry *e); /* on the worker's thread */
    void (*drop)(struct mdg_keep_entry *e);     /* the store goes: nobody will hear of it */
};

struct mdg_keeper {
    /* MDG_E_FULL: the disk does not keep up; the entry is the caller's still. */
    int (*append)(struct mdg_keeper *d, struct mdg_keep_entry *e);
};

/* Before the first publication. NULL: rooms live in memory only. */
void mdg_hub_set_keeper(struct mdg_hub *h, struct mdg_keeper *d);
/* At start: a room as it was, then its messages, oldest first. Rooms of other owners are passed
 * over, so that each hub may be given everything. MDG_E_NO_MEMORY, MDG_E_TOO_BIG (channels_max). */
int mdg_hub_restore_room(struct mdg_hub *h, struct mdg_slice name,
                         struct mdg_position last) MDG_NODISCARD;
/* Takes the content's reference over in every case. */
int mdg_hub_restore_message(struct mdg_hub *h, struct mdg_content *content,
                            struct mdg_position at) MDG_NODISCARD;
/* When everything was given. */
void mdg_hub_restored(struct mdg_hub *h);

#endif
