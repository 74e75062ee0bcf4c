/* Receipts (1.2 "RECEIPT"): what a frame started has ended well. A frame may start several things,
 * a COMMIT consists of frames; DISCONNECT waits for everything before it. */
#include "dialect/stomp_impl.h"
#include <stdlib.h>

enum { RECEIPT_BYTES_MAX = 1024 };

struct mdg_stomp_pending *mdg_stomp_pend(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    struct mdg_slice receipt = mdg_stomp_find(f, "receipt");
    if (receipt.len > RECEIPT_BYTES_MAX) {
        mdg_stomp_fail(c, NULL, "Invalid header", "The receipt header is too long.\n");
        return NULL;
    }
    struct mdg_stomp_pending *p = malloc(sizeof *p + receipt.len);
    if (!p) {
        mdg_stomp_fail_code(c, NULL, MDG_E_NO_MEMORY);
        return NULL;
    }
    *p = (struct mdg_stomp_pending){.conn = c, .waits = 1, .receipt_len = (uint16_t)receipt.len};
    if (receipt.len)
        memcpy(p->receipt, receipt.data, receipt.len);
    mdg_list_push(&c->pendings, &p->in_conn);
    c->pending_count++;
    return p;
}

void mdg_stomp_pend_more(struct mdg_stomp_pending *p)
{
    p->waits++;
}

static void say_receipt(struct mdg_stomp *c, struct mdg_slice receipt)
{
    uint8_t frame[2 * RECEIPT_BYTES_MAX + 64];
    struct mdg_writer w;
    mdg_writer_init(&w, frame, sizeof frame);
    mdg_stomp_write_command(&w, MDG_STOMP_RECEIPT);
    mdg_stomp_write_header(&w, (enum mdg_stomp_version)c->dec.version, MDG_SLICE_LIT("receipt-id"),
                           receipt);
    mdg_stomp_write_end(&w);
    assert(mdg_writer_fits(&w)); /* an escape doubles a byte at most */
    mdg_stomp_say(c, mdg_slice(frame, w.len));
}

static void leave_now(struct mdg_stomp *c, struct mdg_stomp_pending *p)
{
    if (p->receipt_len)
        say_receipt(c, mdg_slice(p->receipt, p->receipt_len));
    mdg_stomp_finish(c, MDG_CLOSE_NORMAL, "");
}

/* The only thing that is left is the DISCONNECT itself: its turn has come. */
static void leave_if_last(struct mdg_stomp *c)
{
    if (c->phase != MDG_STOMP_LEAVING || c->pending_count != 1)
        return;
    struct mdg_stomp_pending *p =
        MDG_CONTAINER_OF(mdg_list_first(&c->pendings), struct mdg_stomp_pending, in_conn);
    if (p->closes)
        leave_now(c, p);
}

static void finish(struct mdg_stomp_pending *p)
{
    struct mdg_stomp *c = p->conn;
    struct mdg_stomp_pending *whole = p->whole;
    int err = p->err;
    if (err == 0 && p->receipt_len)
        say_receipt(c, mdg_slice(p->receipt, p->receipt_len));
    if (err < 0) {
        /* The frame is long gone; a stand-in carries its receipt to the ERROR. */
        struct mdg_stomp_frame f = {.header_count = p->receipt_len ? 1 : 0};
        f.headers[0] = (struct mdg_stomp_header){MDG_SLICE_LIT("receipt"),
                                                 mdg_slice(p->receipt, p->receipt_len)};
        mdg_stomp_fail_code(c, &f, err);
    }
    mdg_list_remove(&p->in_conn);
    c->pending_count--;
    mdg_stomp_release(c, p);
    free(p);
    if (whole)
        mdg_stomp_pend_done(whole, err);
    mdg_stomp_start_late(c);
    leave_if_last(c);
}

void mdg_stomp_pend_done(struct mdg_stomp_pending *p, int err)
{
    assert(p->waits > 0);
    if (err < 0 && p->err == 0)
        p->err = err;
    if (--p->waits == 0)
        finish(p);
}

void mdg_stomp_published(void *arg, int err, struct mdg_position at)
{
    (void)at;
    mdg_stomp_pend_done(arg, err);
}

void mdg_stomp_queue_done(void *arg, uint64_t cookie, int err)
{
    (void)arg;
    mdg_stomp_pend_done((struct mdg_stomp_pending *)(uintptr_t)cookie, err);
}

void mdg_stomp_drop_pendings(struct mdg_stomp *c)
{
    mdg_queue_waiter_fini(&c->waiter);
    MDG_LIST_FOR(node, next, &c->pendings)
    {
        struct mdg_stomp_pending *p = MDG_CONTAINER_OF(node, struct mdg_stomp_pending, in_conn);
        mdg_hub_forget(c->server->hub, p);
        mdg_list_remove(node);
        free(p);
    }
    c->pending_count = 0;
}

void mdg_stomp_on_disconnect(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    struct mdg_stomp_pending *p = mdg_stomp_pend(c, f);
    if (!p)
        return;
    p->closes = true;
    c->phase = MDG_STOMP_LEAVING;
    mdg_stomp_give_back(c);
    mdg_stomp_drop_txs(c); /* 1.2 "BEGIN": a transaction that was not committed is aborted */
    leave_if_last(c);
}
