/* permessage-deflate's payloads: the examples of RFC 7692 7.2.3, both directions at every window
 * size, in pieces, with and without context takeover; bombs and rubbish. */
#include "codec/deflate.h"
#include "tests/support/unit.h"
#include <stdlib.h>

static size_t inflate_all(struct mdg_inflate *f, struct mdg_slice in, size_t piece, size_t room,
                          uint8_t *out, size_t max, int *rc)
{
    size_t total = 0;
    do {
        size_t n = piece && piece < in.len ? piece : in.len;
        struct mdg_slice part = mdg_slice(in.data, n);
        in.data += n;
        in.len -= n;
        do {
            size_t made = 0, cap = mdg_min_size(room, max - total);
            *rc = mdg_inflate_piece(f, &part, in.len == 0, out + total, cap, &made);
            total += made;
            if (*rc < 0 || (*rc == 1 && total == max))
                return total;
        } while (*rc == 1);
    } while (in.len);
    return total;
}

static void expect_hello(struct mdg_inflate *f, const void *bytes, size_t len)
{
    static const size_t pieces[] = {0, 1, 2, 3}, rooms[] = {100, 1, 2, 5};
    for (size_t p = 0; p < 4; p++) {
        uint8_t out[100];
        int rc;
        size_t n = inflate_all(f, mdg_slice(bytes, len), pieces[p], rooms[p], out, sizeof out, &rc);
        assert_int_equal(rc, 0);
        assert_int_equal(n, 5);
        assert_memory_equal(out, "Hello", 5);
        if (!f->fresh)
            break; /* the next message may refer to this one */
    }
}

#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static void examples_of_rfc_7692_section_7_2_3(void **state)
{
    (void)state;
    struct mdg_inflate f = {0};
    assert_int_equal(mdg_inflate_open(&f, 15, true), 0);
    expect_hello(&f, BYTES(0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00)); /* .1 */
    expect_hello(&f,
                 BYTES(0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00)); /* .3 */
    expect_hello(&f, BYTES(0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00));               /* .4 */
    expect_hello(&f, BYTES(0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07,
                           0x00)); /* .5 */
    mdg_inflate_close(&f);
    assert_int_equal(mdg_inflate_open(&f, 15, false), 0);
    expect_hello(&f, BYTES(0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00)); /* .2: one after another */
    expect_hello(&f, BYTES(0xf2, 0x00, 0x11, 0x00, 0x00));
    uint8_t out[8];
    int rc;
    assert_int_equal(inflate_all(&f, mdg_slice(BYTES(0x00)), 0, 8, out, 8, &rc), 0); /* .6: empty */
    assert_int_equal(rc, 0);
    mdg_inflate_close(&f);
}

static void a_block_with_bfinal_keeps_the_window(void **state)
{
    (void)state;
    struct mdg_inflate f = {0};
    assert_int_equal(mdg_inflate_open(&f, 15, false), 0);
    expect_hello(&f, BYTES(0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00));
    expect_hello(&f, BYTES(0xf2, 0x00, 0x11, 0x00, 0x00));
    mdg_inflate_close(&f);
}

static void fill(uint8_t *data, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        /* Runs of text that repeats at all distances, and some noise. */
        data[i] =
            (seed >> 28) && i > 300 ? data[i - 1 - (seed >> 16) % 299] : (uint8_t)(seed >> 20);
    }
}

static void every_window_size_round_trips_through_a_window_of_that_size(void **state)
{
    (void)state;
    enum { LEN = 40000, BOUND = 60000 };
    uint8_t *in = malloc(LEN), *wire = malloc(BOUND), *out = malloc(LEN + 1);
    assert_true(in && wire && out);
    for (uint8_t bits = 8; bits <= 15; bits++) {
        for (int fresh = 0; fresh < 2; fresh++) {
            z_stream z = {0};
            struct mdg_inflate f = {0};
            assert_int_equal(mdg_deflate_open(&z, bits, 6, bits > 9 ? 8 : 1), 0);
            assert_int_equal(mdg_inflate_open(&f, bits, fresh), 0);
            for (unsigned round = 0; round < 6; round++) {
                size_t len = round == 3 ? 0 : LEN >> round;
                int rc;
                fill(in, len, bits + round % 2);
                int64_t n = mdg_deflate_message(&z, mdg_slice(in, len), fresh, wire,
                                                mdg_deflate_bound(len));
                assert_true(n > 0);
                /* Small output makes zlib take matches from its window, not from the output. */
                size_t got =
                    inflate_all(&f, mdg_slice(wire, (size_t)n), 100, 61, out, LEN + 1, &rc);
                assert_int_equal(rc, 0);
                assert_int_equal(got, len);
                assert_memory_equal(out, in, len);
            }
            mdg_deflate_close(&z);
            mdg_inflate_close(&f);
        }
    }
    free(in);
    free(wire);
    free(out);
}

static void noise_stays_within_the_bound(void **state)
{
    (void)state;
    enum { LEN = 70000 };
    uint8_t *in = malloc(LEN), *wire = malloc(mdg_deflate_bound(LEN));
    assert_true(in && wire);
    unsigned seed = 5;
    for (size_t i = 0; i < LEN; i++)
        in[i] = (uint8_t)((seed = seed * 1103515245u + 12345u) >> 16);
    for (int mem = 1; mem <= 9; mem++) {
        z_stream z = {0};
        assert_int_equal(mdg_deflate_open(&z, 15, 9, mem), 0);
        for (size_t len = 1; len <= LEN; len = len * 2 + 1)
            assert_true(mdg_deflate_message(&z, mdg_slice(in, len), true, wire,
                                            mdg_deflate_bound(len)) > 0);
        mdg_deflate_close(&z);
    }
    free(in);
    free(wire);
}

static void with_takeover_a_repeated_message_shrinks(void **state)
{
    (void)state;
    static const char text[] = "the same words come again and again in this room, as they do";
    uint8_t wire[256];
    z_stream z = {0};
    assert_int_equal(mdg_deflate_open(&z, 15, 6, 8), 0);
    int64_t first = mdg_deflate_message(&z, MDG_SLICE_LIT(text), false, wire, sizeof wire);
    int64_t second = mdg_deflate_message(&z, MDG_SLICE_LIT(text), false, wire, sizeof wire);
    assert_true(first > 0 && second > 0 && second < first / 4);
    mdg_deflate_close(&z);
}

static void a_bomb_fills_no_more_than_the_room_it_is_given(void **state)
{
    (void)state;
    enum { LEN = 1 << 22 };
    uint8_t *zeros = calloc(1, LEN), *wire = malloc(mdg_deflate_bound(LEN)), out[4096];
    assert_true(zeros && wire);
    z_stream z = {0};
    struct mdg_inflate f = {0};
    assert_int_equal(mdg_deflate_open(&z, 15, 9, 9), 0);
    int64_t n = mdg_deflate_message(&z, mdg_slice(zeros, LEN), true, wire, mdg_deflate_bound(LEN));
    assert_true(n > 0 && n < 8192);
    assert_int_equal(mdg_inflate_open(&f, 15, true), 0);
    int rc;
    assert_int_equal(inflate_all(&f, mdg_slice(wire, (size_t)n), 0, 512, out, sizeof out, &rc),
                     sizeof out);
    assert_int_equal(rc, 1);
    mdg_inflate_close(&f);
    mdg_deflate_close(&z);
    free(zeros);
    free(wire);
}

static void rubbish_and_messages_cut_off_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[8], len;
    } bad[] = {
        {{0xff, 0xff, 0xff}, 3},                  /* block type 3 */
        {{0x00, 0x09, 0x00, 0xf6, 0xff, 'H'}, 6}, /* a stored block cut off */
        {{0xf2, 0x48, 0xcd, 0xc9}, 4},            /* a fixed block cut off */
        {{0x00, 0x09, 0x00, 0xf7, 0xff, 'H'}, 6}, /* length and its complement differ */
        {{0xf2, 0x00, 0x11, 0x00, 0x00}, 5},      /* refers to what never was */
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++) {
        for (size_t piece = 0; piece < 3; piece++) {
            struct mdg_inflate f = {0};
            uint8_t out[600];
            int rc;
            assert_int_equal(mdg_inflate_open(&f, 15, true), 0);
            inflate_all(&f, mdg_slice(bad[i].bytes, bad[i].len), piece, sizeof out, out, sizeof out,
                        &rc);
            assert_int_equal(rc, MDG_E_SYNTAX);
            mdg_inflate_close(&f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_of_rfc_7692_section_7_2_3),
        cmocka_unit_test(a_block_with_bfinal_keeps_the_window),
        cmocka_unit_test(every_window_size_round_trips_through_a_window_of_that_size),
        cmocka_unit_test(noise_stays_within_the_bound),
        cmocka_unit_test(with_takeover_a_repeated_message_shrinks),
        cmocka_unit_test(a_bomb_fills_no_more_than_the_room_it_is_given),
        cmocka_unit_test(rubbish_and_messages_cut_off_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
