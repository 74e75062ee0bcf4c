/* Datagrams: the same port number as TCP, on the first worker, so that a session is found whatever
 * address its client has today. */
#include "transport/udp.h"
#include "dialect/plain.h"
#include "dialect/raw.h"
#include "server/mount.h"
#include "server/udp.h"
#include <errno.h>
#include <stdlib.h>

/* One socket for each listener. */
struct mdg_udp_part {
    struct mdg_udp_options options;
    struct mdg_udp_hall **halls;
    size_t count;
};

static int on_open(struct mdg_link *l, bool person, const struct mdg_handshake *hs, void *arg)
{
    struct mdg_worker *w = arg;
    struct mdg_principal *who;
    struct mdg_peer *peer;
    int err = mdg_auth_handshake(&w->server->auth, hs, &who);
    if (err < 0)
        return err;
    err = mdg_peer_new(w->peers, person ? &mdg_raw_dialect : &mdg_plain_dialect, who, &peer);
    mdg_principal_unref(who);
    if (err < 0)
        return err;
    l->user = &mdg_peer_link_user;
    l->user_arg = peer;
    mdg_peer_attach(peer, l, hs);
    return 0;
}

static const struct mdg_udp_visitors visitors = {.on_open = on_open};

static int make_part(struct mdg_worker *w)
{
    const struct mdg_params *p = &w->server->params;
    struct mdg_udp_part *part = calloc(1, sizeof *part);
    if (!part)
        return MDG_E_NO_MEMORY;
    part->halls = calloc(w->server->bind_count, sizeof(struct mdg_udp_hall *));
    if (!part->halls) {
        free(part);
        return MDG_E_NO_MEMORY;
    }
    part->options = (struct mdg_udp_options){
        .datagram_bytes_max = (uint32_t)p->udp_datagram_bytes_max,
        .peers_max = (uint32_t)p->udp_peers_max,
        .idle_s = (uint32_t)p->udp_idle_s,
        .typist_idle_s = (uint32_t)p->udp_typist_idle_s,
        .unproven_per_s = (uint32_t)p->udp_unproven_per_s,
    };
    w->udp = part;
    return 0;
}

int mdg_udp_open(struct mdg_worker *w, struct mdg_bind *b)
{
    struct mdg_udp_config config = {.addr = b->addr, .recv_max = MDG_UDP_PAYLOAD_MAX};
    int err = w->udp ? 0 : make_part(w);
    if (err < 0)
        return err;
    struct mdg_udp_part *part = w->udp;
    struct mdg_udp_hall **hall = &part->halls[part->count];
    err = mdg_udp_hall_new(w->net, &config, &part->options, &visitors, w, hall);
    if (err < 0)
        return err;
    part->count++;
    if (b->kind == MDG_BIND_UDP)
        b->addr = *mdg_udp_hall_addr(*hall);
    return 0;
}

void mdg_udp_stop(struct mdg_worker *w)
{
    for (size_t i = 0; w->udp && i < w->udp->count; i++)
        mdg_udp_hall_close(w->udp->halls[i], MDG_CLOSE_GOING_AWAY,
                           MDG_SLICE_LIT("the server stops"));
}

void mdg_udp_fini(struct mdg_worker *w)
{
    if (!w->udp)
        return;
    for (size_t i = 0; i < w->udp->count; i++)
        mdg_udp_hall_free(w->udp->halls[i]);
    free(w->udp->halls);
    free(w->udp);
    w->udp = NULL;
}
