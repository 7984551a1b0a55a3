/* What is read of volumes before or after a normalisation: normalised.h. */
#include "normalised.h"

#define ROWS_AT_ONCE 64

INLINE void make_vectors(const struct source *s, const float *volume, int64_t first, int64_t rows,
                         int64_t C, int64_t c, float *to, const enum source_kind kind,
                         const int with_mask) {
    const vf scale = load(s->factors + c), second = load(s->factors + C + c);
    const float *from = volume + first * C + c;
    to += c;
    if (kind == NORMALISED) {
        for (int64_t r = 0; r < rows; r++, from += C, to += C) {
            const vf value = load(from) * scale + second;
            store(to, where_positive(value, value));
        }
        return;
    }
    const vf shift = load(s->factors + 2 * C + c), mean = load(s->mean + c);
    const float *x = s->x + first * C + c;
    const int64_t mask_step = mask_row(C);
    const uint8_t *mask = s->mask + first * mask_step + c / VL * MASK_BYTES;
    for (int64_t r = 0; r < rows; r++, from += C, x += C, to += C, mask += mask_step) {
        const vf grad = masked(load(from), mask, with_mask), apart = load(x) - mean;
        store(to, grad * scale + (apart * second + shift));
    }
}

void make_rows(const struct source *s, const float *volume, int64_t begin, int64_t end,
               int64_t C, float *to) {
    for (int64_t row = begin; row < end; row += ROWS_AT_ONCE, to += ROWS_AT_ONCE * C) {
        const int64_t rows = least(ROWS_AT_ONCE, end - row);
        for (int64_t c = 0; c < C; c += VL) {
            if (s->kind == NORMALISED)
                make_vectors(s, volume, row, rows, C, c, to, NORMALISED, 0);
            else if (s->mask)
                make_vectors(s, volume, row, rows, C, c, to, DIFFERENTIATED, 1);
            else
                make_vectors(s, volume, row, rows, C, c, to, DIFFERENTIATED, 0);
        }
    }
}
