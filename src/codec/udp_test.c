#include "codec/udp.h"
#include "tests/support/unit.h"
#include <stdlib.h>

static const uint64_t secret[2] = {1, 2};

/* The datagram in memory of its exact size, so that the sanitizer sees an over-read. */
static int decode(const void *bytes, size_t len, struct mdg_udp_packet *p, uint8_t **block)
{
    *block = malloc(len ? len : 1);
    assert_non_null(*block);
    memcpy(*block, bytes, len);
    return mdg_udp_decode((struct mdg_input){*block, len}, p);
}

static void check_round_trip(const struct mdg_udp_packet *p, const char *body)
{
    uint8_t wire[256], *block;
    struct mdg_writer w;
    mdg_writer_init(&w, wire, sizeof wire);
    mdg_udp_encode(&w, p);
    if (p->type == MDG_UDP_DATA)
        mdg_write_str(&w, body);
    struct mdg_udp_packet back;
    assert_int_equal(decode(wire, w.len, &back, &block), 0);
    assert_int_equal(back.type, p->type);
    assert_int_equal(back.flags, p->flags);
    assert_int_equal(back.code, p->code);
    assert_int_equal(back.nonce, p->nonce);
    assert_int_equal(back.cookie, p->cookie);
    assert_memory_equal(back.token, p->token, sizeof p->token);
    assert_int_equal(back.seq, p->seq);
    assert_int_equal(back.to, p->to);
    assert_int_equal(back.bits, p->bits);
    assert_true(mdg_slice_eq(mdg_slice(back.body.data, back.body.len), mdg_slice_str(body)));
    free(block);
    /* a byte less or more is refused, but in a body */
    for (size_t len = 1; len < w.len && p->type != MDG_UDP_DATA && p->type != MDG_UDP_BYE; len++) {
        assert_true(decode(wire, len, &back, &block) < 0);
        free(block);
    }
}

static void every_type_comes_back_as_it_was(void **state)
{
    (void)state;
    struct mdg_udp_packet p = {.type = MDG_UDP_HELLO,
                               .version = MDG_UDP_VERSION,
                               .flags = MDG_UDP_WANT_ACK,
                               .nonce = 0x1122334455667788,
                               .cookie = 0x99aabbccddeeff00,
                               .token = "0123456789abcde"};
    check_round_trip(&p, "");
    check_round_trip(&(struct mdg_udp_packet){.type = MDG_UDP_COOKIE, .nonce = 7, .cookie = 8}, "");
    check_round_trip(
        &(struct mdg_udp_packet){
            .type = MDG_UDP_WELCOME, .flags = 1, .nonce = 7, .token = "0123456789abcde"},
        "");
    check_round_trip(&(struct mdg_udp_packet){.type = MDG_UDP_DATA,
                                              .flags = MDG_UDP_WANT_ACK | MDG_UDP_BINARY,
                                              .seq = 0xfffffffe},
                     "a unit");
    check_round_trip(&(struct mdg_udp_packet){.type = MDG_UDP_DATA, .seq = 1}, "");
    check_round_trip(&(struct mdg_udp_packet){.type = MDG_UDP_ACK, .seq = 5, .bits = 1ull << 63},
                     "");
    check_round_trip(&(struct mdg_udp_packet){.type = MDG_UDP_NACK, .seq = 5, .to = 9}, "");
    check_round_trip(&(struct mdg_udp_packet){.type = MDG_UDP_GONE, .seq = 0xffffffff, .to = 2},
                     "");
    check_round_trip(&(struct mdg_udp_packet){.type = MDG_UDP_PING, .nonce = 1}, "");
    check_round_trip(&(struct mdg_udp_packet){.type = MDG_UDP_PONG, .nonce = 1}, "");
    check_round_trip(&(struct mdg_udp_packet){.type = MDG_UDP_UNKNOWN}, "");
    uint8_t reason[] = "full";
    check_round_trip(
        &(struct mdg_udp_packet){.type = MDG_UDP_BYE, .code = 1013, .body = {reason, 4}}, "full");
}

static void check_refused(struct mdg_slice bytes, int err)
{
    struct mdg_udp_packet p;
    uint8_t *block;
    assert_int_equal(decode(bytes.data, bytes.len, &p, &block), err);
    free(block);
}

static void refuses_what_it_does_not_know(void **state)
{
    (void)state;
    check_refused(MDG_SLICE_LIT("\0"), MDG_E_SYNTAX);
    check_refused(MDG_SLICE_LIT("\x0f"), MDG_E_SYNTAX);
    check_refused(MDG_SLICE_LIT("\x01\x02"), MDG_E_UNSUPPORTED);
    check_refused(MDG_SLICE_LIT("\x04\x00\x00\x00\x00"), MDG_E_SYNTAX);
    check_refused(MDG_SLICE_LIT("\x0e\x00"), MDG_E_SYNTAX);
    check_refused(MDG_SLICE_LIT("\x06\0\0\0\x05\0\0\0\x04"), MDG_E_SYNTAX);
}

static void check_text(const char *typed, const char *line)
{
    struct mdg_udp_packet p;
    uint8_t *block;
    assert_int_equal(decode(typed, strlen(typed), &p, &block), 0);
    assert_int_equal(p.type, MDG_UDP_TEXT);
    assert_true(mdg_slice_eq(mdg_slice(p.body.data, p.body.len), mdg_slice_str(line)));
    free(block);
}

static void what_people_type_is_text(void **state)
{
    (void)state;
    check_text("hello\n", "hello");
    check_text("/join lobby\r\n", "/join lobby");
    check_text("\n", "");
    check_text("", "");
    check_text("\tx", "\tx");
    check_text("\xeb\xa7\x88\n", "\xeb\xa7\x88");
}

static void a_cookie_belongs_to_its_address_and_minute(void **state)
{
    (void)state;
    struct mdg_slice a = MDG_SLICE_LIT("127.0.0.1:1"), b = MDG_SLICE_LIT("127.0.0.1:2");
    uint64_t now = 10 * MDG_UDP_COOKIE_SLOT_MS, cookie = mdg_udp_cookie(secret, a, now);
    assert_true(mdg_udp_cookie_ok(secret, a, now, cookie));
    assert_true(mdg_udp_cookie_ok(secret, a, now + MDG_UDP_COOKIE_SLOT_MS, cookie));
    assert_false(mdg_udp_cookie_ok(secret, a, now + 2 * MDG_UDP_COOKIE_SLOT_MS, cookie));
    assert_false(mdg_udp_cookie_ok(secret, b, now, cookie));
    assert_false(mdg_udp_cookie_ok(secret, a, now, 0));
    const uint64_t other[2] = {1, 3};
    assert_false(mdg_udp_cookie_ok(other, a, now, cookie));
}

static void a_typed_cookie_is_twelve_digits(void **state)
{
    (void)state;
    struct mdg_slice a = MDG_SLICE_LIT("127.0.0.1:1");
    char typed[16];
    struct mdg_writer w;
    mdg_writer_init(&w, typed, sizeof typed);
    mdg_udp_write_typed(&w, mdg_udp_cookie(secret, a, 0));
    assert_int_equal(w.len, MDG_UDP_TYPED_LEN);
    assert_true(mdg_udp_typed_ok(secret, a, 0, mdg_slice(typed, w.len)));
    assert_true(mdg_udp_typed_ok(secret, a, MDG_UDP_COOKIE_SLOT_MS, mdg_slice(typed, w.len)));
    assert_false(mdg_udp_typed_ok(secret, a, 0, mdg_slice(typed, w.len - 1)));
    assert_false(mdg_udp_typed_ok(secret, a, 2 * MDG_UDP_COOKIE_SLOT_MS, mdg_slice(typed, w.len)));
}

static void the_window_knows_new_from_seen(void **state)
{
    (void)state;
    struct mdg_udp_window win = {0};
    assert_int_equal(mdg_udp_window_take(&win, 1), MDG_UDP_NEW);
    assert_int_equal(mdg_udp_window_take(&win, 1), MDG_UDP_DUPLICATE);
    assert_int_equal(mdg_udp_window_take(&win, 4), MDG_UDP_NEW);
    assert_int_equal(mdg_udp_window_take(&win, 2), MDG_UDP_NEW);
    assert_int_equal(mdg_udp_window_take(&win, 2), MDG_UDP_DUPLICATE);
    assert_int_equal(mdg_udp_window_take(&win, 3), MDG_UDP_NEW);
    assert_int_equal(mdg_udp_window_take(&win, 100), MDG_UDP_NEW);
    assert_int_equal(mdg_udp_window_take(&win, 36), MDG_UDP_STALE);
    assert_int_equal(mdg_udp_window_take(&win, 37), MDG_UDP_NEW);
    assert_int_equal(mdg_udp_window_take(&win, 37), MDG_UDP_DUPLICATE);
}

static void numbers_wrap(void **state)
{
    (void)state;
    struct mdg_udp_window win = {.newest = 0xfffffffe, .seen = ~0ull};
    assert_int_equal(mdg_udp_window_take(&win, 1), MDG_UDP_NEW);
    assert_int_equal(mdg_udp_window_take(&win, 0xffffffff), MDG_UDP_NEW);
    assert_int_equal(mdg_udp_window_take(&win, 0xfffffffe), MDG_UDP_DUPLICATE);
    assert_true(mdg_udp_after(0, 0xffffffff));
    assert_false(mdg_udp_after(0xffffffff, 0));
}

/* Whatever came in whatever order: the ACK names exactly that. */
static void an_ack_describes_the_window(void **state)
{
    (void)state;
    for (unsigned mask = 0; mask < 1024; mask++) {
        struct mdg_udp_window win = {0};
        for (uint32_t seq = 1; seq <= 10; seq++) {
            if (mask >> (seq - 1) & 1)
                mdg_udp_window_take(&win, seq);
        }
        struct mdg_udp_packet ack = {.type = MDG_UDP_ACK};
        mdg_udp_window_ack(&win, &ack);
        for (uint32_t seq = 1; seq <= 12; seq++)
            assert_int_equal(mdg_udp_acked(&ack, seq), seq <= 10 && (mask >> (seq - 1) & 1));
    }
}

/* 64 may be in flight: the oldest of them is as far back as the bits reach. */
static void an_ack_does_not_claim_the_oldest_that_may_be_in_flight(void **state)
{
    (void)state;
    for (uint32_t lost = 1; lost <= 64; lost++) {
        struct mdg_udp_window win = {0};
        struct mdg_udp_packet ack = {.type = MDG_UDP_ACK};
        for (uint32_t seq = 1; seq <= 64; seq++) {
            if (seq != lost)
                mdg_udp_window_take(&win, seq);
        }
        mdg_udp_window_ack(&win, &ack);
        for (uint32_t seq = 1; seq <= 64; seq++)
            assert_int_equal(mdg_udp_acked(&ack, seq), seq != lost);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_comes_back_as_it_was),
        cmocka_unit_test(refuses_what_it_does_not_know),
        cmocka_unit_test(what_people_type_is_text),
        cmocka_unit_test(a_cookie_belongs_to_its_address_and_minute),
        cmocka_unit_test(a_typed_cookie_is_twelve_digits),
        cmocka_unit_test(the_window_knows_new_from_seen),
        cmocka_unit_test(numbers_wrap),
        cmocka_unit_test(an_ack_describes_the_window),
        cmocka_unit_test(an_ack_does_not_claim_the_oldest_that_may_be_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
