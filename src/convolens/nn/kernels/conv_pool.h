/* Convolution, bias, ReLU and 2x2 max-pooling in one pass, and their gradients.
 *
 * Forward, the outputs of a pooling window stay in registers and only the greatest is stored,
 * with its place in the window (0..3; DEAD where ReLU stopped it). Backward, only that place has
 * a gradient, so a quarter of the products is computed.
 *
 * Inside, images are (H + 2P, W + 2P, C) with C fastest, so that a filter's row of KW*C values
 * ("run") lies in one piece; a filter's values ("taps") are ordered (KH, KW, C).
 */
#ifndef CONVOLENS_CONV_POOL_H
#define CONVOLENS_CONV_POOL_H

#include "simd.h"

#define DEAD 4
#define SLACK 16 /* floats that may be read or written beyond the last patch or pixel */

struct conv_pool {
    int64_t N, C, H, W, K, KH, KW, P;
    int64_t relu, channels_last; /* layout of the result and of its gradient */
    int64_t num_parts, num_threads;
    int64_t x_strides[4];      /* n, c, y, x */
    int64_t weight_strides[4]; /* k, c, y, x; of the gradient too */
    const float *x, *weight, *bias;
    float *out;
    uint8_t *places; /* (N, HP, WP, K), whatever the layout of the result */
    const float *grad_out;
    float *grad_x, *grad_weight, *grad_bias;
    float *packed;  /* weights, in the order of the loops */
    float *scratch; /* scratch_floats for each thread */
    float *partial; /* partial_floats for each part */
};

/* Floats of patches held at once: what a core's first cache holds, or more up to what its second
 * cache holds where fewer than WINDOWS windows would be left to share the loads of a filter. */
#define FIRST_CACHE 8192
#define SECOND_CACHE 49152
#define WINDOWS 16

struct sizes {
    int64_t rows, row, run, taps, taps_up, K_up, HP, WP, pixels, image;
    int64_t taps_alone; /* with every run in whole vectors */
    int64_t patch;   /* from one patch or filter to the next: an odd number of vectors, so that
                        they do not compete for the same places of the first cache */
    int64_t band;    /* rows of windows whose patches are held at once */
    int64_t columns; /* floats of the patches of a band, and some slack */
};

INLINE struct sizes sizes_of(const struct conv_pool *s) {
    struct sizes z;
    z.rows = s->H + 2 * s->P;
    z.row = (s->W + 2 * s->P) * s->C;
    z.run = s->KW * s->C;
    z.taps = s->KH * z.run;
    z.taps_up = round_up(z.taps);
    z.taps_alone = s->KH * round_up(z.run);
    z.K_up = round_up(s->K);
    z.HP = (z.rows - s->KH + 1) / 2;
    z.WP = (s->W + 2 * s->P - s->KW + 1) / 2;
    z.pixels = z.HP * z.WP;
    z.patch = z.taps_up + (z.taps_up / VL % 2 ? 0 : VL);
    int64_t row_floats = 4 * z.WP * z.patch, rows = (WINDOWS + z.WP - 1) / z.WP;
    z.band = least(rows, SECOND_CACHE / row_floats);
    if (z.band < FIRST_CACHE / row_floats) z.band = FIRST_CACHE / row_floats;
    z.band = z.band < 1 ? 1 : least(z.band, z.HP);
    z.columns = round_up(z.band * row_floats) + SLACK;
    z.image = round_up(z.rows * z.row) + SLACK;
    return z;
}

/* Floats of scratch memory that each thread needs, and of partial sums that each part needs. */
INLINE int64_t forward_scratch(const struct sizes *z) {
    return z->image + z->pixels * z->K_up;
}

INLINE int64_t backward_scratch(const struct sizes *z, int64_t K) {
    int64_t lists = 2 * round_up(K * z->pixels) + 2 * round_up(K * z->WP * z->band);
    return 2 * z->image + 2 * z->columns + lists + round_up(6 * z->pixels) + VL;
}

INLINE int64_t partial_floats(const struct sizes *z, int64_t K) {
    return K * z->patch + round_up(K);
}

/* Of conv_pool_few_taps.c: whether it computes the gradients, what memory each thread needs for
 * that, and the gradients of one part. */
int has_few_taps(const struct conv_pool *s, const struct sizes *z);
int64_t few_taps_scratch(const struct sizes *z, int64_t K);
void few_taps_part(const struct conv_pool *s, const struct sizes *z, int64_t part, int64_t thread);

/* A row of a filter's taps in the order of the images; returns what lies behind it. */
INLINE float *copy_run(const struct conv_pool *s, int64_t k, int64_t y, float *to) {
    const int64_t *st = s->weight_strides;
    for (int64_t x = 0; x < s->KW; x++)
        for (int64_t c = 0; c < s->C; c++)
            *to++ = s->weight[k * st[0] + c * st[1] + y * st[2] + x * st[3]];
    return to;
}

void copy_image(const struct conv_pool *s, const struct sizes *z, int64_t n, float *image);

#endif
