/* Latencies in buckets that grow with the value: 64 to an octave, an error of 1.6 % at most. */
#ifndef MADANG_CMD_HISTOGRAM_H
#define MADANG_CMD_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 64, HISTOGRAM_BUCKETS = 64 * HISTOGRAM_STEPS };

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total, max;
};

void histogram_add(struct histogram *h, uint64_t value);
/* part: 0.5, 0.99, 0.999. 0 when nothing was added. */
uint64_t histogram_at(const struct histogram *h, double part);

#endif
