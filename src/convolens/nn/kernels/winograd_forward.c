/* The convolution itself, and with turned filters the gradient of its input: winograd.h. */
#include "winograd.h"

/* --- filters: (36, blocks of K, C, channels of the block), or pairs of neighbours along C --- */

static float weight_scale(const struct winograd *s) {
#if HALF
    const float most = HALF_MOST / (2 * CHAIN * INPUT_GROWTH * FILTER_GROWTH);
    if (s->half) return scale_to(s->largest_weight, most / INPUT_MOST);
#else
    (void)s;
#endif
    return 1;
}

/* What VL filters hold at each of the 9 places for VL channels: (9, channels, filters). */
static void load_filters(const struct winograd *s, int64_t k, int64_t c, float to[9][VL][VL]) {
    const int64_t *st = s->weight_strides;
    for (int place = 0; place < 9; place++) {
        const int from = s->flip ? 8 - place : place;
        const float *at = s->weight + k * st[0] + c * st[1] + from / 3 * st[2] + from % 3 * st[3];
        load_block(at, st[1], st[0], to[place]);
    }
}

/* Transforms VL filters at one channel, `scale` times as large, to places `next` apart. */
INLINE void transform_filter_of(const float from[9][VL][VL], int64_t channel, float scale, void *to,
                              int64_t next, const enum kind kind) {
    vf half[3][6], whole[6];
    UNROLL for (int x = 0; x < 3; x++) {
        vf line[3];
        UNROLL for (int y = 0; y < 3; y++) line[y] = load(from[y * 3 + x][channel]) * scale;
        transform_filter(line, half[x]);
    }
    UNROLL for (int y = 0; y < 6; y++) {
        vf line[3] = {half[0][y], half[1][y], half[2][y]};
        transform_filter(line, whole);
        UNROLL for (int x = 0; x < 6; x++) put(to, (y * 6 + x) * next, whole[x], kind);
    }
}

/* The same for VL channels, as pairs of neighbours that lie `width` apart. */
INLINE void transform_pairs(const float from[9][VL][VL], float scale, float *to, int64_t width,
                            int64_t next) {
#if HALF
    for (int i = 0; i < VL; i += 2, to += width) {
        float16 lines[PLACES][2][VL];
        for (int j = 0; j < 2; j++)
            transform_filter_of(from, i + j, scale, lines[0][j], 2 * VL, HALVES);
        interleave(lines, to, next);
    }
#else
    (void)from, (void)scale, (void)to, (void)width, (void)next;
#endif
}

/* Transforms a block of filters, VL channels at a time: the 36 places lie so far apart that each
 * is written a few lines at once. */
static void filter_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct winograd *s = data;
    const struct tiles t = tiles_of(s, 0);
    const int64_t block = part * BLOCK, width = least(BLOCK, s->K - block);
    const int64_t pieces = s->half ? VL / 2 : VL;
    const float scale = weight_scale(s);
    float *to = s->memory + block * s->C / VL * pieces;
    const int past = goes_past_caches(s->memory, PLACES * t.filter);
    float filters[9][VL][VL], places[PLACES][VL * BLOCK];
    for (int64_t c = 0; c < s->C; c += VL, to += pieces * width) {
        for (int64_t k = 0; k < width; k += VL) {
            load_filters(s, block + k, c, filters);
            if (s->half)
                transform_pairs(filters, scale, places[0] + k, width, VL * BLOCK);
            else
                for (int i = 0; i < VL; i++)
                    transform_filter_of(filters, i, 1, places[0] + i * width + k, VL * BLOCK,
                                        FLOATS);
        }
        for (int64_t place = 0; place < PLACES; place++)
            for (int64_t i = 0; i < pieces * width; i += VL)
                store_past(to + place * t.filter + i, load(places[place] + i), past);
    }
    finish_stores();
}

/* --- a chunk's volumes --- */

/* Returns the factor that undoes what the inputs were scaled by. */
static float load_inputs(const struct winograd *s, const struct tiles *t, int64_t first,
                         int64_t count, float *to) {
#if HALF
    if (s->half) {
        const float scale = scale_to(largest_input(s, t, first, count), INPUT_MOST);
        for (int64_t i = 0; i < count; i++)
            for (int64_t c = 0; c < s->C; c += VL) {
                float16 *at = (float16 *)(to + c / VL * t->in_vector + i * VL / 2);
                transform_inputs(s, t, first + i, c, scale, at, 2 * t->in, HALVES);
            }
        return 1 / scale;
    }
#endif
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < s->C; c += VL) {
            float *at = to + c / VL * t->in_vector + i * VL;
            transform_inputs(s, t, first + i, c, 1, at, t->in, FLOATS);
        }
    return 1;
}

/* Adds the outputs of a tile to the sums of their chunk. */
INLINE void add_outputs(float *sums, int64_t K, const vf outputs[4][4], int64_t rows,
                        int64_t columns) {
    const vf shift = load(sums + SHIFT * K);
    vf sum = {0}, squares = {0};
    UNROLL for (int y = 0; y < 4; y++)
        UNROLL for (int x = 0; x < 4; x++)
            if (y < rows && x < columns) {
                const vf apart = outputs[y][x] - shift;
                sum += apart;
                squares += apart * apart;
            }
    const float outputs_here = (float)(least(rows, 4) * least(columns, 4));
    store(sums + COUNT * K, load(sums + COUNT * K) + outputs_here);
    store(sums + SUM * K, load(sums + SUM * K) + sum);
    store(sums + SQUARES * K, load(sums + SQUARES * K) + squares);
}

INLINE void store_outputs(const struct winograd *s, const struct tiles *t, int64_t first,
                          int64_t count, const float *from, float *sums, const int past) {
    for (int64_t i = 0; i < count; i++) {
        struct place p = place_of(t, first + i);
        float *to = s->out + ((p.n * s->HO + p.y) * s->WO + p.x) * s->K;
        const int64_t rows = s->HO - p.y, columns = s->WO - p.x;
        for (int64_t k = 0; k < s->K; k += VL) {
            vf half[6][4], line[6], whole[4][4];
            const float *in = from + k / VL * t->out_vector + i * VL;
            const vf bias = s->bias ? load(s->bias + k) : (vf){0};
            UNROLL for (int x = 0; x < 6; x++) {
                UNROLL for (int y = 0; y < 6; y++)
                    line[y] = load(in + (y * 6 + x) * t->out);
                transform_output(line, half[x]);
            }
            UNROLL for (int y = 0; y < 4; y++) {
                UNROLL for (int x = 0; x < 6; x++) line[x] = half[x][y];
                transform_output(line, whole[y]);
                UNROLL for (int x = 0; x < 4; x++) {
                    whole[y][x] += bias;
                    if (y < rows && x < columns)
                        store_past(to + (y * s->WO + x) * s->K + k, whole[y][x], past);
                }
            }
            if (!sums) continue;
            if (i == 0) store(sums + SHIFT * s->K + k, whole[0][0]);
            add_outputs(sums + k, s->K, whole, rows, columns);
        }
    }
}

/* --- products --- */

/* out[tile, v] = sum over channels of in[tile, c] * filters[c, v], for `left` filters or a block;
 * `scale` is of products of pairs. */
INLINE void multiply_filters(const struct winograd *s, const struct tiles *t, int64_t count,
                             const float *in, const float *filters, float *out, int64_t left,
                             float scale) {
    const int64_t width = least(BLOCK, left), vectors = s->C / VL;
    struct factors f = {.a = in, .a_row = VL, .a_next = 1, .a_block = t->in_vector,
                        .b = filters, .b_next = width, .b_vector = VL, .b_block = width * VL,
                        .count = VL, .blocks = vectors, .to = out, .to_row = VL,
                        .to_vector = t->out_vector, .scale = scale};
    if (!s->half) {
        product_block(f, count, left, 0, 0);
        return;
    }
    f.a_row = f.count = VL / 2;
    f.b_block = width * VL / 2;
    const int64_t most = 2 * CHAIN / VL;
    for (int64_t v = 0; v < vectors; v += most) {
        f.blocks = least(most, vectors - v);
        product_block(f, count, left, v > 0, 1);
        f.a += f.blocks * f.a_block;
        f.b += f.blocks * f.b_block;
    }
}

static void forward_part(void *data, int64_t part, int64_t thread) {
    const struct winograd *s = data;
    const struct tiles t = tiles_of(s, 0);
    const int64_t first = part * t.chunk, count = least(t.chunk, t.all - first);
    float *in = s->memory + PLACES * (t.filter + thread * (t.in + t.out));
    float *out = in + PLACES * t.in;
    const float scale = load_inputs(s, &t, first, count, in) / weight_scale(s);
    for (int64_t place = 0; place < PLACES; place++)
        for (int64_t k = 0; k < s->K; k += BLOCK) {
            const float *a = in + place * t.in;
            const float *b = s->memory + place * t.filter + (s->half ? k * s->C / 2 : k * s->C);
            float *to = out + place * t.out + k / VL * t.out_vector;
            multiply_filters(s, &t, count, a, b, to, s->K - k, scale);
        }
    float *sums = s->sums ? s->sums + part * SUMS * s->K : NULL;
    if (sums) memset(sums, 0, (size_t)(SUMS * s->K) * sizeof(float));
    if (goes_past_caches(s->out, s->N * s->HO * s->WO * s->K))
        store_outputs(s, &t, first, count, out, sums, 1);
    else
        store_outputs(s, &t, first, count, out, sums, 0);
    finish_stores();
}

int64_t convolens_winograd_forward_floats(const struct winograd *s) {
    struct tiles t = tiles_of(s, 0);
    return PLACES * (t.filter + s->num_threads * (t.in + t.out));
}

int64_t convolens_winograd_chunks(const struct winograd *s) { return tiles_of(s, 0).num_chunks; }

void convolens_winograd_forward(struct winograd *s) {
    run_parts(filter_part, s, (s->K + BLOCK - 1) / BLOCK, s->num_threads);
    run_parts(forward_part, s, tiles_of(s, 0).num_chunks, s->num_threads);
}
