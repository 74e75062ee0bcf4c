/* Counting latencies. */
#include "histogram.h"

static unsigned bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS)
        return (unsigned)value;
    unsigned octave = 63 - (unsigned)__builtin_clzll(value); /* at least 6 */
    unsigned step = (unsigned)(value >> (octave - 6)) - HISTOGRAM_STEPS;
    return (octave - 5) * HISTOGRAM_STEPS + step;
}

static uint64_t value_of(unsigned bucket)
{
    if (bucket < HISTOGRAM_STEPS)
        return bucket;
    unsigned octave = bucket / HISTOGRAM_STEPS + 5, step = bucket % HISTOGRAM_STEPS;
    return (uint64_t)(HISTOGRAM_STEPS + step) << (octave - 6);
}

void histogram_add(struct histogram *h, uint64_t value)
{
    h->counts[bucket_of(value)]++;
    h->total++;
    if (value > h->max)
        h->max = value;
}

uint64_t histogram_at(const struct histogram *h, double part)
{
    uint64_t wanted = (uint64_t)((double)h->total * part), seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen > wanted)
            return value_of(i);
    }
    return h->max;
}
