/* Buffers for messages that come in several reads, and decompression. A buffer is a blob with room
 * for a frame's head in front, so that an echo of it is sent by reference. */
#include "base/utf8.h"
#include "transport/ws_conn.h"
#include <stdlib.h>

enum {
    GROW_MIN = 4096,             /* the first buffer, however little has come */
    SPARE_MAX = 2 * 1024 * 1024, /* a larger buffer is not kept for the next message */
    INFLATERS_KEPT = 4           /* 40 KiB each */
};

struct mdg_ws_aux *mdg_ws_aux_get(struct mdg_ws_conn *c)
{
    if (!c->aux)
        c->aux = calloc(1, sizeof *c->aux);
    return c->aux;
}

static void free_inflater(struct mdg_inflate_box *box)
{
    mdg_inflate_close(&box->inflate);
    free(box);
}

void mdg_ws_aux_tidy(struct mdg_ws_conn *c)
{
    struct mdg_ws_aux *aux = c->aux;
    if (!aux || aux->message || aux->inflate || aux->deflate || mdg_ws_is(c, MDG_WS_OUT_PAUSED))
        return;
    free(aux);
    c->aux = NULL;
}

void mdg_ws_aux_drop(struct mdg_ws_conn *c)
{
    struct mdg_ws_aux *aux = c->aux;
    if (!aux)
        return;
    if (aux->message)
        mdg_ws_message_release(c->endpoint->worker, aux->message);
    if (aux->inflate)
        free_inflater(aux->inflate);
    if (aux->deflate) {
        mdg_deflate_close(aux->deflate);
        free(aux->deflate);
    }
    free(aux);
    c->aux = NULL;
}

static bool is_alone(const struct mdg_blob *blob)
{
    return atomic_load_explicit(&blob->refs, memory_order_acquire) == 1;
}

void mdg_ws_message_release(struct mdg_ws_worker *w, struct mdg_blob *blob)
{
    /* Kept in place of the smallest one that is kept, if it is larger. */
    struct mdg_blob **place = &w->spares[0];
    for (size_t i = 1; i < MDG_WS_SPARES && *place; i++) {
        if (!w->spares[i] || w->spares[i]->len < (*place)->len)
            place = &w->spares[i];
    }
    if (blob->len <= SPARE_MAX && (!*place || (*place)->len < blob->len)) {
        struct mdg_blob *smaller = *place;
        *place = blob;
        blob = smaller;
    }
    mdg_blob_unref(blob);
}

/* The smallest spare that will do, else the largest. */
static struct mdg_blob *take_spare(struct mdg_ws_worker *w, size_t want)
{
    struct mdg_blob **best = NULL;
    for (size_t i = 0; i < MDG_WS_SPARES; i++) {
        struct mdg_blob **it = &w->spares[i];
        if (!*it || !is_alone(*it))
            continue;
        bool enough = (*it)->len >= want;
        if (!best ||
            (enough ? (*best)->len < want || (*it)->len < (*best)->len : (*it)->len > (*best)->len))
            best = it;
    }
    struct mdg_blob *found = best ? *best : NULL;
    if (found)
        *best = NULL;
    return found;
}

/* A buffer for a message whose first bytes come now: `want` of them, `wish` in the end. */
static int begin(struct mdg_ws_conn *c, size_t want, size_t wish)
{
    struct mdg_ws_aux *aux = mdg_ws_aux_get(c);
    if (!aux)
        return MDG_E_NO_MEMORY;
    aux->len = 0;
    aux->utf8 = MDG_UTF8_START;
    aux->message = take_spare(c->endpoint->worker, MDG_WS_HEADROOM + wish);
    if (!aux->message && want <= UINT32_MAX - MDG_WS_HEADROOM)
        aux->message = mdg_blob_new((uint32_t)(MDG_WS_HEADROOM + want));
    return aux->message ? 0 : MDG_E_NO_MEMORY;
}

static int reserve(struct mdg_ws_aux *aux, size_t more)
{
    size_t total = MDG_WS_HEADROOM + (size_t)aux->len + more;
    if (mdg_ws_message_room(aux) >= more)
        return 0;
    return total > UINT32_MAX ? MDG_E_NO_MEMORY : mdg_blob_resize(&aux->message, (uint32_t)total);
}

int mdg_ws_message_grow(struct mdg_ws_conn *c, size_t more)
{
    struct mdg_ws_aux *aux = c->aux;
    if (!mdg_ws_gathering(c))
        return begin(c, mdg_min_size(more, GROW_MIN), mdg_min_size(more, SPARE_MAX));
    if (mdg_ws_message_room(aux) > 0)
        return 0;
    return reserve(aux, mdg_min_size(more, mdg_max_size(aux->len, GROW_MIN)));
}

int mdg_ws_message_append(struct mdg_ws_conn *c, const uint8_t *data, size_t len, size_t expected)
{
    size_t have = mdg_ws_gathering(c) ? c->aux->len : 0;
    /* At least doubled, so that a thousand fragments are not a thousand moves; what was announced
     * and has not come counts only as far as that. */
    size_t total = mdg_min_size(mdg_max_size(expected, have + len), /* not more than needed */
                                mdg_max_size(2 * have + GROW_MIN, have + len));
    if (!mdg_ws_gathering(c) && begin(c, total, expected) < 0)
        return MDG_E_NO_MEMORY;
    struct mdg_ws_aux *aux = c->aux;
    if (mdg_ws_message_room(aux) < len && reserve(aux, total - have) < 0)
        return MDG_E_NO_MEMORY;
    if (len)
        memcpy(mdg_ws_message_end(aux), data, len);
    aux->len += (uint32_t)len;
    return 0;
}

/* With context takeover a connection keeps its inflater; otherwise it borrows one for a message. */
static struct mdg_inflate_box *take_inflater(struct mdg_ws_worker *w, bool fresh, uint8_t bits)
{
    struct mdg_inflate_box *box = w->inflaters;
    if (fresh && box) {
        w->inflaters = box->next;
        w->inflater_count--;
        return box;
    }
    box = calloc(1, sizeof *box);
    /* A borrowed one is for everybody: the largest window reads what any window wrote. */
    if (box && mdg_inflate_open(&box->inflate, fresh ? 15 : bits, fresh) < 0) {
        free(box);
        box = NULL;
    }
    return box;
}

static void give_back_inflater(struct mdg_ws_worker *w, struct mdg_inflate_box *box)
{
    if (w->inflater_count >= INFLATERS_KEPT) {
        free_inflater(box);
        return;
    }
    box->next = w->inflaters;
    w->inflaters = box;
    w->inflater_count++;
}

void mdg_ws_worker_free_messages(struct mdg_ws_worker *w)
{
    while (w->inflaters) {
        struct mdg_inflate_box *next = w->inflaters->next;
        free_inflater(w->inflaters);
        w->inflaters = next;
    }
    w->inflater_count = 0;
    for (size_t i = 0; i < MDG_WS_SPARES; i++) {
        mdg_blob_unref(w->spares[i]);
        w->spares[i] = NULL;
    }
}

/* One filling of the buffer. As mdg_inflate_piece. */
static int inflate_some(struct mdg_ws_conn *c, struct mdg_slice *piece,
                        const struct mdg_ws_event *ev)
{
    struct mdg_ws_aux *aux = c->aux;
    size_t max = c->endpoint->codec.message_max, made = 0;
    /* One byte more than allowed, to see that there is one. */
    size_t room = mdg_min_size(mdg_ws_message_room(aux), max + 1 - aux->len);
    uint8_t *at = mdg_ws_message_end(aux);
    int rc = mdg_inflate_piece(&aux->inflate->inflate, piece, ev->last, at, room, &made);
    if (rc < 0)
        return rc;
    aux->len += (uint32_t)made;
    if (aux->len > max)
        return MDG_E_TOO_BIG;
    if (ev->op == MDG_WS_TEXT)
        aux->utf8 = mdg_utf8_next(aux->utf8, at, made);
    return aux->utf8 == MDG_UTF8_BAD ? MDG_E_SYNTAX : rc;
}

int mdg_ws_inflate(struct mdg_ws_conn *c, const struct mdg_ws_event *ev)
{
    struct mdg_ws_worker *w = c->endpoint->worker;
    const struct mdg_ws_deflate *agreed = &c->endpoint->deflate;
    bool client = c->endpoint->codec.client;
    bool fresh = client ? agreed->server_fresh : agreed->client_fresh;
    struct mdg_ws_aux *aux = mdg_ws_aux_get(c);
    if (!aux)
        return MDG_E_NO_MEMORY;
    if (!aux->inflate)
        aux->inflate = take_inflater(w, fresh, client ? agreed->server_bits : agreed->client_bits);
    if (!aux->inflate)
        return MDG_E_NO_MEMORY;
    struct mdg_slice piece = mdg_slice(ev->bytes.data, ev->bytes.len);
    int rc = 1;
    while (rc == 1) {
        if (mdg_ws_message_grow(c, SIZE_MAX / 2) < 0)
            return MDG_E_NO_MEMORY;
        rc = inflate_some(c, &piece, ev);
        if (rc < 0)
            return rc;
    }
    if (!ev->last)
        return 0;
    if (fresh) {
        give_back_inflater(w, aux->inflate);
        aux->inflate = NULL;
    }
    return aux->utf8 == MDG_UTF8_START ? 0 : MDG_E_SYNTAX;
}
