/* Random lives of rooms: clients join, leave, publish, stall and go, on several simulated workers,
 * while what a member is promised is checked at every upcall. A byte string decides everything, so
 * a fuzzer can write it and a failure repeats. */
#ifndef MDG_HUB_PLAY_TEST_H
#define MDG_HUB_PLAY_TEST_H

#include "base/base.h"

/* Aborts with a message, which has the name, when a promise is broken. */
void hub_play(const uint8_t *choices, size_t len, uint64_t name);

#endif
