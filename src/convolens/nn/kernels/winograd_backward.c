/* The gradient of the filters: winograd.h. */
#include "winograd.h"

#define MOST_AT_ONCE 256      /* tiles whose sums for a few filters are taken in one go */
#define MOST_PARTIAL 33554432 /* floats of all parts' sums */
#define CHANNELS_AT_ONCE (4 * VL)
#define MOST_GROUPS (MOST_AT_ONCE / GROUP)

/* From one place of transformed gradients to the next; they lie as the inputs do. */
INLINE int64_t grads_of(const struct winograd *s, const struct tiles *t) {
    return s->K / VL * t->in_vector + VL;
}

/* One chunk of all tiles. */
static struct tiles all_tiles_of(const struct winograd *s) {
    return tiles_of(s, tiles_of(s, 0).all);
}

/* --- a chunk's volumes --- */

INLINE void transform_gradients(const struct winograd *s, const struct tiles *t, int64_t tile,
                                int64_t k, float scale, void *to, int64_t next,
                                const enum kind kind) {
    const struct place p = place_of(t, tile);
    const float *from = s->grad_out + ((p.n * s->HO + p.y) * s->WO + p.x) * s->K + k;
    const int64_t rows = s->HO - p.y, columns = s->WO - p.x;
    vf half[4][6], line[4], whole[6];
    UNROLL for (int x = 0; x < 4; x++) {
        UNROLL for (int y = 0; y < 4; y++) {
            line[y] = (vf){0};
            if (y < rows && x < columns) line[y] = load(from + (y * s->WO + x) * s->K);
            if (kind != FLOATS) line[y] *= scale;
        }
        transform_gradient(line, half[x]);
    }
    UNROLL for (int y = 0; y < 6; y++) {
        UNROLL for (int x = 0; x < 4; x++) line[x] = half[x][y];
        transform_gradient(line, whole);
        UNROLL for (int x = 0; x < 6; x++) put(to, (y * 6 + x) * next, whole[x], kind);
    }
}

static void load_floats(const struct winograd *s, const struct tiles *t, int64_t first,
                        int64_t count, float *in, float *grads) {
    const int64_t next = grads_of(s, t);
    for (int64_t i = 0; i < count; i++) {
        for (int64_t c = 0; c < s->C; c += VL)
            transform_inputs(s, t, first + i, c, 1, in + c / VL * t->in_vector + i * VL, t->in,
                             FLOATS);
        for (int64_t k = 0; k < s->K; k += VL)
            transform_gradients(s, t, first + i, k, 1, grads + k / VL * t->in_vector + i * VL,
                                next, FLOATS);
    }
}

#if HALF
static float largest_gradient(const struct winograd *s, const struct tiles *t, int64_t first,
                              int64_t count) {
    vf largest = {0};
    for (int64_t i = 0; i < count; i++) {
        const struct place p = place_of(t, first + i);
        const int64_t columns = least(4, s->WO - p.x);
        for (int64_t y = p.y; y < least(p.y + 4, s->HO); y++) {
            const float *row = s->grad_out + ((p.n * s->HO + y) * s->WO + p.x) * s->K;
            largest = larger_of(largest, row, columns * s->K);
        }
    }
    return largest_lane(largest);
}

/* Loads a group, whose first pair goes to `in` and `grads`; returns what undoes its scale. A tile
 * that is missing from the last pair is zeros. */
static float load_group(const struct winograd *s, const struct tiles *t, int64_t first,
                        int64_t count, float *in, float *grads) {
    const int64_t next = grads_of(s, t);
    const float most = HALF_MOST / (2 * CHAIN * INPUT_GROWTH * GRADIENT_GROWTH);
    const float in_scale = scale_to(largest_input(s, t, first, count), BACKWARD_INPUT_MOST);
    const float grad_scale =
        scale_to(largest_gradient(s, t, first, count), most / BACKWARD_INPUT_MOST);
    float16 lines[PLACES][2][VL];
    memset(lines, 0, sizeof(lines));
    for (int64_t i = 0; i < count; i += 2, in += VL, grads += VL) {
        const int64_t tiles = least(2, count - i);
        if (tiles < 2) memset(lines, 0, sizeof(lines));
        for (int64_t c = 0; c < s->C; c += VL) {
            for (int64_t j = 0; j < tiles; j++)
                transform_inputs(s, t, first + i + j, c, in_scale, lines[0][j], 2 * VL, HALVES);
            interleave(lines, in + c / VL * t->in_vector, t->in);
        }
        for (int64_t k = 0; k < s->K; k += VL) {
            for (int64_t j = 0; j < tiles; j++)
                transform_gradients(s, t, first + i + j, k, grad_scale, lines[0][j], 2 * VL,
                                    HALVES);
            interleave(lines, grads + k / VL * t->in_vector, next);
        }
    }
    return 1 / in_scale / grad_scale;
}
#endif

/* Loads a group of the chunk that begins at tile `begin`; returns the factor of its products. */
static float load_tiles(const struct winograd *s, const struct tiles *t, int64_t begin,
                        int64_t first, int64_t count, float *in, float *grads) {
#if HALF
    if (s->half) {
        const int64_t at = (first - begin) / 2 * VL;
        return load_group(s, t, first, count, in + at, grads + at);
    }
#endif
    const int64_t at = (first - begin) * VL;
    load_floats(s, t, first, count, in + at, grads + at);
    return 1;
}

/* --- products --- */

/* sums[i, v] (+)= sum over tiles of in[tile, i] * grads[tile, v], for a vector of channels and
 * `left` filters or a block; `scales` are of the groups. */
INLINE void multiply_gradients(const struct winograd *s, const struct tiles *t, int64_t count,
                               const float *in, const float *grads, float *sums, int64_t row,
                               int64_t left, const float *scales, const int add) {
    struct factors f = {.a = in, .a_row = 1, .a_next = VL, .b = grads, .b_next = VL,
                        .b_vector = t->in_vector, .count = count, .blocks = 1, .to = sums,
                        .to_row = row, .to_vector = VL};
    if (!s->half) {
        product_block(f, VL, left, add, 0);
        return;
    }
    for (int64_t done = 0; done < count; done += GROUP) {
        f.count = (least(GROUP, count - done) + 1) / 2;
        f.scale = scales[done / GROUP];
        product_block(f, VL, left, add || done, 1);
        f.a += f.count * VL;
        f.b += f.count * VL;
    }
}

/* Transforms sums of VL filters and `channels` channels back; `parts` of them are added up. */
static void store_filters(const struct winograd *s, const float *sums, int64_t place, int64_t row,
                          int64_t num_parts, int64_t k, int64_t first, int64_t channels) {
    const int64_t *st = s->weight_strides;
    float block[9][VL][VL];
    for (int64_t c = 0; c < channels; c++) {
        vf line[6], half[6][3], whole[3];
        for (int x = 0; x < 6; x++) {
            for (int y = 0; y < 6; y++) {
                const float *from = sums + (y * 6 + x) * place + c * row;
                line[y] = load(from);
                for (int64_t i = 1; i < num_parts; i++) line[y] += load(from + i * PLACES * place);
            }
            transform_filter_back(line, half[x]);
        }
        for (int y = 0; y < 3; y++) {
            for (int x = 0; x < 6; x++) line[x] = half[x][y];
            transform_filter_back(line, whole);
            for (int x = 0; x < 3; x++) store(block[y * 3 + x][c % VL], whole[x]);
        }
        if (c % VL < VL - 1) continue;
        float *to = s->grad_weight + k * st[0] + (first + c - c % VL) * st[1];
        for (int i = 0; i < 9; i++)
            store_block(block[i], to + i / 3 * st[2] + i % 3 * st[3], st[1], st[0]);
    }
}

/* Many tiles: each part adds up (36, C, K) over chunks of its own. */

static int64_t parts_of(const struct winograd *s, const struct tiles *t) {
    int64_t parts = least(s->num_threads, MOST_PARTIAL / (PLACES * t->sums));
    return parts > 1 ? parts : 1;
}

static void add_group(const struct winograd *s, const struct tiles *t, int64_t first,
                      int64_t count, float *in, float *grads, float *sums) {
    const float scale = load_tiles(s, t, first, first, count, in, grads);
    for (int64_t place = 0; place < PLACES; place++)
        for (int64_t k = 0; k < s->K; k += BLOCK)
            for (int64_t c = 0; c < s->C; c += VL) {
                const float *a = in + place * t->in + c / VL * t->in_vector;
                const float *b = grads + place * grads_of(s, t) + k / VL * t->in_vector;
                float *to = sums + place * t->sums + c * s->K + k;
                multiply_gradients(s, t, count, a, b, to, s->K, s->K - k, &scale, 1);
            }
}

static void add_part(void *data, int64_t part, int64_t thread) {
    const struct winograd *s = data;
    const struct tiles t = tiles_of(s, 0);
    const int64_t parts = parts_of(s, &t), grads = grads_of(s, &t);
    float *sums = s->memory + part * PLACES * t.sums;
    float *in = s->memory + PLACES * (parts * t.sums + thread * (t.in + grads));
    memset(sums, 0, (size_t)(PLACES * t.sums) * sizeof(float));
    const int64_t last = least(first_of_part(part + 1, parts, t.num_chunks) * t.chunk, t.all);
    const int64_t step = s->half ? least(GROUP, t.chunk) : t.chunk;
    for (int64_t first = first_of_part(part, parts, t.num_chunks) * t.chunk; first < last;
         first += step)
        add_group(s, &t, first, least(step, last - first), in, in + PLACES * t.in, sums);
}

static void reduce_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct winograd *s = data;
    const struct tiles t = tiles_of(s, 0);
    const int64_t k = part * VL;
    store_filters(s, s->memory + k, t.sums, s->K, parts_of(s, &t), k, 0, s->C);
}

/* Few tiles and large filters: all tiles are transformed, then each part takes a block of filters
 * and a few channels at a time, whose sums stay in the second cache until they are stored. */

static int goes_at_once(const struct tiles *all) {
    return all->all <= MOST_AT_ONCE && PLACES * all->sums > SECOND_CACHE;
}

/* The scales of the groups, at the end of the memory. */
INLINE float *scales_of(const struct winograd *s, const struct tiles *t) {
    const int64_t sums = PLACES * s->num_threads * (CHANNELS_AT_ONCE * BLOCK + VL);
    return s->memory + PLACES * (t->in + grads_of(s, t)) + sums;
}

static void transform_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct winograd *s = data;
    const struct tiles t = all_tiles_of(s);
    const int64_t step = s->half ? GROUP : VL, first = part * step;
    const float scale = load_tiles(s, &t, 0, first, least(step, t.all - first), s->memory,
                                   s->memory + PLACES * t.in);
    if (s->half) scales_of(s, &t)[part] = scale;
}

static void block_part(void *data, int64_t part, int64_t thread) {
    const struct winograd *s = data;
    const struct tiles t = all_tiles_of(s);
    const int64_t k = part * BLOCK, place_floats = CHANNELS_AT_ONCE * BLOCK + VL;
    const int64_t next = grads_of(s, &t);
    const float *in = s->memory, *grads = in + PLACES * t.in + k / VL * t.in_vector;
    float *sums = s->memory + PLACES * (t.in + next + thread * place_floats);
    for (int64_t first = 0; first < s->C; first += CHANNELS_AT_ONCE) {
        const int64_t channels = least(CHANNELS_AT_ONCE, s->C - first);
        for (int64_t place = 0; place < PLACES; place++)
            for (int64_t c = 0; c < channels; c += VL) {
                const float *a = in + place * t.in + (first + c) / VL * t.in_vector;
                const float *b = grads + place * next;
                float *to = sums + place * place_floats + c * BLOCK;
                multiply_gradients(s, &t, t.all, a, b, to, BLOCK, s->K - k, scales_of(s, &t), 0);
            }
        for (int64_t v = 0; v < least(BLOCK, s->K - k); v += VL)
            store_filters(s, sums + v, place_floats, BLOCK, 1, k + v, first, channels);
    }
}

int64_t convolens_winograd_backward_floats(const struct winograd *s) {
    struct tiles t = tiles_of(s, 0);
    if (!goes_at_once(&t))
        return PLACES * (parts_of(s, &t) * t.sums + s->num_threads * (t.in + grads_of(s, &t)));
    t = all_tiles_of(s);
    return scales_of(s, &t) - s->memory + MOST_GROUPS;
}

void convolens_winograd_backward(struct winograd *s) {
    struct tiles t = tiles_of(s, 0);
    if (goes_at_once(&t)) {
        const int64_t step = s->half ? GROUP : VL;
        run_parts(transform_part, s, (t.all + step - 1) / step, s->num_threads);
        run_parts(block_part, s, (s->K + BLOCK - 1) / BLOCK, s->num_threads);
    } else {
        run_parts(add_part, s, parts_of(s, &t), s->num_threads);
        run_parts(reduce_part, s, s->K / VL, s->num_threads);
    }
}
