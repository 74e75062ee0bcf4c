#include "server/room_http.h"
#include "base/utf8.h"
#include "codec/url.h"

enum { DEFAULT_HISTORY = 50, WAIT_MAX_S = 300, TOKEN_MAX = 4096 };

static void bad_request(struct mdg_exchange *x, const char *message)
{
    mdg_exchange_respond_error(x, 400, "bad_request", message);
}

/* A whole number of the query; absent: as it was. */
static bool read_number(struct mdg_exchange *x, const char *name, uint32_t max, uint32_t *out)
{
    struct mdg_slice text = mdg_exchange_query(x, name);
    uint64_t value;
    if (!text.data)
        return true;
    int err = mdg_slice_u64(text, &value);
    if (err == MDG_E_SYNTAX)
        return false;
    *out = err < 0 || value > max ? max : (uint32_t)value;
    return true;
}

static int read_rooms(struct mdg_worker *w, struct mdg_exchange *x, size_t rooms_max,
                      struct mdg_room_query *q)
{
    struct mdg_slice rest = mdg_exchange_handshake(x)->query, name, value;
    size_t used = 0;
    while (mdg_url_query_next(&rest, &name, &value)) {
        if (!mdg_slice_eq(name, MDG_SLICE_LIT("room")))
            continue;
        int64_t n = mdg_url_decode(value, true, q->names + used, sizeof q->names - used);
        if (n < 0 || q->room_count == rooms_max)
            return n == MDG_E_SYNTAX ? MDG_E_SYNTAX : MDG_E_TOO_BIG;
        struct mdg_slice room = mdg_slice(q->names + used, (size_t)n);
        if (!mdg_utf8_valid(room) || !mdg_channel_name_ok(w->hub, room))
            return MDG_E_SYNTAX;
        q->rooms[q->room_count++] = room;
        used += (size_t)n;
    }
    if (q->room_count == 0)
        q->rooms[q->room_count++] = mdg_slice_str(w->server->params.chat_room);
    return 0;
}

static int read_token(struct mdg_exchange *x, struct mdg_slice token, struct mdg_room_query *q)
{
    uint8_t room[TOKEN_MAX];
    if (!token.len) {
        int64_t n = mdg_url_decode(mdg_exchange_query(x, "after"), true, room, sizeof room);
        if (n <= 0)
            return (int)n;
        token = mdg_slice(room, (size_t)n);
    }
    q->has_after = true;
    return mdg_plain_read_token(token, q->rooms, q->room_count, q->after);
}

bool mdg_room_query_read(struct mdg_worker *w, struct mdg_exchange *x, size_t rooms_max,
                         struct mdg_slice token, struct mdg_room_query *q)
{
    *q = (struct mdg_room_query){.history = DEFAULT_HISTORY};
    int err = read_rooms(w, x, rooms_max, q);
    if (err < 0) {
        mdg_exchange_respond_error(x, 400, err == MDG_E_TOO_BIG ? "too_many" : "room_invalid",
                                   err == MDG_E_TOO_BIG ? "too many rooms in one request"
                                                        : "this is not a name of a room");
        return false;
    }
    if (read_token(x, token, q) < 0) {
        bad_request(x, "the position is not one that this server gave out");
        return false;
    }
    if (!read_number(x, "history", (uint32_t)w->server->params.history_max, &q->history) ||
        !read_number(x, "wait", WAIT_MAX_S, &q->wait_s)) {
        bad_request(x, "history and wait are whole numbers");
        return false;
    }
    return true;
}

void mdg_room_respond_error(struct mdg_exchange *x, int err)
{
    if (err == MDG_E_SYNTAX)
        mdg_exchange_respond_error(x, 400, "room_invalid", "this is not a name of a room");
    else if (err == MDG_E_DENIED)
        mdg_exchange_respond_error(x, 403, "forbidden", "you may not do this in this room");
    else if (err == MDG_E_EXPIRED)
        mdg_exchange_respond_error(x, 401, "expired", "the credential has expired");
    else if (err == MDG_E_EXISTS)
        mdg_exchange_respond_error(x, 409, "name_taken",
                                   "somebody has proved that this name is theirs");
    else if (err == MDG_E_TOO_BIG)
        mdg_exchange_respond_error(x, 413, "too_big", "the message is too long");
    else
        mdg_exchange_respond_error(x, 503, "unavailable", "try again in a moment");
}
