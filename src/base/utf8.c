/* A state machine over bytes as shifts: the row of a byte holds the next state of every state in
 * six bits each, so that one step is a load and a shift. Rows follow table 3-7 of the Unicode
 * standard (the same as the ABNF of RFC 3629 section 4). */
#include "base/utf8.h"
#include "base/cpu.h"

enum {
    START = MDG_UTF8_START,
    BAD = MDG_UTF8_BAD,
    TAIL1 = 12, /* one continuation to come */
    TAIL2 = 18,
    TAIL3 = 24,
    AFTER_E0 = 30, /* a0..bf, then one */
    AFTER_ED = 36, /* 80..9f, then one */
    AFTER_F0 = 42, /* 90..bf, then two */
    AFTER_F4 = 48  /* 80..8f, then two */
};

#define TO(from, to) ((uint64_t)(to) << (from))
#define ALL_BAD                                                                                    \
    (TO(START, BAD) | TO(BAD, BAD) | TO(TAIL1, BAD) | TO(TAIL2, BAD) | TO(TAIL3, BAD) |            \
     TO(AFTER_E0, BAD) | TO(AFTER_ED, BAD) | TO(AFTER_F0, BAD) | TO(AFTER_F4, BAD))
/* XOR replaces BAD by the state in one place of a row. */
#define BUT(from, to) (TO(from, BAD) ^ TO(from, to))
#define CONT (BUT(TAIL1, START) ^ BUT(TAIL2, TAIL1) ^ BUT(TAIL3, TAIL2))
#define LEAD(state) (ALL_BAD ^ BUT(START, state))
#define CONT_80 (ALL_BAD ^ CONT ^ BUT(AFTER_ED, TAIL1) ^ BUT(AFTER_F4, TAIL2))
#define CONT_90 (ALL_BAD ^ CONT ^ BUT(AFTER_ED, TAIL1) ^ BUT(AFTER_F0, TAIL2))
#define CONT_A0 (ALL_BAD ^ CONT ^ BUT(AFTER_E0, TAIL1) ^ BUT(AFTER_F0, TAIL2))
#define X4(row) row, row, row, row
#define X16(row) X4(row), X4(row), X4(row), X4(row)

static const uint64_t rows[256] = {
    X16(LEAD(START)), X16(LEAD(START)), X16(LEAD(START)), X16(LEAD(START)), X16(LEAD(START)),
    X16(LEAD(START)), X16(LEAD(START)), X16(LEAD(START)), X16(CONT_80),     X16(CONT_90),
    X16(CONT_A0),     X16(CONT_A0),     ALL_BAD,          ALL_BAD,          LEAD(TAIL1),
    LEAD(TAIL1),      X4(LEAD(TAIL1)),  X4(LEAD(TAIL1)),  X4(LEAD(TAIL1)),  X16(LEAD(TAIL1)),
    LEAD(AFTER_E0),   LEAD(TAIL2),      LEAD(TAIL2),      LEAD(TAIL2),      X4(LEAD(TAIL2)),
    X4(LEAD(TAIL2)),  LEAD(TAIL2),      LEAD(AFTER_ED),   LEAD(TAIL2),      LEAD(TAIL2),
    LEAD(AFTER_F0),   LEAD(TAIL3),      LEAD(TAIL3),      LEAD(TAIL3),      LEAD(AFTER_F4),
    ALL_BAD,          ALL_BAD,          ALL_BAD,          X4(ALL_BAD),      X4(ALL_BAD),
};

uint8_t mdg_utf8_step(uint8_t state, const uint8_t *data, size_t len)
{
    uint64_t now = state;
    for (size_t i = 0; i < len; i++)
        now = rows[data[i]] >> (now & 63);
    return (uint8_t)(now & 63);
}

uint8_t mdg_utf8_next(uint8_t state, const uint8_t *data, size_t len)
{
    /* Finish the character that the last piece left open: at most three bytes. */
    while (state != START && state != BAD && len > 0) {
        state = mdg_utf8_step(state, data, 1);
        data++;
        len--;
    }
    if (state == BAD)
        return BAD;
    if (len >= 64) {
        size_t good = mdg_cpu_kernels.utf8(data, len);
        data += good;
        len -= good;
        /* More than a block left means that the kernel met an error close by. */
        if (len > 128)
            len = 128;
    }
    return mdg_utf8_step(state, data, len);
}

bool mdg_utf8_valid(struct mdg_slice s)
{
    return mdg_utf8_next(START, s.data, s.len) == START;
}

size_t mdg_utf8_prefix(struct mdg_slice s)
{
    size_t good = s.len >= 64 ? mdg_cpu_kernels.utf8(s.data, s.len) : 0;
    uint8_t state = START;
    for (size_t i = good; i < s.len && state != BAD; i++) {
        state = mdg_utf8_step(state, s.data + i, 1);
        if (state == START)
            good = i + 1;
    }
    return good;
}
