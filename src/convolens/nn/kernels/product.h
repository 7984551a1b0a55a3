/* Products of small matrices, of floats or of pairs of numbers of two bytes.
 *
 * A pair lies in the place of a float: two neighbours along the axis that is summed over. One
 * instruction multiplies VL pairs, twice the work of VL floats. Of float16, the sums of 32 pairs at
 * most stay in float16, then they are added in float32, which errs less than bfloat16 factors
 * would; sums of bfloat16 are float32.
 */
#ifndef CONVOLENS_PRODUCT_H
#define CONVOLENS_PRODUCT_H

#include "simd.h"

#define SECOND_CACHE 196608 /* floats of a core's second cache that one factor may take */
#define BLOCK (2 * VL)
#define AHEAD 32 /* lines of the second factor that are asked for before they are needed */
#define CHAIN 32 /* pairs of float16 whose products are added in it */
#define GROUP (2 * CHAIN) /* summands that are scaled alike, so that their sums fit into float16 */
#define ROWS (MANY_REGISTERS ? 8 : 4)

/* Where the two factors and the result lie, in floats or pairs. The sum runs over `blocks` times
 * `count` products. */
struct factors {
    const float *a;
    int64_t a_row, a_next, a_block;
    const float *b;
    int64_t b_next, b_vector, b_block;
    int64_t count, blocks;
    float *to;
    int64_t to_row, to_vector;
    float scale; /* of the sums of pairs */
    int past;    /* whether these sums pass the caches by: `goes_past_caches` */
    const float *ahead; /* what is wanted next from memory; NULL is more of the second factor */
    int64_t ahead_step; /* how many floats of it are asked for with each line of the second factor */
};

/* Where to ask for memory first, and how far from one time to the next. */
INLINE const float *ahead_of(const struct factors *f) {
    return f->ahead ? f->ahead : f->b + AHEAD * f->b_next;
}

INLINE int64_t ahead_step_of(const struct factors *f) {
    return f->ahead ? f->ahead_step : f->b_next;
}

/* to[i, v] (+)= sum over n of a[n, i] * b[n, v] */
INLINE void product(struct factors f, const int rows, const int vectors, const int add) {
    vf sum[16][2];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++)
            sum[i][v] = add ? load(f.to + i * f.to_row + v * f.to_vector) : (vf){0};
    const float *ahead = ahead_of(&f);
    const int64_t step = ahead_step_of(&f);
    for (int64_t block = 0; block < f.blocks; block++, f.a += f.a_block, f.b += f.b_block) {
        const float *a = f.a, *b = f.b;
        for (int64_t n = 0; n < f.count; n++, a += f.a_next, b += f.b_next, ahead += step) {
            vf line[2];
            UNROLL for (int v = 0; v < vectors; v++) {
                line[v] = load(b + v * f.b_vector);
                __builtin_prefetch(ahead + v * VL);
            }
            UNROLL for (int i = 0; i < rows; i++)
                UNROLL for (int v = 0; v < vectors; v++) sum[i][v] += line[v] * a[i * f.a_row];
        }
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++)
            store(f.to + i * f.to_row + v * f.to_vector, sum[i][v]);
}

#if HALF
/* to[i, v] (+)= scale * sum over pairs n of a[n, i] * b[n, v]; of float16, CHAIN pairs at most. */
INLINE void product_of_pairs(struct factors f, const int rows, const int vectors, const int add) {
    pair_sums sum[16][2];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++) sum[i][v] = (pair_sums){0};
    const float *ahead = ahead_of(&f);
    const int64_t step = ahead_step_of(&f);
    for (int64_t block = 0; block < f.blocks; block++, f.a += f.a_block, f.b += f.b_block) {
        const float *a = f.a, *b = f.b;
        for (int64_t n = 0; n < f.count; n++, a += f.a_next, b += f.b_next, ahead += step) {
            vh line[2];
            UNROLL for (int v = 0; v < vectors; v++) {
                line[v] = load_pairs(b + v * f.b_vector);
                __builtin_prefetch(ahead + v * VL);
            }
            UNROLL for (int i = 0; i < rows; i++) {
                const vh each = same_pair(a + i * f.a_row);
                UNROLL for (int v = 0; v < vectors; v++)
                    sum[i][v] = add_pairs(sum[i][v], line[v], each);
            }
        }
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++) {
            float *to = f.to + i * f.to_row + v * f.to_vector;
            const vf whole = sum_of_pairs(sum[i][v]);
            store_past(to, add ? load(to) + whole * f.scale : whole * f.scale, f.past);
        }
}
#endif

INLINE void product_of_rows(struct factors f, const int rows, const int vectors, const int add,
                            const int half) {
#if HALF
    if (half) product_of_pairs(f, rows, vectors, add);
#endif
    if (!half) product(f, rows, vectors, add);
}

/* As many rows at once as there are registers; those that are left share what they can. */
INLINE void product_rows(struct factors f, int64_t left, const int vectors, const int add,
                         const int half) {
    const int most = vectors == 1 ? 2 * ROWS : ROWS;
    while (left) {
        const int64_t done = left >= most ? most : left >= ROWS ? ROWS : left >= 4 ? 4 : 1;
        if (done == most)
            product_of_rows(f, most, vectors, add, half);
        else if (done == ROWS)
            product_of_rows(f, ROWS, vectors, add, half);
        else if (done == 4)
            product_of_rows(f, 4, vectors, add, half);
        else
            product_of_rows(f, 1, vectors, add, half);
        f.a += done * f.a_row;
        f.to += done * f.to_row;
        if (f.ahead) f.ahead += f.blocks * f.count * f.ahead_step;
        left -= done;
    }
}

/* How often a block's product reads its second factor: once for each line and each so many rows. */
INLINE int64_t lines_read(const struct factors *f, int64_t rows, int64_t left) {
    const int64_t most = left > VL ? ROWS : 2 * ROWS;
    return (rows + most - 1) / most * f->blocks * f->count;
}

/* A block of columns or, at the end, the vector that is left. */
INLINE void product_block(struct factors f, int64_t rows, int64_t left, const int add,
                          const int half) {
    if (left > VL)
        product_rows(f, rows, 2, add, half);
    else
        product_rows(f, rows, 1, add, half);
}

#endif
