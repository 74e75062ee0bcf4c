/* Fixed layouts, one switch to read and one to write. */
#include "codec/udp.h"
#include "base/map.h"

/* Length of each type without its body; bodies follow DATA and BYE only. */
enum {
    COOKIE_LEN = 17,
    WELCOME_LEN = 26,
    ACK_LEN = 13,
    RANGE_LEN = 9,
    PING_LEN = 9,
    BYE_HEAD = 3,
    BYE_REASON_MAX = 123, /* as RFC 6455 5.5.1 */
};
static_assert((int)COOKIE_LEN <= (int)MDG_UDP_UNPROVEN_MAX, "the answer to an unproven HELLO");
static_assert((int)MDG_UDP_HELLO_LEN >= (int)COOKIE_LEN, "a HELLO pays for its answer");

static uint64_t get(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

static void put(struct mdg_writer *w, uint64_t value, unsigned bytes)
{
    while (bytes--)
        mdg_write_u8(w, (uint8_t)(value >> (8 * bytes)));
}

static int decode_hello(struct mdg_input in, struct mdg_udp_packet *p)
{
    if (in.len < 2)
        return MDG_E_SYNTAX;
    p->version = in.data[1];
    if (p->version != MDG_UDP_VERSION)
        return MDG_E_UNSUPPORTED;
    if (in.len < MDG_UDP_HELLO_LEN)
        return MDG_E_SYNTAX;
    p->flags = in.data[2];
    p->nonce = get(in.data + 4, 8);
    p->cookie = get(in.data + 12, 8);
    memcpy(p->token, in.data + 20, MDG_UDP_TOKEN_LEN);
    return 0;
}

static int decode_text(struct mdg_input in, struct mdg_udp_packet *p)
{
    while (in.len && (in.data[in.len - 1] == '\n' || in.data[in.len - 1] == '\r'))
        in.len--;
    p->type = MDG_UDP_TEXT;
    p->body = in;
    return 0;
}

static bool is_white(uint8_t c)
{
    return c == '\t' || c == '\n' || c == '\r';
}

int mdg_udp_decode(struct mdg_input in, struct mdg_udp_packet *p)
{
    *p = (struct mdg_udp_packet){0};
    if (in.len == 0 || in.data[0] >= 0x10 || is_white(in.data[0]))
        return decode_text(in, p);
    p->type = in.data[0];
    switch ((enum mdg_udp_type)p->type) {
    case MDG_UDP_HELLO:
        return decode_hello(in, p);
    case MDG_UDP_COOKIE:
        if (in.len != COOKIE_LEN)
            return MDG_E_SYNTAX;
        p->nonce = get(in.data + 1, 8);
        p->cookie = get(in.data + 9, 8);
        return 0;
    case MDG_UDP_WELCOME:
        if (in.len != WELCOME_LEN)
            return MDG_E_SYNTAX;
        p->flags = in.data[1];
        p->nonce = get(in.data + 2, 8);
        memcpy(p->token, in.data + 10, MDG_UDP_TOKEN_LEN);
        return 0;
    case MDG_UDP_DATA:
        if (in.len < MDG_UDP_DATA_HEAD)
            return MDG_E_SYNTAX;
        p->flags = in.data[1];
        p->seq = (uint32_t)get(in.data + 2, 4);
        p->body = (struct mdg_input){in.data + MDG_UDP_DATA_HEAD, in.len - MDG_UDP_DATA_HEAD};
        return 0;
    case MDG_UDP_ACK:
        if (in.len != ACK_LEN)
            return MDG_E_SYNTAX;
        p->seq = (uint32_t)get(in.data + 1, 4);
        p->bits = get(in.data + 5, 8);
        return 0;
    case MDG_UDP_NACK:
    case MDG_UDP_GONE:
        if (in.len != RANGE_LEN)
            return MDG_E_SYNTAX;
        p->seq = (uint32_t)get(in.data + 1, 4);
        p->to = (uint32_t)get(in.data + 5, 4);
        return mdg_udp_after(p->seq, p->to) ? MDG_E_SYNTAX : 0;
    case MDG_UDP_PING:
    case MDG_UDP_PONG:
        if (in.len != PING_LEN)
            return MDG_E_SYNTAX;
        p->nonce = get(in.data + 1, 8);
        return 0;
    case MDG_UDP_BYE:
        if (in.len < BYE_HEAD || in.len > BYE_HEAD + BYE_REASON_MAX)
            return MDG_E_SYNTAX;
        p->code = (uint16_t)get(in.data + 1, 2);
        p->body = (struct mdg_input){in.data + BYE_HEAD, in.len - BYE_HEAD};
        return 0;
    case MDG_UDP_UNKNOWN:
        return in.len == 1 ? 0 : MDG_E_SYNTAX;
    case MDG_UDP_TEXT:
        break;
    }
    return MDG_E_SYNTAX;
}

void mdg_udp_encode(struct mdg_writer *w, const struct mdg_udp_packet *p)
{
    assert(p->type < 0x10);
    mdg_write_u8(w, (uint8_t)p->type);
    switch ((enum mdg_udp_type)p->type) {
    case MDG_UDP_HELLO:
        put(w, p->version, 1);
        put(w, p->flags, 1);
        put(w, 0, 1);
        put(w, p->nonce, 8);
        put(w, p->cookie, 8);
        mdg_write_bytes(w, p->token, MDG_UDP_TOKEN_LEN);
        return;
    case MDG_UDP_COOKIE:
        put(w, p->nonce, 8);
        put(w, p->cookie, 8);
        return;
    case MDG_UDP_WELCOME:
        put(w, p->flags, 1);
        put(w, p->nonce, 8);
        mdg_write_bytes(w, p->token, MDG_UDP_TOKEN_LEN);
        return;
    case MDG_UDP_DATA:
        put(w, p->flags, 1);
        put(w, p->seq, 4);
        return;
    case MDG_UDP_ACK:
        put(w, p->seq, 4);
        put(w, p->bits, 8);
        return;
    case MDG_UDP_NACK:
    case MDG_UDP_GONE:
        put(w, p->seq, 4);
        put(w, p->to, 4);
        return;
    case MDG_UDP_PING:
    case MDG_UDP_PONG:
        put(w, p->nonce, 8);
        return;
    case MDG_UDP_BYE:
        put(w, p->code, 2);
        mdg_write_bytes(w, p->body.data, mdg_min_size(p->body.len, BYE_REASON_MAX));
        return;
    case MDG_UDP_UNKNOWN:
    case MDG_UDP_TEXT:
        return;
    }
}

static uint64_t cookie_of(const uint64_t secret[2], struct mdg_slice address, uint64_t slot)
{
    uint8_t input[64];
    assert(address.len <= sizeof input - 8);
    struct mdg_writer w;
    mdg_writer_init(&w, input, sizeof input);
    put(&w, slot, 8);
    mdg_write_slice(&w, address);
    uint64_t hash = mdg_siphash(secret, mdg_slice(input, w.len));
    return hash ? hash : 1; /* 0 means "none" on the wire */
}

uint64_t mdg_udp_cookie(const uint64_t secret[2], struct mdg_slice address, uint64_t now_ms)
{
    return cookie_of(secret, address, now_ms / MDG_UDP_COOKIE_SLOT_MS);
}

bool mdg_udp_cookie_ok(const uint64_t secret[2], struct mdg_slice address, uint64_t now_ms,
                       uint64_t cookie)
{
    uint64_t slot = now_ms / MDG_UDP_COOKIE_SLOT_MS;
    return cookie == cookie_of(secret, address, slot) ||
           (slot > 0 && cookie == cookie_of(secret, address, slot - 1));
}

void mdg_udp_write_typed(struct mdg_writer *w, uint64_t cookie)
{
    uint8_t bytes[8];
    struct mdg_writer b;
    mdg_writer_init(&b, bytes, sizeof bytes);
    put(&b, cookie, 8);
    mdg_write_hex(w, mdg_slice(bytes, MDG_UDP_TYPED_LEN / 2));
}

static bool is_typed(struct mdg_slice typed, uint64_t cookie)
{
    uint8_t text[MDG_UDP_TYPED_LEN];
    struct mdg_writer w;
    mdg_writer_init(&w, text, sizeof text);
    mdg_udp_write_typed(&w, cookie);
    return mdg_slice_eq_nocase(typed, mdg_slice(text, sizeof text));
}

bool mdg_udp_typed_ok(const uint64_t secret[2], struct mdg_slice address, uint64_t now_ms,
                      struct mdg_slice typed)
{
    uint64_t slot = now_ms / MDG_UDP_COOKIE_SLOT_MS;
    return is_typed(typed, cookie_of(secret, address, slot)) ||
           (slot > 0 && is_typed(typed, cookie_of(secret, address, slot - 1)));
}

enum mdg_udp_arrival mdg_udp_window_take(struct mdg_udp_window *win, uint32_t seq)
{
    if (mdg_udp_after(seq, win->newest)) {
        uint32_t ahead = seq - win->newest;
        win->seen = ahead < 64 ? win->seen << ahead | 1 : 1;
        win->newest = seq;
        return MDG_UDP_NEW;
    }
    uint32_t behind = win->newest - seq;
    if (behind >= 64)
        return MDG_UDP_STALE;
    uint64_t bit = 1ull << behind;
    if (win->seen & bit)
        return MDG_UDP_DUPLICATE;
    win->seen |= bit;
    return MDG_UDP_NEW;
}

void mdg_udp_window_ack(const struct mdg_udp_window *win, struct mdg_udp_packet *p)
{
    /* Up to the oldest hole within the window; what is before the window is given up on. */
    unsigned behind = win->newest < 64 ? win->newest : 64;
    while (behind > 0 && (win->seen >> (behind - 1) & 1))
        behind--;
    p->seq = win->newest - behind;
    p->bits = 0;
    for (unsigned n = 0; n < behind; n++) {
        if (win->seen >> (behind - 1 - n) & 1)
            p->bits |= 1ull << n;
    }
}

bool mdg_udp_acked(const struct mdg_udp_packet *ack, uint32_t seq)
{
    if (!mdg_udp_after(seq, ack->seq))
        return true;
    uint32_t ahead = seq - ack->seq - 1;
    return ahead < 64 && (ack->bits >> ahead & 1);
}
