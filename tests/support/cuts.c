/* Pieces live right before a PROT_NONE page, so that reading one byte too many crashes. */
#include "tests/support/cuts.h"
#include "tests/support/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { ROOM = 4 << 20, GUARD = 4096 };

static uint8_t *new_guarded_room(void)
{
    uint8_t *room =
        mmap(NULL, ROOM + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(room != MAP_FAILED);
    assert_int_equal(mprotect(room + ROOM, GUARD, PROT_NONE), 0);
    return room + ROOM;
}

struct mdg_input mdg_test_next_piece(struct mdg_test_pieces *pieces, size_t keep)
{
    size_t want = pieces->first ? pieces->first : pieces->each;
    if (want == 0 || want > pieces->rest.len)
        want = pieces->rest.len;
    pieces->first = 0;
    if (want == 0)
        return (struct mdg_input){NULL, 0};
    assert_true(keep + want <= ROOM);
    uint8_t *at = pieces->page_end - want - keep;
    memmove(at, pieces->page_end - keep, keep);
    memcpy(at + keep, pieces->rest.data, want);
    pieces->rest.data += want;
    pieces->rest.len -= want;
    return (struct mdg_input){at, keep + want};
}

void mdg_test_say(struct mdg_test_out *out, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(out->text + out->len, sizeof out->text - out->len, fmt, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < sizeof out->text - out->len);
    out->len += (size_t)n;
}

static void run(mdg_test_decode_fn fn, void *arg, struct mdg_slice input, size_t first, size_t each,
                uint8_t *page_end, struct mdg_test_out *out)
{
    struct mdg_test_pieces pieces = {input, first, each, page_end};
    out->len = 0;
    out->text[0] = '\0';
    fn(&pieces, out, arg);
}

void mdg_test_every_cut(mdg_test_decode_fn fn, void *arg, struct mdg_slice input,
                        const char *expected)
{
    uint8_t *page_end = new_guarded_room();
    struct mdg_test_out *whole = malloc(sizeof *whole), *cut = malloc(sizeof *cut);
    assert_true(whole && cut);
    run(fn, arg, input, 0, 0, page_end, whole);
    if (expected)
        assert_string_equal(whole->text, expected);
    run(fn, arg, input, 1, 1, page_end, cut);
    assert_string_equal(cut->text, whole->text);
    for (size_t at = 1; at < input.len; at++) {
        run(fn, arg, input, at, 0, page_end, cut);
        assert_string_equal(cut->text, whole->text);
    }
    free(whole);
    free(cut);
    munmap(page_end - ROOM, ROOM + GUARD);
}
