/* Slices, buffers, pools, maps, writers: the vocabulary does what its headers say. */
#include "base/base.h"
#include "base/blob.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/move.h"
#include "base/pool.h"
#include "base/writer.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>

static void numbers_are_digits_only_and_do_not_overflow(void **state)
{
    (void)state;
    uint64_t v = 7;
    assert_int_equal(mdg_slice_u64(MDG_SLICE_LIT("18446744073709551615"), &v), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(mdg_slice_u64(MDG_SLICE_LIT("18446744073709551616"), &v), MDG_E_TOO_BIG);
    assert_int_equal(mdg_slice_u64(MDG_SLICE_LIT("+1"), &v), MDG_E_SYNTAX);
    assert_int_equal(mdg_slice_u64(MDG_SLICE_LIT(""), &v), MDG_E_SYNTAX);
    assert_int_equal(mdg_slice_u64(MDG_SLICE_LIT("1 "), &v), MDG_E_SYNTAX);
}

static void split_walks_every_part_and_ends(void **state)
{
    (void)state;
    struct mdg_slice rest = MDG_SLICE_LIT("a,,b");
    assert_true(mdg_slice_eq(mdg_slice_split(&rest, ','), MDG_SLICE_LIT("a")));
    assert_true(mdg_slice_eq(mdg_slice_split(&rest, ','), MDG_SLICE_LIT("")));
    assert_non_null(rest.data);
    assert_true(mdg_slice_eq(mdg_slice_split(&rest, ','), MDG_SLICE_LIT("b")));
    assert_null(rest.data);
}

static void a_buffer_stops_at_its_maximum(void **state)
{
    (void)state;
    struct mdg_buf b;
    mdg_buf_init(&b, 300);
    assert_int_equal(mdg_buf_append(&b, mdg_slice("x", 1)), 0);
    assert_int_equal(mdg_buf_reserve(&b, 299), 0);
    assert_int_equal(mdg_buf_reserve(&b, 300), MDG_E_TOO_BIG);
    assert_int_equal(mdg_buf_reserve(&b, SIZE_MAX), MDG_E_TOO_BIG);
    assert_int_equal(b.len, 1);
    mdg_buf_consume(&b, 1);
    assert_int_equal(b.len, 0);
    mdg_buf_fini(&b);
}

static void a_pool_reuses_its_items_and_holds_its_bound(void **state)
{
    (void)state;
    struct mdg_pool p;
    mdg_pool_init(&p, 40, 2);
    void *a = mdg_pool_get(&p), *b = mdg_pool_get(&p);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal((uintptr_t)a % 8, 0);
    assert_null(mdg_pool_get(&p));
    memset(a, 0xff, 40);
    mdg_pool_put(&p, a);
    uint8_t *again = mdg_pool_get(&p);
    assert_ptr_equal(again, a);
    assert_int_equal(again[0] | again[39], 0);
    mdg_pool_fini(&p);
}

static void moves_of_every_length_and_overlap_are_memmove(void **state)
{
    (void)state;
    uint8_t want[128], got[128];
    for (size_t len = 0; len <= 40; len++) {
        for (size_t to = 0; to <= 80; to++) {
            for (size_t i = 0; i < sizeof got; i++)
                want[i] = got[i] = (uint8_t)i;
            memmove(want + to, want + 40, len);
            mdg_move(got + to, got + 40, len);
            assert_memory_equal(got, want, sizeof got);
        }
    }
}

static void small_objects_come_from_the_pool_of_their_size(void **state)
{
    (void)state;
    struct mdg_small s;
    mdg_small_init(&s);
    uint8_t *a = mdg_small_get(&s, 57), *b = mdg_small_get(&s, 64);
    assert_non_null(a);
    assert_int_equal((uintptr_t)a % 64, 0); /* one line of the cache each */
    assert_ptr_equal(b, a + 64);
    mdg_small_put(&s, a, 57);
    assert_ptr_equal(mdg_small_get(&s, 60), a);
    uint8_t *largest = mdg_small_get(&s, 256), *larger = mdg_small_get(&s, 257);
    assert_non_null(largest);
    assert_non_null(larger);
    assert_int_equal(larger[0] | larger[256], 0);
    mdg_small_put(&s, larger, 257);
    mdg_small_put(&s, NULL, 8);
    mdg_small_fini(&s);
}

static void a_map_survives_growth_and_removal_in_any_order(void **state)
{
    (void)state;
    enum { N = 2000 };
    static char keys[N][8];
    struct mdg_map m;
    mdg_map_init(&m, (const uint64_t[2]){1, 2});
    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof keys[i], "k%d", i);
        assert_int_equal(mdg_map_put(&m, mdg_slice_str(keys[i]), keys[i]), 0);
    }
    assert_int_equal(mdg_map_put(&m, MDG_SLICE_LIT("k7"), keys[7]), MDG_E_EXISTS);
    for (int i = 0; i < N; i += 3)
        assert_ptr_equal(mdg_map_remove(&m, mdg_slice_str(keys[i])), keys[i]);
    for (int i = 0; i < N; i++)
        assert_ptr_equal(mdg_map_get(&m, mdg_slice_str(keys[i])), i % 3 ? keys[i] : NULL);
    size_t at = 0, seen = 0;
    while (mdg_map_next(&m, &at))
        seen++;
    assert_int_equal(seen, m.len);
    mdg_map_fini(&m);
}

static void siphash_matches_a_known_answer(void **state)
{
    (void)state;
    /* SipHash-1-3 of 00..0e under the key 00..0f; the value that Rust's and CPython's
     * independent implementations give. */
    uint8_t key[16], in[15];
    uint64_t seed[2];
    for (uint8_t i = 0; i < 16; i++)
        key[i] = i;
    for (uint8_t i = 0; i < 15; i++)
        in[i] = i;
    memcpy(seed, key, sizeof seed);
    assert_true(mdg_siphash(seed, mdg_slice(in, 0)) == 0xabac0158050fc4dcu);
}

static void the_writer_counts_past_its_end_and_stores_nothing_there(void **state)
{
    (void)state;
    char room[5] = "zzzz";
    struct mdg_writer w;
    mdg_writer_init(&w, room, 3);
    mdg_write_str(&w, "ab");
    mdg_write_str(&w, "cd");
    assert_int_equal(w.len, 4);
    assert_false(mdg_writer_fits(&w));
    assert_int_equal(room[3], 'z');
}

static void json_strings_escape_what_scripts_and_json_cannot_hold(void **state)
{
    (void)state;
    char room[128];
    struct mdg_writer w;
    mdg_writer_init(&w, room, sizeof room);
    mdg_write_json_string(&w, MDG_SLICE_LIT("a\"\\\n\x01\xe2\x80\xa8\xea\xb0\x80"));
    assert_true(mdg_slice_eq(mdg_slice(room, w.len),
                             MDG_SLICE_LIT("\"a\\\"\\\\\\n\\u0001\\u2028\xea\xb0\x80\"")));
}

static void a_blob_is_freed_with_its_last_reference(void **state)
{
    (void)state;
    struct mdg_blob *b = mdg_blob_copy(MDG_SLICE_LIT("hello"));
    assert_non_null(b);
    mdg_blob_ref(b);
    mdg_blob_unref(b);
    assert_true(mdg_slice_eq(mdg_blob_slice(b), MDG_SLICE_LIT("hello")));
    mdg_blob_unref(b); /* the leak checker sees it if this did not free */
}

static void every_error_has_a_text(void **state)
{
    (void)state;
    assert_string_equal(mdg_strerror(MDG_E_FULL), "a bounded queue is full");
    assert_string_equal(mdg_strerror(-2), "No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_digits_only_and_do_not_overflow),
        cmocka_unit_test(split_walks_every_part_and_ends),
        cmocka_unit_test(a_buffer_stops_at_its_maximum),
        cmocka_unit_test(a_pool_reuses_its_items_and_holds_its_bound),
        cmocka_unit_test(moves_of_every_length_and_overlap_are_memmove),
        cmocka_unit_test(small_objects_come_from_the_pool_of_their_size),
        cmocka_unit_test(a_map_survives_growth_and_removal_in_any_order),
        cmocka_unit_test(siphash_matches_a_known_answer),
        cmocka_unit_test(the_writer_counts_past_its_end_and_stores_nothing_there),
        cmocka_unit_test(json_strings_escape_what_scripts_and_json_cannot_hold),
        cmocka_unit_test(a_blob_is_freed_with_its_last_reference),
        cmocka_unit_test(every_error_has_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
