/* Masking: every kernel agrees with the definition at every length and alignment, in pieces too. */
#include "base/mask.h"
#include "tests/support/unit.h"
#include <stdlib.h>

static void by_definition(uint8_t *data, size_t len, const uint8_t key[4])
{
    for (size_t i = 0; i < len; i++)
        data[i] ^= key[i % 4];
}

static void fill(uint8_t *data, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(seed = seed * 1103515245u + 12345u, seed >> 16);
}

static void every_kernel_masks_every_length_and_alignment(void **state)
{
    (void)state;
    const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint32_t k;
    memcpy(&k, key, 4);
    static uint8_t want[512], got[512];
    for (size_t v = 0; mdg_cpu_variant(v); v++) {
        for (size_t off = 0; off < 8; off++) {
            for (size_t len = 0; len <= 400; len++) {
                fill(want, sizeof want, (unsigned)len);
                memcpy(got, want, sizeof want);
                by_definition(want + off, len, key);
                mdg_cpu_variant(v)->mask(got + off, len, k);
                assert_memory_equal(got, want, sizeof want);
            }
        }
    }
}

static void pieces_go_on_where_the_last_one_ended(void **state)
{
    (void)state;
    const uint8_t key[4] = {1, 2, 4, 128};
    static uint8_t want[1000], got[1000];
    for (size_t cut = 0; cut <= 200; cut++) {
        uint32_t k;
        memcpy(&k, key, 4);
        fill(want, sizeof want, 9);
        memcpy(got, want, sizeof want);
        by_definition(want, sizeof want, key);
        mdg_mask(got, cut, &k);
        mdg_mask(got + cut, sizeof got - cut, &k);
        assert_memory_equal(got, want, sizeof want);
    }
}

static void ascii_is_seen_and_one_high_byte_anywhere_is_seen(void **state)
{
    (void)state;
    static uint8_t data[300];
    for (size_t len = 1; len <= sizeof data; len += 7) {
        for (size_t at = 0; at <= len; at++) {
            uint32_t key = 0x91a2b3c4, again = key;
            memset(data, 'x', sizeof data);
            if (at < len)
                data[at] = 0xc3;
            mdg_mask(data, len, &key);
            assert_int_equal(mdg_mask(data, len, &again), at == len);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_masks_every_length_and_alignment),
        cmocka_unit_test(pieces_go_on_where_the_last_one_ended),
        cmocka_unit_test(ascii_is_seen_and_one_high_byte_anywhere_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
