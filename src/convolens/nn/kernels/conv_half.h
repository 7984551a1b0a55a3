/* Convolutions of channels-last volumes by products of float16: product.h.
 *
 * The windows of some outputs are written out as rows, whose product with the filters gives these
 * outputs. The gradient of the input is found phase by phase: inputs whose row and column leave
 * the same rest when divided by the stride see the same filter places, so each phase is a
 * convolution of the output's gradient with stride 1.
 */
#ifndef CONVOLENS_CONV_HALF_H
#define CONVOLENS_CONV_HALF_H

#include "product.h"

struct conv_half {
    int64_t N, H, W, C;   /* of the volume that windows are taken from; C is a multiple of VL */
    int64_t GH, GW;       /* windows in a column and in a row of a picture */
    int64_t step, y0, x0; /* window (i, j) begins at row i * step + y0, column j * step + x0 */
    int64_t rows, columns; /* of a window */
    int64_t HO, WO, K;     /* of the other volume; K is a multiple of VL */
    int64_t out_step, out_y, out_x; /* window (i, j) belongs to its row i * out_step + out_y */
    int64_t weight_strides[4];      /* of axis K, of axis C, of a window's rows and columns */
    int64_t num_threads;
    const float *x, *weight, *bias; /* bias may be NULL */
    float *out;
    const float *grad_out;
    float *grad_weight;
    float *memory; /* as many floats as the pass says it needs */
    float largest_weight;
};

#if HALF == FLOAT16
/* No sum of 2 * CHAIN products is more than float16 holds. */
#define FACTOR_MOST 31.9f

struct window {
    int64_t n, i, j;
};

INLINE struct window window_of(const struct conv_half *s, int64_t index) {
    struct window w = {index / (s->GH * s->GW), index / s->GW % s->GH, index % s->GW};
    return w;
}

INLINE int64_t windows_of(const struct conv_half *s) { return s->N * s->GH * s->GW; }

/* Where the other volume has what belongs to a window. */
INLINE int64_t out_of(const struct conv_half *s, int64_t index) {
    const struct window w = window_of(s, index);
    return ((w.n * s->HO + w.i * s->out_step + s->out_y) * s->WO + w.j * s->out_step + s->out_x) *
           s->K;
}

/* Numbers in a row of windows, as pairs. */
INLINE int64_t pairs_of(const struct conv_half *s) { return s->rows * s->columns * s->C / 2; }

INLINE void store_scaled(half_float *to, const float *from, int64_t count, float scale) {
    for (int64_t i = 0; i < count; i += VL) store_halves(to + i, load(from + i) * scale);
}

/* Writes out a window, `scale` times as large; beyond the volume there are zeros. */
INLINE void load_window(const struct conv_half *s, int64_t index, float scale, half_float *to) {
    const struct window w = window_of(s, index);
    const int64_t x = w.j * s->step + s->x0, run = s->columns * s->C;
    const int64_t left = x < 0 ? least(-x, s->columns) : 0;
    const int64_t right = x + s->columns > s->W ? least(x + s->columns - s->W, s->columns) : 0;
    for (int64_t i = 0; i < s->rows; i++, to += run) {
        const int64_t y = w.i * s->step + s->y0 + i;
        if (y < 0 || y >= s->H || left + right >= s->columns) {
            memset(to, 0, (size_t)run * sizeof(half_float));
            continue;
        }
        const float *row = s->x + ((w.n * s->H + y) * s->W + x + left) * s->C;
        memset(to, 0, (size_t)(left * s->C) * sizeof(half_float));
        store_scaled(to + left * s->C, row, run - (left + right) * s->C, scale);
        memset(to + run - right * s->C, 0, (size_t)(right * s->C) * sizeof(half_float));
    }
}

/* The largest |x| in the rows that these windows meet. */
INLINE float largest_in_windows(const struct conv_half *s, int64_t first, int64_t count) {
    vf largest = {0};
    int64_t done = 0; /* rows of all pictures, one below the other */
    for (int64_t row = first / s->GW; row <= (first + count - 1) / s->GW; row++) {
        const int64_t n = row / s->GH, y = row % s->GH * s->step + s->y0;
        const int64_t from = n * s->H + (y > 0 ? y : 0), to = n * s->H + least(y + s->rows, s->H);
        const int64_t begin = (from > done ? from : done) * s->W * s->C, end = to * s->W * s->C;
        largest = larger_of(largest, s->x + begin, end - begin);
        if (to > done) done = to;
    }
    return largest_lane(largest);
}
#endif

#endif
