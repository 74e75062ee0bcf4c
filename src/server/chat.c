/* The chat: signing in by name, and its WebSocket endpoint in both forms. */
#include "base/json.h"
#include "base/utf8.h"
#include "base/writer.h"
#include "dialect/plain.h"
#include "server/mount.h"
#include "server/token.h"
#include <stdio.h>
#include <stdlib.h>

enum { LOGIN_BODY_MAX = 1024 };

/* ---- POST /chat/login ---- */

struct login {
    struct mdg_worker *worker;
    size_t len;
    uint8_t body[LOGIN_BODY_MAX];
};

static void answer_name(struct mdg_exchange *x, const char *name, size_t len)
{
    char body[8 * MDG_NAME_BYTES_MAX];
    struct mdg_writer w;
    mdg_writer_init(&w, body, sizeof body);
    mdg_write_str(&w, "{\"name\":");
    mdg_write_json_string(&w, mdg_slice(name, len));
    mdg_write_str(&w, ",\"guest\":false}");
    assert(mdg_writer_fits(&w));
    mdg_exchange_respond_text(x, 200, "application/json", mdg_slice(body, w.len));
}

static int set_cookie(struct mdg_worker *w, struct mdg_exchange *x, const char *value,
                      uint64_t max_age_s)
{
    char header[MDG_COOKIE_TEXT_MAX + 128];
    int n = snprintf(header, sizeof header,
                     MDG_COOKIE_NAME "=%s; Path=/; Max-Age=%llu; HttpOnly; SameSite=Lax%s", value,
                     (unsigned long long)max_age_s,
                     mdg_exchange_handshake(x)->secure ? "; Secure" : "");
    (void)w;
    assert(n > 0 && (size_t)n < sizeof header);
    return mdg_exchange_add_header(x, MDG_SLICE_LIT("Set-Cookie"), mdg_slice(header, (size_t)n));
}

static bool read_name(struct mdg_slice body, uint8_t *out, size_t cap, struct mdg_slice *name)
{
    struct mdg_slice object, value;
    if (!mdg_utf8_valid(body) || mdg_json_check(body, 4, &object) < 0 ||
        !mdg_json_find(object, MDG_SLICE_LIT("name"), &value) ||
        mdg_json_type(value) != MDG_JSON_STRING)
        return false;
    int64_t len = mdg_json_unescape(value, out, cap);
    if (len < 0)
        return false;
    *name = mdg_slice_trim(mdg_slice(out, (size_t)len));
    return true;
}

static void sign_in(struct mdg_exchange *x, struct login *login)
{
    struct mdg_worker *w = login->worker;
    struct mdg_auth *auth = &w->server->auth;
    const struct mdg_handshake *hs = mdg_exchange_handshake(x);
    uint8_t room[LOGIN_BODY_MAX];
    char cookie[MDG_COOKIE_TEXT_MAX];
    struct mdg_slice name;
    if (!read_name(mdg_slice(login->body, login->len), room, sizeof room, &name)) {
        mdg_exchange_respond_error(x, 400, "bad_request", "send JSON such as {\"name\":\"ann\"}");
        return;
    }
    int err = mdg_auth_sign_in(auth, name, mdg_auth_cookie_of(hs), hs->unix_ms, cookie);
    if (err == MDG_E_SYNTAX || err == MDG_E_TOO_BIG)
        mdg_exchange_respond_error(x, 400, "name_invalid",
                                   "a name has 1 to 32 characters, no colon, no control or "
                                   "invisible characters");
    else if (err == MDG_E_EXISTS)
        mdg_exchange_respond_error(x, 409, "name_taken", "somebody has this name already");
    else if (err < 0 || set_cookie(w, x, cookie, w->server->params.session_ttl_s) < 0)
        mdg_exchange_respond_error(x, 503, "unavailable", "try again in a moment");
    else
        answer_name(x, (const char *)name.data, name.len);
}

static int on_login(struct mdg_exchange *x, void *arg)
{
    struct login *login = calloc(1, sizeof *login);
    if (!login)
        return MDG_E_NO_MEMORY;
    login->worker = mdg_mounted(arg)->worker;
    mdg_exchange_set_arg(x, login);
    mdg_exchange_set_body_max(x, LOGIN_BODY_MAX);
    return 0;
}

static int on_login_body(struct mdg_exchange *x, struct mdg_slice piece, bool last)
{
    struct login *login = mdg_exchange_arg(x);
    if (piece.len > sizeof login->body - login->len)
        return MDG_E_TOO_BIG;
    if (piece.len)
        memcpy(login->body + login->len, piece.data, piece.len);
    login->len += piece.len;
    if (last) {
        mdg_exchange_set_arg(x, NULL);
        sign_in(x, login);
        free(login);
    }
    return 0;
}

static void on_login_abort(struct mdg_exchange *x)
{
    free(mdg_exchange_arg(x));
}

static const struct mdg_http_handler login_handler = {
    .on_request = on_login,
    .on_body = on_login_body,
    .on_abort = on_login_abort,
};

/* ---- POST /chat/logout, GET /chat/me ---- */

static int on_logout(struct mdg_exchange *x, void *arg)
{
    struct mdg_worker *w = mdg_mounted(arg)->worker;
    const struct mdg_handshake *hs = mdg_exchange_handshake(x);
    mdg_auth_sign_out(&w->server->auth, mdg_auth_cookie_of(hs), hs->unix_ms);
    int err = set_cookie(w, x, "", 0);
    return err < 0 ? err : mdg_exchange_respond(x, 204, NULL, 0, NULL, 0);
}

static const struct mdg_http_handler logout_handler = {.on_request = on_logout};

static int on_me(struct mdg_exchange *x, void *arg)
{
    struct mdg_worker *w = mdg_mounted(arg)->worker;
    const struct mdg_handshake *hs = mdg_exchange_handshake(x);
    struct mdg_claims claims;
    struct mdg_slice cookie = mdg_auth_cookie_of(hs);
    int err = mdg_exchange_add_header(x, MDG_SLICE_LIT("Cache-Control"), MDG_SLICE_LIT("no-store"));
    if (err < 0)
        return err;
    if (cookie.data && mdg_auth_cookie(&w->server->auth, cookie, hs->unix_ms, &claims) == 0)
        answer_name(x, claims.sub, claims.sub_len);
    else
        mdg_exchange_respond_error(x, 401, "signed_out", "not signed in");
    return 0;
}

static const struct mdg_http_handler me_handler = {.on_request = on_me};

/* ---- /ws/chat ---- */

/* By preference. "chat" is the bare text form; so is offering nothing. RFC 6455's own example
 * offers "chat, superchat". */
static const char *const chat_subprotocols[] = {"madang.v1", "chat", NULL};

static int on_chat(struct mdg_worker *w, struct mdg_exchange *x, struct mdg_ws_mount *m,
                   struct mdg_slice subprotocol)
{
    struct mdg_principal *who;
    bool rich = mdg_slice_eq(subprotocol, MDG_SLICE_LIT("madang.v1"));
    if (mdg_authenticate(w, x, &who) < 0)
        return 0;
    int err = mdg_open_ws_peer(w, x, &m->options, rich ? &mdg_plain_dialect : &mdg_bare_dialect,
                               who, subprotocol);
    mdg_principal_unref(who);
    return err;
}

static int mount_ws(struct madang *server, const char *path)
{
    struct mdg_ws_mount *m = calloc(1, sizeof *m);
    if (!m)
        return MDG_E_NO_MEMORY;
    m->options = server->ws_defaults;
    m->options.subprotocols = chat_subprotocols;
    m->upgrade = on_chat;
    int err = mdg_server_mount_ws(server, path, m);
    if (err < 0)
        free(m);
    return err;
}

int mdg_mount_chat(struct madang *server)
{
    static const char *const paths[] = {"/ws/chat", "/chat", "/"};
    /* With --echo the root is the echo's. */
    size_t n = MDG_ARRAY_LEN(paths) - (server->params.echo ? 1 : 0);
    int err = 0;
    for (size_t i = 0; err == 0 && i < n; i++)
        err = mount_ws(server, paths[i]);
    if (err == 0)
        err = mdg_server_mount(server, "POST", "/chat/login", &login_handler, NULL);
    if (err == 0)
        err = mdg_server_mount(server, "POST", "/chat/logout", &logout_handler, NULL);
    if (err == 0)
        err = mdg_server_mount(server, "GET", "/chat/me", &me_handler, NULL);
    return err;
}
