/* CONNECT: version, host, identity, heart-beats (1.2 "Connecting", "Heart-beating"). */
#include "dialect/stomp_impl.h"
#include <stdlib.h>

/* The handshake of the carrier is needed again when CONNECT comes: headers may hold a cookie or a
 * token. It is copied into one block. */
int mdg_stomp_keep_handshake(struct mdg_stomp *c, const struct mdg_handshake *hs)
{
    size_t table = hs->header_count * sizeof *hs->headers;
    size_t len = hs->address.len + hs->method.len + hs->path.len + hs->query.len;
    for (size_t i = 0; i < hs->header_count; i++)
        len += hs->headers[i].name.len + hs->headers[i].value.len;
    c->hs = *hs;
    if (table + len == 0)
        return 0;
    c->hs_bytes = malloc(table + len);
    if (!c->hs_bytes)
        return MDG_E_NO_MEMORY;
    struct mdg_handshake_header *headers = (struct mdg_handshake_header *)(void *)c->hs_bytes;
    uint8_t *at = c->hs_bytes + table;
    struct mdg_slice *fields[] = {&c->hs.address, &c->hs.method, &c->hs.path, &c->hs.query};
    if (table)
        memcpy(headers, hs->headers, table);
    c->hs.headers = headers;
    c->hs.subprotocol = mdg_slice(NULL, 0);
    for (size_t i = 0; i < MDG_ARRAY_LEN(fields) + 2 * hs->header_count; i++) {
        size_t k = i - MDG_ARRAY_LEN(fields);
        struct mdg_slice *s = i < MDG_ARRAY_LEN(fields) ? fields[i]
                              : k % 2                   ? &headers[k / 2].value
                                                        : &headers[k / 2].name;
        if (s->len)
            memcpy(at, s->data, s->len);
        s->data = at;
        at += s->len;
    }
    return 0;
}

static void on_connect_timeout(struct mdg_timer *t, void *arg)
{
    (void)t;
    mdg_stomp_fail(arg, NULL, "Timeout", "No CONNECT frame came in time.\n");
}

/* Nothing heard in two beats in a row: dead. So a peer is given between two and three times the
 * interval that it promised ("a margin of error", 1.2). */
static void on_beat_in(struct mdg_timer *t, void *arg)
{
    struct mdg_stomp *c = arg;
    c->silent = c->heard ? 0 : (uint8_t)(c->silent + 1);
    c->heard = false;
    if (c->silent >= 2)
        mdg_stomp_fail(c, NULL, "Heart-beat missed", "Nothing was heard from you for too long.\n");
    else
        mdg_timer_start(c->server->loop, t, c->beat_in_ms);
}

/* Ticks twice in each interval: an end of line goes out when nothing else did in a tick. */
static void on_beat_out(struct mdg_timer *t, void *arg)
{
    struct mdg_stomp *c = arg;
    if (!c->said)
        mdg_stomp_say(c, MDG_SLICE_LIT("\n"));
    c->said = false;
    if (c->phase != MDG_STOMP_FINISHED)
        mdg_timer_start(c->server->loop, t, c->beat_out_ms / 2);
}

void mdg_stomp_start_timers(struct mdg_stomp *c)
{
    if (c->phase == MDG_STOMP_WAITS) {
        mdg_timer_init(&c->timer_in, on_connect_timeout, c);
        mdg_timer_start(c->server->loop, &c->timer_in, c->server->config->connect_timeout_ms);
        return;
    }
    mdg_timer_stop(c->server->loop, &c->timer_in);
    c->heard = c->said = false;
    if (c->beat_in_ms) {
        mdg_timer_init(&c->timer_in, on_beat_in, c);
        mdg_timer_start(c->server->loop, &c->timer_in, c->beat_in_ms);
    }
    if (c->beat_out_ms) {
        mdg_timer_init(&c->timer_out, on_beat_out, c);
        mdg_timer_start(c->server->loop, &c->timer_out, c->beat_out_ms / 2);
    }
}

void mdg_stomp_stop_timers(struct mdg_stomp *c)
{
    mdg_timer_stop(c->server->loop, &c->timer_in);
    mdg_timer_stop(c->server->loop, &c->timer_out);
}

static bool check_version(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    enum mdg_stomp_version version = mdg_stomp_pick_version(mdg_stomp_find(f, "accept-version"));
    if (version == MDG_STOMP_ANY) {
        mdg_stomp_fail(c, f, "Version mismatch", "Supported versions are 1.0,1.1,1.2\n");
        return false;
    }
    c->dec.version = (uint8_t)version;
    return true;
}

static bool check_host(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    const struct mdg_stomp_config *config = c->server->config;
    struct mdg_slice host = mdg_stomp_find(f, "host");
    if (!host.data || config->vhost_count == 0)
        return true;
    for (size_t i = 0; i < config->vhost_count; i++) {
        if (mdg_slice_eq(host, config->vhosts[i]))
            return true;
    }
    mdg_stomp_fail(c, f, "Bad CONNECT", "Virtual host '%.*s' access denied",
                   (int)mdg_min_size(host.len, 200), (const char *)host.data);
    return false;
}

/* 1.0's examples put a space behind the colon, and CONNECT comes before the version is known. */
static struct mdg_slice credential(const struct mdg_stomp *c, const struct mdg_stomp_frame *f,
                                   const char *name)
{
    struct mdg_slice value = mdg_stomp_find(f, name);
    return c->dec.version == MDG_STOMP_1_0 && value.data ? mdg_slice_trim(value) : value;
}

static bool check_identity(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    c->hs.login = credential(c, f, "login");
    c->hs.passcode = credential(c, f, "passcode");
    c->hs.token = credential(c, f, "token");
    struct mdg_slice login = c->hs.login;
    int err = c->server->authenticate(c->server->arg, &c->hs, &c->who);
    c->hs = (struct mdg_handshake){0};
    free(c->hs_bytes);
    c->hs_bytes = NULL;
    if (err == MDG_E_NO_MEMORY) {
        mdg_stomp_fail_code(c, f, err);
    } else if (err == MDG_E_FULL) {
        mdg_stomp_fail(c, f, "Try again later", "Too many logins were tried.\n");
    } else if (err < 0) {
        mdg_stomp_fail(c, f, "Bad CONNECT", "Access refused for user '%.*s'\n",
                       (int)mdg_min_size(login.len, 200),
                       login.len ? (const char *)login.data : "");
    }
    return err >= 0;
}

/* The longer of what one side can and the other wants, but not shorter than we allow. */
static uint32_t interval(const struct mdg_stomp *c, uint32_t can_ms, uint32_t want_ms)
{
    uint32_t ms = mdg_stomp_heartbeat_interval(can_ms, want_ms);
    return ms && ms < c->server->config->heartbeat_min_ms ? c->server->config->heartbeat_min_ms
                                                          : ms;
}

/* What we offer: as often as the client asks, within our minimum. */
static uint32_t offer(const struct mdg_stomp *c, uint32_t ours_ms, uint32_t theirs_ms)
{
    uint32_t least = c->server->config->heartbeat_min_ms;
    if (ours_ms == 0 || theirs_ms == 0)
        return 0;
    return theirs_ms < least ? least : theirs_ms;
}

static bool start_heartbeats(struct mdg_stomp *c, const struct mdg_stomp_frame *f,
                             struct mdg_stomp_heartbeat *ours)
{
    struct mdg_stomp_heartbeat theirs;
    const struct mdg_stomp_config *config = c->server->config;
    if (mdg_stomp_heartbeat_parse(mdg_stomp_find(f, "heart-beat"), &theirs) < 0) {
        mdg_stomp_fail(c, f, "Bad CONNECT", "The heart-beat header is not two numbers.\n");
        return false;
    }
    ours->can_ms = offer(c, config->heartbeat_can_ms, theirs.want_ms);
    ours->want_ms = offer(c, config->heartbeat_want_ms, theirs.can_ms);
    /* 1.0 has no heart-beats: a client of it that sends the header may not mean to beat. */
    if (c->dec.version == MDG_STOMP_1_0)
        ours->want_ms = 0;
    c->beat_in_ms = interval(c, theirs.can_ms, ours->want_ms);
    c->beat_out_ms = interval(c, ours->can_ms, theirs.want_ms);
    return true;
}

static void say_connected(struct mdg_stomp *c, const struct mdg_stomp_heartbeat *ours)
{
    uint8_t frame[512];
    struct mdg_writer w;
    mdg_writer_init(&w, frame, sizeof frame);
    mdg_stomp_write_command(&w, MDG_STOMP_CONNECTED);
    mdg_stomp_write_header(&w, MDG_STOMP_ANY, MDG_SLICE_LIT("server"),
                           c->server->config->server_name);
    mdg_write_str(&w, "session:session-");
    mdg_write_bytes(&w, c->session_id, sizeof c->session_id);
    mdg_write_str(&w, "\nheart-beat:");
    mdg_write_dec(&w, ours->can_ms);
    mdg_write_u8(&w, ',');
    mdg_write_dec(&w, ours->want_ms);
    mdg_write_u8(&w, '\n');
    mdg_stomp_write_text(&w, MDG_STOMP_ANY, "version",
                         mdg_stomp_version_text((enum mdg_stomp_version)c->dec.version));
    struct mdg_slice name = mdg_principal_name(c->who);
    if (c->server->config->room_headers && !memchr(name.data, '\\', name.len))
        mdg_stomp_write_header(&w, MDG_STOMP_ANY, MDG_SLICE_LIT("user-name"), name);
    mdg_stomp_write_end(&w);
    if (mdg_writer_fits(&w))
        mdg_stomp_say(c, mdg_slice(frame, w.len));
}

void mdg_stomp_on_connect(struct mdg_stomp *c, const struct mdg_stomp_frame *f)
{
    struct mdg_stomp_heartbeat ours;
    if (c->phase != MDG_STOMP_WAITS) {
        mdg_stomp_fail(c, f, "Illegal command", "You are connected already.\n");
        return;
    }
    if (!check_version(c, f) || !check_host(c, f) || !check_identity(c, f) ||
        !start_heartbeats(c, f, &ours))
        return;
    struct mdg_slice client = mdg_stomp_find(f, "client-id");
    if (client.len && client.len <= c->server->config->subscription_bytes_max)
        c->client_id = strndup((const char *)client.data, client.len);
    mdg_session_init(&c->session, c->server->hub, &mdg_stomp_session_ops, c->who);
    c->in_session = true;
    c->phase = MDG_STOMP_READY;
    say_connected(c, &ours);
    mdg_stomp_start_timers(c);
}
