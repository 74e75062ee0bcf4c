/* Feeding a decoder in every way that the network may cut its input. */
#ifndef MDG_TEST_CUTS_H
#define MDG_TEST_CUTS_H

#include "base/base.h"

/* One run of the decoder under test over `input`, handed to it in pieces. The function starts a
 * fresh decoder, calls mdg_test_next_piece until it gives an empty piece, and writes what the
 * decoder said (events as text, errors too) into `out`. */
struct mdg_test_pieces {
    struct mdg_slice rest;
    size_t first, each; /* length of the first piece, then of every other (0: all the rest) */
    uint8_t *page_end;  /* pieces end right before this unreadable page */
};

struct mdg_test_out {
    char text[65536];
    size_t len;
};

typedef void (*mdg_test_decode_fn)(struct mdg_test_pieces *pieces, struct mdg_test_out *out,
                                   void *arg);

/* The next piece, in memory of its own that ends at a guard page and may be rewritten in place;
 * data NULL at the end. Valid until the next call. Bytes that the decoder left unconsumed
 * (`keep` many, from the end of the last piece) come again in front. */
struct mdg_input mdg_test_next_piece(struct mdg_test_pieces *pieces, size_t keep);
/* printf into the record of what the decoder said. */
void mdg_test_say(struct mdg_test_out *out, const char *fmt, ...) MDG_PRINTF(2, 3);
/* Decodes the input whole, a byte at a time, and cut in two at every place; fails the test unless
 * each run says `expected` (NULL: whatever the whole run said). */
void mdg_test_every_cut(mdg_test_decode_fn fn, void *arg, struct mdg_slice input,
                        const char *expected);

#endif
