/* What is to be sent: now, or when there is a connection and room. */
#include "client/client.h"
#include "codec/sio.h"
#include <stdlib.h>

int mdg_client_carry(struct madang_client *c, struct mdg_slice data, bool binary)
{
    const struct mdg_unit_meta meta = {.binary = binary, .compress = true};
    if (c->carrier->send)
        return c->carrier->send(c, data, binary);
    return c->link ? mdg_link_send_unit(c->link, data, &meta) : MDG_E_UNSUPPORTED;
}

static int send_now(struct madang_client *c, const struct mdg_client_out *out)
{
    if (c->protocol->send)
        return c->protocol->send(c, out);
    return mdg_client_carry(c, out->data, out->binary);
}

void mdg_client_queue_free(struct madang_client *c)
{
    while (c->queue) {
        struct mdg_client_waiting *next = c->queue->next;
        free(c->queue);
        c->queue = next;
    }
    c->queue_end = &c->queue;
    c->queued = 0;
}

/* It was buffered, and now nobody can take it. */
static void unsent(struct madang_client *c, const struct mdg_client_out *out, int err)
{
    mdg_client_ack_drop(c, out->ack);
    if (c->handlers->on_unsent)
        c->handlers->on_unsent(c, err, c->arg);
}

void mdg_client_flush(struct madang_client *c)
{
    if (c->protocol->pay && c->protocol->pay(c) < 0)
        return;
    while (c->queue && c->state == MDG_CLIENT_OPEN) {
        struct mdg_client_waiting *m = c->queue;
        int rc = send_now(c, &m->out);
        if (rc == MDG_E_FULL || rc == MDG_E_CLOSED || rc == MDG_E_NO_MEMORY)
            return;
        c->queue = m->next;
        if (!c->queue)
            c->queue_end = &c->queue;
        c->queued -= m->out.data.len;
        if (rc < 0)
            unsent(c, &m->out, rc);
        free(m);
    }
    if (c->state != MDG_CLIENT_OPEN)
        return;
    if (c->drained_owed && c->handlers->on_drained && !c->closing) {
        c->drained_owed = false;
        c->handlers->on_drained(c, c->arg);
    }
    if (c->closing && !c->queue)
        mdg_client_say_goodbye(c);
}

static int put_off(struct madang_client *c, const struct mdg_client_out *out)
{
    if (c->queued + out->data.len > c->options.buffer_bytes_max)
        return MDG_E_FULL;
    struct mdg_client_waiting *m = malloc(sizeof *m + out->data.len);
    if (!m)
        return MDG_E_NO_MEMORY;
    *m = (struct mdg_client_waiting){.out = *out};
    m->out.data.data = (const uint8_t *)(m + 1);
    if (out->data.len)
        memcpy(m + 1, out->data.data, out->data.len);
    *c->queue_end = m;
    c->queue_end = &m->next;
    c->queued += out->data.len;
    c->drained_owed = true;
    return 0;
}

/* Now, or when there is a connection and room. */
static int submit(struct madang_client *c, const struct mdg_client_out *out)
{
    if (c->closing || c->state == MDG_CLIENT_ENDED)
        return MDG_E_CLOSED;
    if (c->url.kind == MDG_CLIENT_HTTP || (out->binary && c->url.kind == MDG_CLIENT_LINES))
        return MDG_E_UNSUPPORTED;
    if (c->state == MDG_CLIENT_OPEN && !c->queue) {
        int rc = send_now(c, out);
        if (rc != MDG_E_FULL)
            return rc;
    }
    return put_off(c, out);
}

int madang_client_send(struct madang_client *c, const void *data, size_t len, bool binary)
{
    const struct mdg_client_out out = {.data = mdg_slice(data, len), .binary = binary};
    return submit(c, &out);
}

int madang_client_emit(struct madang_client *c, const char *json, size_t len,
                       madang_client_answer_fn answer, void *arg)
{
    struct mdg_client_out out = {.event = true};
    if (c->url.layer != MDG_CLIENT_SIO)
        return MDG_E_UNSUPPORTED;
    int rc = mdg_sio_check_event(mdg_slice(json, len), &out.data);
    if (rc == 0 && answer)
        rc = mdg_client_ack_new(c, answer, arg, &out.ack);
    if (rc == 0)
        rc = submit(c, &out);
    if (rc < 0)
        mdg_client_ack_drop(c, out.ack);
    return rc;
}

size_t madang_client_queued(const struct madang_client *c)
{
    size_t below = c->link && c->link->carrier->queued ? c->link->carrier->queued(c->link) : 0;
    if (c->carrier->queued)
        below += c->carrier->queued(c);
    if (c->protocol->queued)
        below += c->protocol->queued(c);
    return c->queued + below;
}
