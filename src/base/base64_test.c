/* Base64 both ways, with the test vectors of RFC 4648 10 and what a decoder must refuse. */
#include "base/base64.h"
#include "tests/support/unit.h"
#include <stdio.h>

static void the_rfc_vectors_hold_both_ways(void **state)
{
    (void)state;
    static const char *const vectors[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    for (size_t i = 0; i < MDG_ARRAY_LEN(vectors); i++) {
        struct mdg_slice plain = mdg_slice_str(vectors[i][0]);
        struct mdg_slice coded = mdg_slice_str(vectors[i][1]);
        uint8_t room[32];
        struct mdg_writer w;
        mdg_writer_init(&w, room, sizeof room);
        mdg_write_base64(&w, plain);
        assert_true(mdg_slice_eq(mdg_slice(room, w.len), coded));
        assert_int_equal(w.len, mdg_base64_encoded_len(plain.len));
        assert_int_equal(mdg_base64_decode(coded, room, sizeof room), plain.len);
        assert_true(mdg_slice_eq(mdg_slice(room, plain.len), plain));
    }
}

static void every_byte_comes_back_in_both_alphabets(void **state)
{
    (void)state;
    uint8_t all[256], coded[400], back[256];
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (uint8_t)(i * 37);
    struct mdg_writer w;
    mdg_writer_init(&w, coded, sizeof coded);
    mdg_write_base64(&w, mdg_slice(all, 256));
    assert_int_equal(mdg_base64_decode(mdg_slice(coded, w.len), back, sizeof back), 256);
    assert_memory_equal(all, back, 256);
    mdg_writer_init(&w, coded, sizeof coded);
    mdg_write_base64url(&w, mdg_slice(all, 256));
    assert_null(memchr(coded, '=', w.len));
    assert_null(memchr(coded, '+', w.len));
    assert_int_equal(mdg_base64_decode(mdg_slice(coded, w.len), coded, sizeof coded), 256);
    assert_memory_equal(all, coded, 256);
}

static void what_is_not_base64_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "A", "Zg=", "Zg===", "=", "Z g=", "Zh==", "Zm9=", "Zg==Zg==", "Zm9v\n"};
    uint8_t room[32];
    for (size_t i = 0; i < MDG_ARRAY_LEN(bad); i++)
        assert_int_equal(mdg_base64_decode(mdg_slice_str(bad[i]), room, sizeof room), MDG_E_SYNTAX);
    assert_int_equal(mdg_base64_decode(MDG_SLICE_LIT("Zm9v"), room, 2), MDG_E_NO_SPACE);
    assert_int_equal(mdg_base64_decode(MDG_SLICE_LIT("Zg"), room, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rfc_vectors_hold_both_ways),
        cmocka_unit_test(every_byte_comes_back_in_both_alphabets),
        cmocka_unit_test(what_is_not_base64_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
