/* Values that are not in memory but made from volumes that are, when a kernel reads them: what a batch
 * norm with ReLU gives, and the gradient of what went into one.
 */
#ifndef CONVOLENS_NORMALISED_H
#define CONVOLENS_NORMALISED_H

#include "simd.h"

/* Bytes of a row's mask, which says for each of C values whether a ReLU let it through. */
INLINE int64_t mask_row(int64_t C) { return round_up(C) / VL * MASK_BYTES; }

INLINE vf where_positive(vf decides, vf value) { return (vf)(~(decides <= 0.0f) & (vi)value); }

/* How what is read comes from the volume v in memory; C is a multiple of VL.
 * AS_IS: v itself.
 * NORMALISED: relu(f0 * v + f1).
 * DIFFERENTIATED: f0 * g + f1 * (x - mean) + f2, where g is v as the mask lets it through. */
enum source_kind { AS_IS, NORMALISED, DIFFERENTIATED };

struct source {
    int64_t kind;
    const float *factors;  /* (2, C) or (3, C) */
    const float *x, *mean; /* what was normalised, and its mean (C) */
    const uint8_t *mask;   /* NULL where everything was let through */
};

/* What a gradient goes through on its way to the values x that a batch norm with ReLU reads: it is 0
 * where f0 * x + f1 is not positive. */
struct gate {
    const float *x, *factors, *mean; /* x is NULL where there is no gate */
};

/* A volume as a mask lets it through. */
struct addend {
    const float *volume; /* NULL where nothing is added */
    const uint8_t *mask;
};

/* Bits of the mask, or all. */
INLINE vf masked(vf value, const uint8_t *mask, const int with_mask) {
    return with_mask ? (vf)(load_mask(mask) & (vi)value) : value;
}

/* Makes rows `begin` to `end` of C values each. */
void make_rows(const struct source *s, const float *volume, int64_t begin, int64_t end, int64_t C,
               float *to);

#endif
