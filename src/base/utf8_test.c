/* UTF-8: the state machine against the table of Unicode, the kernels against the state machine. */
#include "base/cpu.h"
#include "base/utf8.h"
#include "tests/support/unit.h"
#include <stdlib.h>
#include <sys/mman.h>

/* Table 3-7 of the Unicode standard, written out; 0: no prefix of it is possible. Returns the
 * length of the character, or -n when n bytes are a good beginning. */
static int by_table(const uint8_t *s, size_t len)
{
    static const uint8_t table[][9] = {
        {0x00, 0x7f, 1},
        {0xc2, 0xdf, 2, 0x80, 0xbf},
        {0xe0, 0xe0, 3, 0xa0, 0xbf, 0x80, 0xbf},
        {0xe1, 0xec, 3, 0x80, 0xbf, 0x80, 0xbf},
        {0xed, 0xed, 3, 0x80, 0x9f, 0x80, 0xbf},
        {0xee, 0xef, 3, 0x80, 0xbf, 0x80, 0xbf},
        {0xf0, 0xf0, 4, 0x90, 0xbf, 0x80, 0xbf, 0x80, 0xbf},
        {0xf1, 0xf3, 4, 0x80, 0xbf, 0x80, 0xbf, 0x80, 0xbf},
        {0xf4, 0xf4, 4, 0x80, 0x8f, 0x80, 0xbf, 0x80, 0xbf},
    };
    for (size_t r = 0; r < MDG_ARRAY_LEN(table); r++) {
        const uint8_t *row = table[r];
        if (s[0] < row[0] || s[0] > row[1])
            continue;
        for (size_t i = 1; i < row[2]; i++) {
            if (i >= len)
                return -(int)len;
            if (s[i] < row[1 + 2 * i] || s[i] > row[2 + 2 * i])
                return 0;
        }
        return row[2];
    }
    return 0;
}

static void every_start_of_four_bytes_is_judged_at_its_first_impossible_byte(void **state)
{
    (void)state;
    static const uint8_t edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0,
                                    0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0,
                                    0xf1, 0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xfe, 0xff};
    enum { N = sizeof edges };
    for (unsigned first = 0; first < 256; first++) {
        for (unsigned i = 0; i < N * N * N; i++) {
            uint8_t s[4] = {(uint8_t)first, edges[i % N], edges[i / N % N], edges[i / N / N]};
            for (size_t len = 1; len <= 4; len++) {
                int want = by_table(s, len);
                uint8_t got = mdg_utf8_step(MDG_UTF8_START, s, len);
                if (want == 0)
                    assert_int_equal(got, MDG_UTF8_BAD);
                else if (want < 0)
                    assert_true(got != MDG_UTF8_BAD && got != MDG_UTF8_START);
                else if ((size_t)want == len)
                    assert_int_equal(got, MDG_UTF8_START);
                if (want == 0 || (size_t)want == len)
                    break;
            }
        }
    }
}

static size_t put(uint8_t *out, uint32_t c)
{
    if (c < 0x80)
        return out[0] = (uint8_t)c, 1;
    if (c < 0x800)
        return out[0] = (uint8_t)(0xc0 | c >> 6), out[1] = (uint8_t)(0x80 | (c & 63)), 2;
    if (c < 0x10000)
        return out[0] = (uint8_t)(0xe0 | c >> 12), out[1] = (uint8_t)(0x80 | (c >> 6 & 63)),
               out[2] = (uint8_t)(0x80 | (c & 63)), 3;
    return out[0] = (uint8_t)(0xf0 | c >> 18), out[1] = (uint8_t)(0x80 | (c >> 12 & 63)),
           out[2] = (uint8_t)(0x80 | (c >> 6 & 63)), out[3] = (uint8_t)(0x80 | (c & 63)), 4;
}

static size_t random_text(uint8_t *out, size_t room, unsigned *seed)
{
    static const uint32_t from[] = {0x20,   0x80,    0x800,   0x1000,  0xac00,
                                    0xe000, 0x10000, 0x40000, 0x100000};
    static const uint32_t to[] = {0x7f,   0x7ff,   0xfff,   0xcfff,  0xd7ff,
                                  0xffff, 0x3ffff, 0xfffff, 0x10ffff};
    size_t len = 0, run = 0, kind = 0;
    while (len + 4 <= room) {
        if (run-- == 0) {
            *seed = *seed * 1103515245u + 12345u;
            kind = (*seed >> 16) % 9;
            run = (*seed >> 20) % 40;
        }
        *seed = *seed * 1103515245u + 12345u;
        len += put(out + len, from[kind] + (*seed >> 8) % (to[kind] - from[kind] + 1));
    }
    return len;
}

/* The whole answer of a kernel: what it passes, then the state machine over the rest. */
static uint8_t judge(const struct mdg_cpu *cpu, const uint8_t *data, size_t len)
{
    size_t good = cpu->utf8(data, len);
    assert_true(good <= len);
    assert_int_equal(mdg_utf8_step(MDG_UTF8_START, data, good), MDG_UTF8_START);
    return mdg_utf8_step(MDG_UTF8_START, data + good, mdg_min_size(len - good, 128));
}

static void every_kernel_agrees_with_the_state_machine_on_damaged_text(void **state)
{
    (void)state;
    enum { ROOM = 1024 };
    uint8_t *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(page != MAP_FAILED);
    assert_int_equal(mprotect(page + 4096, 4096, PROT_NONE), 0);
    static uint8_t text[ROOM];
    unsigned seed = 20251121;
    for (unsigned round = 0; round < 20000; round++) {
        size_t len = random_text(text, 64 + round % (ROOM - 64), &seed);
        uint8_t *at = page + 4096 - len;
        memcpy(at, text, len);
        if (round % 3) {
            seed = seed * 1103515245u + 12345u;
            at[(seed >> 8) % len] = (uint8_t)(seed >> 24 | (round % 3 == 1 ? 0x80 : 0));
        }
        uint8_t want = mdg_utf8_step(MDG_UTF8_START, at, len);
        for (size_t v = 0; mdg_cpu_variant(v); v++) {
            uint8_t got = judge(mdg_cpu_variant(v), at, len);
            if (got != want)
                fail_msg("%s says %u, not %u, in round %u", mdg_cpu_variant(v)->name, got, want,
                         round);
        }
        assert_int_equal(mdg_utf8_next(MDG_UTF8_START, at, len), want);
    }
    munmap(page, 8192);
}

static void every_lead_at_every_place_of_a_block_is_held_to_its_second_byte(void **state)
{
    (void)state;
    static const uint8_t bad[][4] = {{0xe0, 0x9f, 0x80},
                                     {0xed, 0xa0, 0x80},
                                     {0xf0, 0x8f, 0x80, 0x80},
                                     {0xf4, 0x90, 0x80, 0x80},
                                     {0xc1, 0xbf},
                                     {0xf5, 0x80, 0x80, 0x80},
                                     {0xff},
                                     {0x80},
                                     {0xc3, 0x41},
                                     {0xe1, 0x80, 0x41},
                                     {0xf1, 0x80, 0x80, 0x41}};
    static const uint8_t len[] = {3, 3, 4, 4, 2, 4, 1, 1, 2, 3, 4};
    uint8_t text[256];
    for (size_t b = 0; b < MDG_ARRAY_LEN(bad); b++) {
        for (size_t at = 0; at + 4 <= sizeof text; at++) {
            memset(text, 'a', sizeof text);
            memcpy(text + at, bad[b], len[b]);
            for (size_t v = 0; mdg_cpu_variant(v); v++)
                assert_int_equal(judge(mdg_cpu_variant(v), text, sizeof text), MDG_UTF8_BAD);
        }
    }
}

static void pieces_cut_anywhere_judge_like_the_whole(void **state)
{
    (void)state;
    static uint8_t text[400];
    unsigned seed = 7;
    size_t len = random_text(text, sizeof text, &seed);
    for (size_t a = 0; a <= len; a++) {
        uint8_t s = mdg_utf8_next(MDG_UTF8_START, text, a);
        assert_int_not_equal(s, MDG_UTF8_BAD);
        assert_int_equal(mdg_utf8_next(s, text + a, len - a), MDG_UTF8_START);
    }
}

static void a_prefix_ends_before_the_broken_or_unfinished_character(void **state)
{
    (void)state;
    assert_int_equal(mdg_utf8_prefix(MDG_SLICE_LIT("ab\xea\xb0")), 2);
    assert_int_equal(mdg_utf8_prefix(MDG_SLICE_LIT("ab\xea\xb0\x80!")), 6);
    assert_int_equal(mdg_utf8_prefix(MDG_SLICE_LIT("\xff")), 0);
    assert_int_equal(mdg_utf8_prefix(MDG_SLICE_LIT("")), 0);
    assert_true(mdg_utf8_valid(MDG_SLICE_LIT("")));
    assert_false(mdg_utf8_valid(MDG_SLICE_LIT("\xc3")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_start_of_four_bytes_is_judged_at_its_first_impossible_byte),
        cmocka_unit_test(every_kernel_agrees_with_the_state_machine_on_damaged_text),
        cmocka_unit_test(every_lead_at_every_place_of_a_block_is_held_to_its_second_byte),
        cmocka_unit_test(pieces_cut_anywhere_judge_like_the_whole),
        cmocka_unit_test(a_prefix_ends_before_the_broken_or_unfinished_character),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
