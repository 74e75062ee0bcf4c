/* Acknowledgements that Socket.IO events wait for: by number, until the answer or the loss of the
 * connection that the event went out on. */
#include "client/client.h"
#include <stdlib.h>

enum { WAITING_MAX = 65536 /* a server that never answers must not fill the memory */ };

int mdg_client_ack_new(struct madang_client *c, madang_client_answer_fn fn, void *arg, uint64_t *id)
{
    if (c->ack_count == WAITING_MAX)
        return MDG_E_FULL;
    struct mdg_client_ack *a = malloc(sizeof *a);
    if (!a)
        return MDG_E_NO_MEMORY;
    *a = (struct mdg_client_ack){
        .next = c->acks, .id = ++c->last_ack, .sent = false, .fn = fn, .arg = arg};
    c->acks = a;
    c->ack_count++;
    *id = a->id;
    return 0;
}

static struct mdg_client_ack **find(struct madang_client *c, uint64_t id)
{
    struct mdg_client_ack **at = &c->acks;
    while (*at && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

/* Out of the list; the caller frees it. */
static struct mdg_client_ack *take(struct madang_client *c, struct mdg_client_ack **at)
{
    struct mdg_client_ack *a = *at;
    *at = a->next;
    c->ack_count--;
    return a;
}

void mdg_client_ack_drop(struct madang_client *c, uint64_t id)
{
    struct mdg_client_ack **at = find(c, id);
    if (*at)
        free(take(c, at));
}

void mdg_client_ack_sent(struct madang_client *c, uint64_t id)
{
    struct mdg_client_ack **at = find(c, id);
    if (*at)
        (*at)->sent = true;
}

void mdg_client_ack_answer(struct madang_client *c, uint64_t id, struct mdg_slice json)
{
    struct mdg_client_ack **at = find(c, id);
    if (!*at)
        return; /* nobody asked, or twice */
    struct mdg_client_ack *a = take(c, at);
    a->fn(c, 0, (const char *)json.data, json.len, a->arg);
    free(a);
}

void mdg_client_acks_lost(struct madang_client *c, bool all)
{
    struct mdg_client_ack *lost = NULL;
    for (struct mdg_client_ack **at = &c->acks; *at;) {
        if (!all && !(*at)->sent) {
            at = &(*at)->next;
            continue;
        }
        struct mdg_client_ack *a = take(c, at);
        a->next = lost; /* the newest stand first: so they are told in order */
        lost = a;
    }
    while (lost) {
        struct mdg_client_ack *next = lost->next;
        lost->fn(c, MDG_E_CLOSED, "[]", 2, lost->arg);
        free(lost);
        lost = next;
    }
}

void mdg_client_acks_free(struct madang_client *c)
{
    while (c->acks)
        free(take(c, &c->acks));
}
