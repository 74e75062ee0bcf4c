/* How madang.v1 answers: requests that wait, answers built until they fit, errors by code. */
#include "base/json.h"
#include "dialect/plain_impl.h"
#include <stdlib.h>

struct mdg_plain_request *mdg_plain_request_new(struct mdg_peer *p, struct mdg_slice id,
                                                struct mdg_slice room)
{
    struct plain *plain = mdg_peer_state(p);
    const struct mdg_peers_config *config = mdg_peers_config(mdg_peer_shared(p));
    if (plain->request_count >= config->requests_max || room.len > UINT16_MAX)
        return NULL;
    struct mdg_plain_request *r = malloc(sizeof *r + id.len + room.len);
    if (!r)
        return NULL;
    *r = (struct mdg_plain_request){
        .peer = p, .id_len = (uint16_t)id.len, .room_len = (uint16_t)room.len};
    if (id.len)
        memcpy(r->text, id.data, id.len);
    if (room.len)
        memcpy(r->text + id.len, room.data, room.len);
    mdg_node_push(&plain->requests, &r->in_peer);
    plain->request_count++;
    return r;
}

void mdg_plain_request_free(struct mdg_plain_request *r)
{
    if (!r)
        return;
    struct plain *plain = mdg_peer_state(r->peer);
    mdg_node_remove(&r->in_peer);
    plain->request_count--;
    free(r);
}

void mdg_plain_send_event(struct mdg_peer *p, struct mdg_slice event, struct mdg_slice id,
                          mdg_plain_build_fn build, const void *arg)
{
    struct mdg_buf *b = mdg_peer_scratch(p);
    if (mdg_plain_build(b, build, arg) < 0) {
        mdg_peer_close(p, MDG_CLOSE_INTERNAL, MDG_SLICE_LIT("out of memory"));
        return;
    }
    struct mdg_unit_meta meta = {.id = id, .event = event, .compress = true};
    mdg_peer_send_unit(p, mdg_buf_slice(b), &meta);
}

void mdg_plain_send_built(struct mdg_peer *p, mdg_plain_build_fn build, const void *arg)
{
    mdg_plain_send_event(p, mdg_slice(NULL, 0), mdg_slice(NULL, 0), build, arg);
}

/* {"type":"...","room":"...","id":... : how every answer begins. */
void mdg_plain_begin(struct mdg_writer *w, const char *type, struct mdg_slice room,
                     struct mdg_slice id)
{
    mdg_write_str(w, "{\"type\":\"");
    mdg_write_str(w, type);
    mdg_write_u8(w, '"');
    if (room.len) {
        mdg_write_str(w, ",\"room\":");
        mdg_write_json_string(w, room);
    }
    if (id.len) {
        mdg_write_str(w, ",\"id\":");
        mdg_write_slice(w, id);
    }
}

void mdg_plain_write_at(struct mdg_writer *w, struct mdg_position at)
{
    mdg_write_str(w, ",\"epoch\":\"");
    mdg_plain_write_epoch(w, at.epoch);
    mdg_write_str(w, "\",\"seq\":");
    mdg_write_dec(w, at.seq);
}

struct error_answer {
    struct mdg_slice id, room;
    const char *code, *message;
};

static void build_error(struct mdg_writer *w, const void *arg)
{
    const struct error_answer *a = arg;
    mdg_plain_begin(w, "error", a->room, a->id);
    mdg_write_str(w, ",\"code\":\"");
    mdg_write_str(w, a->code);
    mdg_write_str(w, "\",\"message\":");
    mdg_write_json_string(w, mdg_slice_str(a->message));
    mdg_write_u8(w, '}');
}

void mdg_plain_send_error(struct mdg_peer *p, struct mdg_slice id, struct mdg_slice room,
                          const char *code, const char *message)
{
    struct error_answer a = {id, room, code, message};
    mdg_plain_send_built(p, build_error, &a);
}

const char *mdg_plain_code(int err)
{
    switch (err) {
    case MDG_E_SYNTAX:
        return "room_invalid";
    case MDG_E_TOO_BIG:
        return "too_big";
    case MDG_E_DENIED:
        return "forbidden";
    case MDG_E_EXPIRED:
        return "expired";
    case MDG_E_EXISTS:
        return "name_taken";
    case MDG_E_FULL:
        return "rate_limited";
    default:
        return "unavailable";
    }
}

void mdg_plain_send_hub_error(struct mdg_peer *p, struct mdg_slice id, struct mdg_slice room,
                              int err)
{
    mdg_plain_send_error(p, id, room, mdg_plain_code(err), mdg_strerror(err));
}

void mdg_plain_build_simple(struct mdg_writer *w, const void *arg)
{
    const struct mdg_plain_simple *a = arg;
    mdg_plain_begin(w, a->type, a->room, a->id);
    if (a->has_at)
        mdg_plain_write_at(w, a->at);
    if (a->number_name) {
        mdg_write_str(w, ",\"");
        mdg_write_str(w, a->number_name);
        mdg_write_str(w, "\":");
        mdg_write_dec(w, a->number);
    }
    mdg_write_u8(w, '}');
}

void mdg_plain_send_simple(struct mdg_peer *p, const char *type, struct mdg_slice id,
                           struct mdg_slice room)
{
    struct mdg_plain_simple a = {.type = type, .id = id, .room = room};
    mdg_plain_send_built(p, mdg_plain_build_simple, &a);
}

void mdg_plain_bad_request(struct mdg_plain_call *c, const char *message)
{
    mdg_plain_send_error(c->peer, c->f.id, c->f.room, "bad_request", message);
}

/* A number of the request; absent: the given value. False: answered with an error. */
bool mdg_plain_read_number(struct mdg_plain_call *c, struct mdg_slice value, uint64_t absent,
                           uint64_t *out)
{
    *out = absent;
    if (value.len == 0 || mdg_json_type(value) == MDG_JSON_NULL)
        return true;
    if (mdg_json_u64(value, out) == 0)
        return true;
    mdg_plain_bad_request(c, "history, before, limit and seq are whole numbers");
    return false;
}
