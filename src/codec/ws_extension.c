/* One pass over the header: elements between commas, parameters between semicolons, values that are
 * tokens or tokens in quotes. */
#include "codec/ws_extension.h"

enum { BITS_MIN = 8, BITS_MAX = 15 };

static bool is_tchar(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != 0 && memchr("!#$%&'*+-.^_`|~", c, 15) != NULL);
}

bool mdg_ws_is_token(struct mdg_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is_tchar(s.data[i]))
            return false;
    }
    return s.len > 0;
}

static void skip_blanks(struct mdg_slice *in)
{
    while (in->len && (in->data[0] == ' ' || in->data[0] == '\t')) {
        in->data++;
        in->len--;
    }
}

static bool take(struct mdg_slice *in, uint8_t c)
{
    skip_blanks(in);
    if (in->len == 0 || in->data[0] != c)
        return false;
    in->data++;
    in->len--;
    return true;
}

static bool take_token(struct mdg_slice *in, struct mdg_slice *out)
{
    size_t n = 0;
    skip_blanks(in);
    while (n < in->len && is_tchar(in->data[n]))
        n++;
    *out = mdg_slice(in->data, n);
    in->data += n;
    in->len -= n;
    return n > 0;
}

/* A quoted value must be a token once unquoted (RFC 6455 9.1), so no escape is needed. */
static bool take_value(struct mdg_slice *in, struct mdg_slice *out)
{
    if (!take(in, '"'))
        return take_token(in, out);
    return in->len && is_tchar(in->data[0]) && take_token(in, out) && in->len &&
           in->data[0] == '"' && take(in, '"');
}

/* One parameter set of permessage-deflate as it was written. */
struct written {
    bool good; /* known parameters, each once, with values in range */
    bool server_fresh, client_fresh, server_bits_seen, client_bits_seen;
    uint8_t server_bits, client_bits; /* 0: no value */
};

static bool once(bool *seen)
{
    bool fresh = !*seen;
    *seen = true;
    return fresh;
}

/* 8..15, no leading zero (RFC 7692 7.1.2.1). */
static bool read_bits(struct mdg_slice value, uint8_t *bits)
{
    uint64_t n;
    if (value.len == 0 || value.len > 2 || value.data[0] == '0' || mdg_slice_u64(value, &n) < 0 ||
        n < BITS_MIN || n > BITS_MAX)
        return false;
    *bits = (uint8_t)n;
    return true;
}

static bool read_param(struct written *p, struct mdg_slice name, bool has_value,
                       struct mdg_slice value)
{
    if (mdg_slice_eq_nocase(name, MDG_SLICE_LIT("server_no_context_takeover")))
        return !has_value && once(&p->server_fresh);
    if (mdg_slice_eq_nocase(name, MDG_SLICE_LIT("client_no_context_takeover")))
        return !has_value && once(&p->client_fresh);
    if (mdg_slice_eq_nocase(name, MDG_SLICE_LIT("server_max_window_bits")))
        return has_value && once(&p->server_bits_seen) && read_bits(value, &p->server_bits);
    if (mdg_slice_eq_nocase(name, MDG_SLICE_LIT("client_max_window_bits")))
        return once(&p->client_bits_seen) && (!has_value || read_bits(value, &p->client_bits));
    return false;
}

/* 1: an element was read, *deflate says whether it is ours. 0: the end. MDG_E_SYNTAX. */
static int next_element(struct mdg_slice *in, bool *deflate, struct written *p)
{
    struct mdg_slice name, param, value;
    do
        skip_blanks(in);
    while (take(in, ','));
    if (in->len == 0)
        return 0;
    if (!take_token(in, &name))
        return MDG_E_SYNTAX;
    *deflate = mdg_slice_eq_nocase(name, MDG_SLICE_LIT("permessage-deflate"));
    *p = (struct written){.good = true};
    while (take(in, ';')) {
        if (!take_token(in, &param))
            return MDG_E_SYNTAX;
        bool has_value = take(in, '=');
        if (has_value && !take_value(in, &value))
            return MDG_E_SYNTAX;
        if (*deflate && p->good)
            p->good = read_param(p, param, has_value, has_value ? value : mdg_slice(NULL, 0));
    }
    skip_blanks(in);
    if (in->len && in->data[0] != ',')
        return MDG_E_SYNTAX;
    return 1;
}

static uint8_t lower_of(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

/* RFC 7692 7.1: what the server answers to an offer that is well-formed. */
static void agree(const struct written *offer, const struct mdg_ws_deflate_policy *policy,
                  struct mdg_ws_deflate *out)
{
    *out = (struct mdg_ws_deflate){.on = true, .client_bits = BITS_MAX};
    out->server_fresh = offer->server_fresh || policy->server_fresh;
    out->client_fresh = offer->client_fresh || policy->client_fresh;
    out->server_bits =
        lower_of(policy->server_bits, offer->server_bits ? offer->server_bits : BITS_MAX);
    out->tell_server_bits = offer->server_bits_seen || out->server_bits < BITS_MAX;
    /* Only a client that offered the parameter may be told it (7.1.2.2). */
    if (offer->client_bits_seen) {
        out->client_bits =
            lower_of(policy->client_bits, offer->client_bits ? offer->client_bits : BITS_MAX);
        out->tell_client_bits = out->client_bits < BITS_MAX;
    }
}

int mdg_ws_deflate_choose(struct mdg_slice header, const struct mdg_ws_deflate_policy *policy,
                          struct mdg_ws_deflate *out)
{
    struct written offer;
    bool deflate;
    int rc;
    while ((rc = next_element(&header, &deflate, &offer)) == 1) {
        if (deflate && offer.good && policy->enabled && !out->on)
            agree(&offer, policy, out);
    }
    return rc;
}

int mdg_ws_deflate_accept(struct mdg_slice header, const struct mdg_ws_deflate_policy *policy,
                          struct mdg_ws_deflate *out)
{
    struct written answer;
    bool deflate;
    int rc;
    while ((rc = next_element(&header, &deflate, &answer)) == 1) {
        /* One element, ours, and no bits for us unless we offered them (7.1.2.2); we always do. */
        if (!deflate || !policy->enabled || out->on || !answer.good ||
            (answer.client_bits_seen && answer.client_bits == 0))
            return MDG_E_PROTO;
        out->on = true;
        out->server_fresh = answer.server_fresh;
        out->client_fresh = answer.client_fresh || policy->client_fresh;
        out->server_bits = answer.server_bits ? answer.server_bits : BITS_MAX;
        out->client_bits =
            lower_of(answer.client_bits ? answer.client_bits : BITS_MAX, policy->client_bits);
        /* We asked; a server that cannot must decline the offer (7.1.1.1, 7.1.2.1). */
        if ((policy->server_fresh && !answer.server_fresh) ||
            out->server_bits > policy->server_bits)
            return MDG_E_PROTO;
    }
    return rc;
}

static void write_bits(struct mdg_writer *w, const char *name, uint8_t bits)
{
    mdg_write_str(w, name);
    mdg_write_dec(w, bits);
}

void mdg_ws_write_deflate(struct mdg_writer *w, const struct mdg_ws_deflate *d)
{
    mdg_write_str(w, "permessage-deflate");
    if (d->server_fresh)
        mdg_write_str(w, "; server_no_context_takeover");
    if (d->client_fresh)
        mdg_write_str(w, "; client_no_context_takeover");
    if (d->tell_server_bits)
        write_bits(w, "; server_max_window_bits=", d->server_bits);
    if (d->tell_client_bits)
        write_bits(w, "; client_max_window_bits=", d->client_bits);
}

void mdg_ws_write_deflate_offer(struct mdg_writer *w, const struct mdg_ws_deflate_policy *policy)
{
    mdg_write_str(w, "permessage-deflate");
    if (policy->server_fresh)
        mdg_write_str(w, "; server_no_context_takeover");
    if (policy->client_fresh)
        mdg_write_str(w, "; client_no_context_takeover");
    if (policy->server_bits < BITS_MAX)
        write_bits(w, "; server_max_window_bits=", policy->server_bits);
    mdg_write_str(w, "; client_max_window_bits");
    if (policy->client_bits < BITS_MAX)
        write_bits(w, "=", policy->client_bits);
}
