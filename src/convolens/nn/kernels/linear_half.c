/* Fully connected layers by products of bfloat16: product.h.
 *
 * The weights are by far the largest factor. They are read once in each pass, in the order in which
 * they lie, and rounded on the way, a piece at a time that the second cache holds.
 */
#include "product.h"

struct linear_half {
    int64_t N, I, O; /* rows, inputs, outputs; I is a multiple of VL */
    int64_t num_threads;
    const float *x, *weight, *bias; /* bias may be NULL */
    float *out;
    const float *grad_out;
    float *grad_x, *grad_weight;
    float *memory; /* as many floats as the pass says it needs */
};

#if HALF == BFLOAT16
#define OUTPUTS 32 /* of a part of the forward pass */
#define INPUTS 1024 /* of their weights at a time: a multiple of VL */
#define MOST_COLUMNS 512 /* of a part of a gradient */
#define PAIRS 64 /* of outputs at a time, in the gradient of the inputs */
#define PARTS_PER_THREAD 2
#define MOST_ROWS 64 /* of the weights' gradient at a time; its columns of x fit the first cache */

/* Numbers from one row of pairs to the next: not a power of two, so that rows do not compete for
 * the same places of the first cache. */
INLINE int64_t row_of(int64_t pairs) { return round_up(pairs) + VL; }

INLINE int64_t width_at(int64_t first, int64_t count) { return least(BLOCK, round_up(count - first)); }

/* --- the outputs --- */

/* x as (blocks of rows, pairs of inputs, rows of the block). */
static void pack_inputs(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct linear_half *s = data;
    const int64_t i = part * VL;
    for (int64_t block = 0; block < s->N; block += BLOCK) {
        const int64_t width = width_at(block, s->N);
        float *to = s->memory + block * s->I / 2 + i / 2 * width;
        for (int64_t n = 0; n < width; n += VL) {
            float lines[VL][VL] = {{0}};
            const int64_t count = least(VL, s->N - block - n);
            transpose(s->x + (block + n) * s->I + i, s->I, lines[0], VL, count, VL);
            for (int64_t j = 0; j < VL; j += 2)
                store_pairs(to + j / 2 * width + n, halves(load(lines[j])),
                            halves(load(lines[j + 1])));
        }
    }
}

INLINE int64_t forward_scratch(const struct linear_half *s) {
    return OUTPUTS * (row_of(INPUTS / 2) + round_up(s->N));
}

static void forward_part(void *data, int64_t part, int64_t thread) {
    const struct linear_half *s = data;
    const int64_t rows = round_up(s->N), row = row_of(INPUTS / 2), first = part * OUTPUTS;
    const int64_t outputs = least(OUTPUTS, s->O - first);
    float *weights = s->memory + rows * s->I / 2 + thread * forward_scratch(s);
    float *sums = weights + OUTPUTS * row;
    for (int64_t i = 0; i < s->I; i += INPUTS) {
        const int64_t count = least(INPUTS, s->I - i);
        for (int64_t o = 0; o < outputs; o++) {
            const float *from = s->weight + (first + o) * s->I + i;
            for (int64_t j = 0; j < count; j += VL)
                store_halves((half_float *)(weights + o * row) + j, load(from + j));
        }
        for (int64_t block = 0; block < s->N; block += BLOCK) {
            const int64_t width = width_at(block, s->N);
            const struct factors f = {.a = weights, .a_row = row, .a_next = 1,
                                      .b = s->memory + block * s->I / 2 + i / 2 * width,
                                      .b_next = width, .b_vector = VL, .count = count / 2,
                                      .blocks = 1, .to = sums + block, .to_row = rows,
                                      .to_vector = VL, .scale = 1};
            product_block(f, outputs, width, i > 0, 1);
        }
    }
    for (int64_t o = 0; s->bias && o < outputs; o++)
        for (int64_t n = 0; n < rows; n += VL)
            store(sums + o * rows + n, load(sums + o * rows + n) + s->bias[first + o]);
    transpose(sums, rows, s->out + first, s->O, outputs, s->N);
}

int64_t convolens_linear_half_forward_floats(const struct linear_half *s) {
    return round_up(s->N) * s->I / 2 + s->num_threads * forward_scratch(s);
}

void convolens_linear_half_forward(struct linear_half *s) {
    run_parts(pack_inputs, s, s->I / VL, s->num_threads);
    run_parts(forward_part, s, (s->O + OUTPUTS - 1) / OUTPUTS, s->num_threads);
}

/* --- both gradients: a part has some columns, of the inputs' and of the weights' alike --- */

INLINE int64_t columns_of(const struct linear_half *s) {
    return least(even_chunk(s->I, MOST_COLUMNS, PARTS_PER_THREAD * s->num_threads, VL), s->I);
}

/* `count` rows of `columns` numbers, as (blocks of columns, pairs of rows, columns of the block). */
INLINE void pack_rows(const float *from, int64_t row, int64_t count, int64_t columns, float *to) {
    for (int64_t block = 0; block < columns; block += BLOCK) {
        const int64_t width = width_at(block, columns);
        for (int64_t n = 0; n < count; n += 2, to += width)
            for (int64_t v = 0; v < width; v += VL) {
                const float *one = from + n * row + block + v;
                const vf other = n + 1 < count ? load(one + row) : (vf){0};
                store_pairs(to + v, halves(load(one)), halves(other));
            }
    }
}

/* The gradients of the outputs, as pairs of outputs (N, O / 2) and as pairs of rows (O, N / 2). */
static void pack_gradients(const struct linear_half *s) {
    const int64_t across = row_of((s->O + 1) / 2), down = row_of((s->N + 1) / 2);
    float *to = s->memory;
    for (int64_t n = 0; s->grad_x && n < s->N; n++, to += across)
        for (int64_t o = 0; o < s->O; o += VL)
            store_halves((half_float *)to + o, load_part(s->grad_out + n * s->O + o, s->O - o));
    to = s->memory + s->N * across;
    for (int64_t o = 0; s->grad_weight && o < s->O; o += VL) {
        const int64_t outputs = least(VL, s->O - o);
        for (int64_t n = 0; n < s->N; n += VL) {
            float lines[VL][VL] = {{0}};
            transpose(s->grad_out + n * s->O + o, s->O, lines[0], VL, least(VL, s->N - n), outputs);
            for (int64_t i = 0; i < outputs; i++)
                store_halves((half_float *)(to + (o + i) * down) + n, load(lines[i]));
        }
    }
}

INLINE int64_t gradients_floats(const struct linear_half *s) {
    return s->N * row_of((s->O + 1) / 2) + s->O * row_of((s->N + 1) / 2);
}

INLINE int64_t backward_scratch(const struct linear_half *s) {
    const int64_t pairs = (s->N + 1) / 2;
    return columns_of(s) * (pairs > PAIRS ? pairs : PAIRS);
}

static void add_inputs(const struct linear_half *s, int64_t first, int64_t columns, float *weights) {
    const int64_t row = row_of((s->O + 1) / 2);
    for (int64_t o = 0; o < s->O; o += 2 * PAIRS) {
        const int64_t count = least(2 * PAIRS, s->O - o), pairs = (count + 1) / 2;
        pack_rows(s->weight + o * s->I + first, s->I, count, columns, weights);
        for (int64_t block = 0; block < columns; block += BLOCK) {
            const int64_t width = width_at(block, columns);
            const struct factors f = {.a = s->memory + o / 2, .a_row = row, .a_next = 1,
                                      .b = weights + block * pairs, .b_next = width,
                                      .b_vector = VL, .count = pairs, .blocks = 1,
                                      .to = s->grad_x + first + block, .to_row = s->I,
                                      .to_vector = VL, .scale = 1};
            product_block(f, s->N, width, o > 0, 1);
        }
    }
}

INLINE void add_weights(const struct linear_half *s, int64_t first, int64_t columns, float *inputs,
                        const int past) {
    const int64_t pairs = (s->N + 1) / 2, row = row_of(pairs);
    const float *grads = s->memory + s->N * row_of((s->O + 1) / 2);
    pack_rows(s->x + first, s->I, s->N, columns, inputs);
    for (int64_t o = 0; o < s->O; o += MOST_ROWS)
        for (int64_t block = 0; block < columns; block += BLOCK) {
            const int64_t width = width_at(block, columns);
            const struct factors f = {.a = grads + o * row, .a_row = row, .a_next = 1,
                                      .b = inputs + block * pairs, .b_next = width,
                                      .b_vector = VL, .count = pairs, .blocks = 1,
                                      .to = s->grad_weight + o * s->I + first + block,
                                      .to_row = s->I, .to_vector = VL, .scale = 1, .past = past};
            product_block(f, least(MOST_ROWS, s->O - o), width, 0, 1);
        }
}

static void backward_part(void *data, int64_t part, int64_t thread) {
    const struct linear_half *s = data;
    const int64_t first = part * columns_of(s), columns = least(columns_of(s), s->I - first);
    float *mine = s->memory + gradients_floats(s) + thread * backward_scratch(s);
    if (s->grad_x) add_inputs(s, first, columns, mine);
    if (s->grad_weight && goes_past_caches(s->grad_weight, s->I * s->O))
        add_weights(s, first, columns, mine, 1);
    else if (s->grad_weight)
        add_weights(s, first, columns, mine, 0);
    finish_stores();
}

int64_t convolens_linear_half_backward_floats(const struct linear_half *s) {
    return gradients_floats(s) + s->num_threads * backward_scratch(s);
}

void convolens_linear_half_backward(struct linear_half *s) {
    pack_gradients(s);
    run_parts(backward_part, s, (s->I + columns_of(s) - 1) / columns_of(s), s->num_threads);
}
#endif
