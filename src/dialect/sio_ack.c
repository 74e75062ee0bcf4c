/* Acknowledgements: what we asked a client to answer, each with its own deadline. */
#include "dialect/sio_impl.h"
#include <stdlib.h>

static void ack_end(struct sio_ack *a, int err, const struct mdg_sio_args *args)
{
    struct sio_ack copy = *a;
    mdg_timer_stop(a->socket->nsp->w->loop, &a->timer);
    mdg_list_remove(&a->link);
    a->socket->ack_count--;
    free(a);
    copy.done(copy.arg, copy.socket, err, args);
}

static void on_timeout(struct mdg_timer *t, void *arg)
{
    (void)t;
    ack_end(arg, MDG_E_TIMEOUT, NULL);
}

void sio_acks_answer(struct mdg_sio_socket *s, uint64_t id, const struct mdg_sio_args *args)
{
    MDG_LIST_FOR(it, next, &s->acks)
    {
        struct sio_ack *a = MDG_CONTAINER_OF(it, struct sio_ack, link);
        if (a->id == id) {
            ack_end(a, 0, args);
            return;
        }
    }
    /* Nobody asked, or the time was over: the reference ignores it too. */
}

void sio_acks_fail(struct mdg_sio_socket *s, int err)
{
    while (!mdg_list_empty(&s->acks))
        ack_end(MDG_CONTAINER_OF(mdg_list_first(&s->acks), struct sio_ack, link), err, NULL);
}

int mdg_sio_emit_ack(struct mdg_sio_socket *s, const struct mdg_sio_emit *e, uint32_t timeout_ms,
                     mdg_sio_ack_fn done, void *arg)
{
    struct mdg_sio_worker *w = s->nsp->w;
    if (!sio_emit_ok(w, e))
        return MDG_E_SYNTAX;
    if (s->state != SIO_CONNECTED)
        return MDG_E_CLOSED;
    if (s->ack_count >= w->options->acks_per_socket_max)
        return MDG_E_FULL;
    struct sio_ack *a = calloc(1, sizeof *a);
    if (!a)
        return MDG_E_NO_MEMORY;
    uint64_t id = w->next_ack;
    int err = sio_send_packet(s, e->attachment_count ? MDG_SIO_BINARY_EVENT : MDG_SIO_EVENT, &id, e,
                              NULL);
    if (err < 0) {
        free(a);
        return err;
    }
    w->next_ack++;
    *a = (struct sio_ack){.socket = s, .id = id, .done = done, .arg = arg};
    mdg_list_push(&s->acks, &a->link);
    s->ack_count++;
    mdg_timer_init(&a->timer, on_timeout, a);
    if (timeout_ms)
        mdg_timer_start(w->loop, &a->timer, timeout_ms);
    return 0;
}

int mdg_sio_ack(struct mdg_sio_socket *s, uint64_t ack_id, const struct mdg_sio_emit *e)
{
    if (!sio_emit_ok(s->nsp->w, e))
        return MDG_E_SYNTAX;
    if (s->state != SIO_CONNECTED)
        return MDG_E_CLOSED;
    return sio_send_packet(s, e->attachment_count ? MDG_SIO_BINARY_ACK : MDG_SIO_ACK, &ack_id, e,
                           NULL);
}
