/* Destinations: families of names, and what each is to the hub or the queues. */
#include "dialect/stomp_impl.h"
#include "hub/pattern.h"

/* text is prefix, or prefix and a slash and more; *rest is what follows, slash included. */
static bool has_prefix(struct mdg_slice text, struct mdg_slice prefix, struct mdg_slice *rest)
{
    if (!mdg_slice_starts(text, prefix))
        return false;
    *rest = mdg_slice(text.data + prefix.len, text.len - prefix.len);
    return rest->len == 0 || rest->data[0] == '/';
}

/* The "topic" of "/topic/a.b"; *rest is "/a.b". */
static struct mdg_slice family_of(struct mdg_slice text, struct mdg_slice *rest)
{
    size_t len = 0;
    struct mdg_slice tail = mdg_slice(text.data + (text.len > 0), text.len - (text.len > 0));
    while (len < tail.len && tail.data[len] != '/')
        len++;
    *rest = mdg_slice(tail.data + len, tail.len - len);
    return mdg_slice(tail.data, len);
}

static bool invalid(struct mdg_stomp *c, const struct mdg_stomp_frame *f, struct mdg_slice text)
{
    struct mdg_slice rest, family = family_of(text, &rest);
    mdg_stomp_fail(c, f, "Invalid destination", "'%.*s' is not a valid %.*s destination\n",
                   (int)mdg_min_size(rest.len, 200), (const char *)rest.data,
                   (int)mdg_min_size(family.len, 50), (const char *)family.data);
    return false;
}

static bool name_ok(const struct mdg_stomp *c, struct mdg_slice name)
{
    if (name.len == 0 || name.len > c->server->config->destination_bytes_max)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] < 0x20 || name.data[i] == 0x7f)
            return false;
        if (name.data[i] == '/' && !c->server->config->slashes)
            return false;
    }
    return true;
}

static struct mdg_slice finish(struct mdg_stomp_dest *out, const struct mdg_writer *w)
{
    return mdg_writer_fits(w) ? mdg_slice(out->room, w->len) : mdg_slice(NULL, 0);
}

bool mdg_stomp_temp_key(const struct mdg_stomp *c, struct mdg_slice destination,
                        struct mdg_writer *w)
{
    struct mdg_slice rest;
    if (!has_prefix(destination, MDG_SLICE_LIT("/temp-queue"), &rest) || rest.len < 2)
        return false;
    mdg_write_str(w, "/reply-queue/");
    mdg_write_bytes(w, c->session_id, sizeof c->session_id);
    mdg_write_u8(w, '.');
    mdg_write_bytes(w, rest.data + 1, rest.len - 1);
    return mdg_writer_fits(w);
}

/* "/user/queue/x" is the user's own; "/user/NAME/queue/x" is how others send to it. */
static bool user_key(const struct mdg_stomp *c, struct mdg_slice rest, bool sends,
                     struct mdg_writer *w)
{
    struct mdg_slice queue, name = mdg_principal_name(c->who);
    if (!has_prefix(rest, MDG_SLICE_LIT("/queue"), &queue)) {
        struct mdg_slice more = mdg_slice(rest.data + 1, rest.len ? rest.len - 1 : 0);
        name = mdg_slice_split(&more, '/');
        if (!sends || name.len == 0 || !more.data ||
            !has_prefix(mdg_slice(more.data - 1, more.len + 1), MDG_SLICE_LIT("/queue"), &queue))
            return false;
    }
    if (queue.len < 2)
        return false;
    mdg_write_str(w, "/user/");
    mdg_write_slice(w, name);
    mdg_write_str(w, "/queue");
    mdg_write_slice(w, queue);
    return mdg_writer_fits(w);
}

/* 1: it is of this family; 0: of another; -1: it is, and wrong. */
static int by_rules(const struct mdg_stomp *c, struct mdg_slice text, struct mdg_stomp_dest *out)
{
    const struct mdg_stomp_config *config = c->server->config;
    for (size_t i = 0; i < config->rule_count; i++) {
        const struct mdg_stomp_rule *r = &config->rules[i];
        struct mdg_slice rest;
        struct mdg_writer w;
        if (!has_prefix(text, r->prefix, &rest))
            continue;
        struct mdg_slice key = mdg_slice(rest.data + (rest.len > 0), rest.len - (rest.len > 0));
        if (!(r->whole && rest.len == 0) && !name_ok(c, key))
            return -1;
        mdg_writer_init(&w, out->room, sizeof out->room);
        mdg_write_slice(&w, r->room);
        if (!r->whole)
            mdg_write_slice(&w, key);
        out->name = finish(out, &w);
        out->kind = r->kind;
        if (r->whole)
            return out->name.data ? 1 : -1; /* shown as it was asked for */
        size_t used = w.len;
        mdg_write_slice(&w, r->shown);
        mdg_write_slice(&w, key);
        if (!mdg_writer_fits(&w))
            return -1;
        out->shown = mdg_slice(out->room + used, w.len - used);
        return 1;
    }
    return 0;
}

/* Of a family that only rules know, such as "/exchange", and none of them names this one. */
static bool is_of_ruled_family(const struct mdg_stomp *c, struct mdg_slice family)
{
    const struct mdg_stomp_config *config = c->server->config;
    for (size_t i = 0; i < config->rule_count; i++) {
        struct mdg_slice rest;
        if (mdg_slice_eq(family_of(config->rules[i].prefix, &rest), family))
            return true;
    }
    return false;
}

/* Told in the words that clients of other brokers know. */
static bool no_such(struct mdg_stomp *c, const struct mdg_stomp_frame *f, struct mdg_slice text)
{
    struct mdg_slice rest, key, family = family_of(text, &rest);
    struct mdg_slice name = family_of(rest, &key);
    if (!name_ok(c, name) || (key.len && !name_ok(c, mdg_slice(key.data + 1, key.len - 1))))
        return invalid(c, f, text);
    mdg_stomp_fail(c, f, "not_found", "NOT_FOUND - no %.*s '%.*s' in vhost '/'\n",
                   (int)mdg_min_size(family.len, 50), (const char *)family.data,
                   (int)mdg_min_size(name.len, 200), (const char *)name.data);
    return false;
}

static bool unknown(struct mdg_stomp *c, const struct mdg_stomp_frame *f, struct mdg_slice text,
                    struct mdg_stomp_dest *out)
{
    struct mdg_slice rest;
    out->kind = c->server->config->unknown;
    out->name = text;
    if (out->kind == MDG_STOMP_REFUSED && is_of_ruled_family(c, family_of(text, &rest)))
        return no_such(c, f, text);
    if (out->kind != MDG_STOMP_REFUSED && text.len <= c->server->config->destination_bytes_max)
        return true;
    mdg_stomp_fail(c, f, "Unknown destination",
                   "'%.*s' is not a valid destination.\n"
                   "Valid destination types are: /topic, /queue, /temp-queue, /user/queue.\n",
                   (int)mdg_min_size(text.len, 200), (const char *)text.data);
    return false;
}

bool mdg_stomp_dest_parse(struct mdg_stomp *c, const struct mdg_stomp_frame *f,
                          struct mdg_stomp_dest *out)
{
    struct mdg_slice text = mdg_stomp_find(f, "destination"), rest;
    bool sends = f->command == MDG_STOMP_SEND;
    struct mdg_writer w;
    mdg_writer_init(&w, out->room, sizeof out->room);
    out->shown = text;
    out->pattern = false;
    if (!text.data) {
        mdg_stomp_fail(c, f, "Missing destination", "%s must include a 'destination' header\n",
                       mdg_stomp_command_text(f->command));
        return false;
    }
    int ruled = by_rules(c, text, out);
    if (ruled < 0)
        return invalid(c, f, text);
    if (ruled == 0 && has_prefix(text, MDG_SLICE_LIT("/topic"), &rest)) {
        out->kind = MDG_STOMP_TOPIC;
        out->name = mdg_slice(rest.data + 1, rest.len ? rest.len - 1 : 0);
        if (!name_ok(c, out->name))
            return invalid(c, f, text);
    } else if (ruled == 0 && has_prefix(text, MDG_SLICE_LIT("/queue"), &rest)) {
        out->kind = MDG_STOMP_QUEUE;
        out->name = text;
        if (!name_ok(c, mdg_slice(rest.data + 1, rest.len ? rest.len - 1 : 0)))
            return invalid(c, f, text);
    } else if (ruled == 0 && has_prefix(text, MDG_SLICE_LIT("/reply-queue"), &rest) && sends) {
        out->kind = MDG_STOMP_TEMP_QUEUE; /* somebody's; kept in memory only */
        out->name = text;
        if (!name_ok(c, mdg_slice(rest.data + 1, rest.len ? rest.len - 1 : 0)))
            return invalid(c, f, text);
    } else if (ruled == 0 && has_prefix(text, MDG_SLICE_LIT("/temp-queue"), &rest)) {
        out->kind = MDG_STOMP_TEMP_QUEUE;
        if (rest.len < 2 || !name_ok(c, mdg_slice(rest.data + 1, rest.len - 1)) ||
            !mdg_stomp_temp_key(c, text, &w))
            return invalid(c, f, text);
        out->name = finish(out, &w);
    } else if (ruled == 0 && has_prefix(text, MDG_SLICE_LIT("/user"), &rest)) {
        out->kind = MDG_STOMP_USER_QUEUE;
        if (text.len > c->server->config->destination_bytes_max || !user_key(c, rest, sends, &w))
            return invalid(c, f, text);
        out->name = finish(out, &w);
    } else if (ruled == 0 && !unknown(c, f, text, out)) {
        return false;
    }
    out->pattern = !sends && out->kind == MDG_STOMP_TOPIC && mdg_pattern_is(out->name);
    return true;
}
