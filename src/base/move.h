/* Moving bytes that are mostly few: a frame's head, a short message. A call of memmove costs more
 * than the move. */
#ifndef MDG_MOVE_H
#define MDG_MOVE_H

#include "base/base.h"

/* Two pieces of a fixed size, which may overlap each other and what they come from: both are read
 * before either is written. */
#define MDG_MOVE_ENDS(to, from, len, size)                                                         \
    do {                                                                                           \
        uint8_t mdg_first[size], mdg_last[size];                                                   \
        memcpy(mdg_first, (from), size);                                                           \
        memcpy(mdg_last, (from) + (len) - (size), size);                                           \
        memcpy((to), mdg_first, size);                                                             \
        memcpy((to) + (len) - (size), mdg_last, size);                                             \
    } while (0)

/* As memmove. */
static inline void mdg_move(uint8_t *to, const uint8_t *from, size_t len)
{
    if (len > 32)
        memmove(to, from, len);
    else if (len >= 16)
        MDG_MOVE_ENDS(to, from, len, 16);
    else if (len >= 8)
        MDG_MOVE_ENDS(to, from, len, 8);
    else if (len >= 4)
        MDG_MOVE_ENDS(to, from, len, 4);
    else if (len >= 2)
        MDG_MOVE_ENDS(to, from, len, 2);
    else if (len)
        *to = *from;
}

#endif
