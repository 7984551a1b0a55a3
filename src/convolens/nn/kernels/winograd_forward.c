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
        UNROLL for (int x = 0; x < 6; x++) put(to, (y * 6 + x) * next, whole[x], 1, kind);
    }
}

/* The same for VL channels, as pairs of neighbours that lie `width` apart. */
INLINE void transform_pairs(const float from[9][VL][VL], float scale, float *to, int64_t width,
                            int64_t next) {
#if HALF
    for (int i = 0; i < VL; i += 2, to += width) {
        half_float lines[PLACES][2][VL];
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
    float scale = 1;
#if HALF
    if (s->half) scale = scale_to(largest_input(s, t, first, count), INPUT_MOST);
#endif
    struct place p = place_of(t, first);
    for (int64_t i = 0; i < count; i++, p = place_after(t, p)) {
        for (int64_t c = 0; c < s->C; c += VL) {
            float *at = to + c / VL * t->in_vector;
            if (s->half)
                transform_inputs(s, p, c, scale, at + i * VL / 2, 2 * t->in, HALVES);
            else
                transform_inputs(s, p, c, 1, at + i * VL, t->in, FLOATS);
        }
    }
    return 1 / scale;
}

/* What becomes of outputs: they are stored, and COUNTED for a normalisation; or they are gradients,
 * which go through a gate and are summed for its normalisation, or are added to others. */
enum ending { STORED, COUNTED, GATED, ADDED };

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

/* Lets the gradients of a tile, whose first is at pixel `pixel`, through the gate, and adds them and
 * their products with the values there to the sums of their chunk. */
INLINE void pass_gate(const struct winograd *s, int64_t pixel, int64_t k, vf outputs[4][4],
                      int64_t rows, int64_t columns, float *sums) {
    const struct gate *gate = &s->gate;
    const vf scale = load(gate->factors + k), shift = load(gate->factors + s->K + k);
    const vf mean = load(gate->mean + k);
    vf sum = {0}, product = {0};
    UNROLL for (int y = 0; y < 4; y++)
        UNROLL for (int x = 0; x < 4; x++)
            if (y < rows && x < columns) {
                const vf value = load(gate->x + (pixel + y * s->WO + x) * s->K + k);
                outputs[y][x] = where_positive(value * scale + shift, outputs[y][x]);
                sum += outputs[y][x];
                product += outputs[y][x] * (value - mean);
            }
    sums += k;
    store(sums + GRADIENT * s->K, load(sums + GRADIENT * s->K) + sum);
    store(sums + PRODUCT * s->K, load(sums + PRODUCT * s->K) + product);
}

INLINE void add_to(const struct winograd *s, int64_t pixel, int64_t k, vf outputs[4][4],
                   int64_t rows, int64_t columns, const int with_mask) {
    const int64_t mask_step = mask_row(s->K);
    const uint8_t *mask = s->addend.mask + pixel * mask_step + k / VL * MASK_BYTES;
    const float *from = s->addend.volume + pixel * s->K + k;
    UNROLL for (int y = 0; y < 4; y++)
        UNROLL for (int x = 0; x < 4; x++)
            if (y < rows && x < columns) {
                const int64_t at = y * s->WO + x;
                outputs[y][x] += masked(load(from + at * s->K), mask + at * mask_step, with_mask);
            }
}

/* Transforms the sums of products of a vector of outputs back; two rows of outputs at a time, whose
 * columns the registers hold. */
APART void transform_outputs(const float *from, int64_t next, vf bias, vf outputs[4][4]) {
    vf half[2][6], line[6], whole[4];
    UNROLL for (int odd = 0; odd < 2; odd++) {
        UNROLL for (int x = 0; x < 6; x++) {
            UNROLL for (int y = 0; y < 6; y++) line[y] = load(from + (y * 6 + x) * next);
            transform_output(line, whole);
            half[0][x] = whole[odd];
            half[1][x] = whole[odd + 2];
        }
        UNROLL for (int y = 0; y < 2; y++) {
            transform_output(half[y], whole);
            UNROLL for (int x = 0; x < 4; x++) outputs[odd + 2 * y][x] = whole[x] + bias;
        }
    }
}

/* `part` is the chunk's number. */
INLINE void store_outputs(const struct winograd *s, const struct tiles *t, int64_t part,
                          int64_t count, const float *from, const enum ending ending,
                          const int past) {
    const int64_t num_sums = (ending == COUNTED ? SUMS : GRADIENT_SUMS) * s->K;
    float *sums = s->sums + part * num_sums;
    if (ending == COUNTED || ending == GATED) memset(sums, 0, (size_t)num_sums * sizeof(float));
    struct place p = place_of(t, part * t->chunk);
    for (int64_t i = 0; i < count; i++, p = place_after(t, p)) {
        const int64_t pixel = (p.n * s->HO + p.y) * s->WO + p.x;
        float *to = s->out + pixel * s->K;
        const int64_t rows = s->HO - p.y, columns = s->WO - p.x;
        for (int64_t k = 0; k < s->K; k += VL) {
            vf outputs[4][4];
            const vf bias = s->bias ? load(s->bias + k) : (vf){0};
            transform_outputs(from + k / VL * t->out_vector + i * VL, t->out, bias, outputs);
            if (ending == GATED) pass_gate(s, pixel, k, outputs, rows, columns, sums);
            if (ending == ADDED && s->addend.mask)
                add_to(s, pixel, k, outputs, rows, columns, 1);
            else if (ending == ADDED)
                add_to(s, pixel, k, outputs, rows, columns, 0);
            UNROLL for (int y = 0; y < 4; y++)
                UNROLL for (int x = 0; x < 4; x++)
                    if (y < rows && x < columns)
                        store_past(to + (y * s->WO + x) * s->K + k, outputs[y][x], past);
            if (ending != COUNTED) continue;
            if (i == 0) store(sums + SHIFT * s->K + k, outputs[0][0]);
            add_outputs(sums + k, s->K, outputs, rows, columns);
        }
    }
}

INLINE void end_chunk(const struct winograd *s, const struct tiles *t, int64_t part, int64_t count,
                      const float *from, const int past) {
    if (s->gate.x)
        store_outputs(s, t, part, count, from, GATED, past);
    else if (s->addend.volume)
        store_outputs(s, t, part, count, from, ADDED, past);
    else if (s->sums)
        store_outputs(s, t, part, count, from, COUNTED, past);
    else
        store_outputs(s, t, part, count, from, STORED, past);
}

/* --- products --- */

/* out[tile, v] = sum over channels of in[tile, c] * filters[c, v], for `left` filters or a block;
 * `scale` is of products of pairs. It is product `index` of a chunk's. */
INLINE void multiply_filters(const struct winograd *s, const struct tiles *t, int64_t count,
                             const float *in, const float *filters, float *out, int64_t left,
                             float scale, const struct wanted *wanted, int64_t index) {
    const int64_t width = least(BLOCK, left), vectors = s->C / VL;
    struct factors f = {.a = in, .a_row = VL, .a_next = 1, .a_block = t->in_vector,
                        .b = filters, .b_next = width, .b_vector = VL, .b_block = width * VL,
                        .count = VL, .blocks = vectors, .to = out, .to_row = VL,
                        .to_vector = t->out_vector, .scale = scale};
    if (!s->half) {
        ask_for(&f, wanted, index, lines_read(&f, count, left));
        product_block(f, count, left, 0, 0);
        return;
    }
    f.a_row = f.count = VL / 2;
    f.b_block = width * VL / 2;
    ask_for(&f, wanted, index, lines_read(&f, count, left));
    const int64_t most = 2 * CHAIN / VL;
    for (int64_t v = 0; v < vectors; v += most) {
        f.blocks = least(most, vectors - v);
        product_block(f, count, left, v > 0, 1);
        f.a += f.blocks * f.a_block;
        f.b += f.blocks * f.b_block;
        if (f.ahead) f.ahead += f.ahead_step * lines_read(&f, count, left);
    }
}

/* Floats that each thread has to itself. */
INLINE int64_t floats_of_thread(const struct winograd *s, const struct tiles *t) {
    return PLACES * (t->in + t->out) + made_floats(s, t, t->chunk);
}

/* What is read after the products of a chunk: where the outputs are gradients, what these go
 * through or are added to, and the volume beside it; else the input of the next chunk. Where the
 * second cache does not hold the filters, these are asked for instead. */
INLINE struct wanted wanted_after(const struct winograd *s, const struct tiles *t, int64_t first,
                                  const float *beside) {
    if (PLACES * t->filter > SECOND_CACHE) return (struct wanted){.share = 0};
    const int64_t products = PLACES * ((s->K + BLOCK - 1) / BLOCK);
    const float *end = s->gate.x ? s->gate.x : s->addend.volume;
    if (end) return rows_of(t, first, t->chunk, s->HO, s->WO, s->K, end, beside, products);
    const float *other = s->input.kind == DIFFERENTIATED ? s->input.x : NULL;
    return rows_of(t, first + t->chunk, t->chunk, s->H, s->W, s->C, s->x, other, products);
}

const float *winograd_convolve_chunk(const struct winograd *s, int64_t chunk, int64_t thread,
                                     const float *beside, float **room) {
    const struct tiles t = tiles_of(s, 0);
    const int64_t first = chunk * t.chunk, count = least(t.chunk, t.all - first);
    float *in = s->memory + PLACES * t.filter + thread * floats_of_thread(s, &t);
    float *out = in + PLACES * t.in;
    const struct winograd made = with_made(s, &t, first, count, out + PLACES * t.out);
    const float scale = load_inputs(&made, &t, first, count, in) / weight_scale(s);
    const struct wanted wanted = wanted_after(s, &t, first, beside);
    int64_t index = 0;
    for (int64_t place = 0; place < PLACES; place++)
        for (int64_t k = 0; k < s->K; k += BLOCK, index++) {
            const float *a = in + place * t.in;
            const float *b = s->memory + place * t.filter + (s->half ? k * s->C / 2 : k * s->C);
            float *to = out + place * t.out + k / VL * t.out_vector;
            multiply_filters(s, &t, count, a, b, to, s->K - k, scale, &wanted, index);
        }
    if (goes_past_caches(s->out, s->N * s->HO * s->WO * s->K))
        end_chunk(s, &t, chunk, count, out, 1);
    else
        end_chunk(s, &t, chunk, count, out, 0);
    finish_stores();
    *room = in;
    return made.x;
}

static void forward_part(void *data, int64_t part, int64_t thread) {
    float *room;
    winograd_convolve_chunk(data, part, thread, NULL, &room);
}

int64_t convolens_winograd_chunks(const struct winograd *s) { return tiles_of(s, 0).num_chunks; }

int64_t convolens_winograd_forward_floats(const struct winograd *s) {
    const struct tiles t = tiles_of(s, 0);
    return PLACES * t.filter + s->num_threads * floats_of_thread(s, &t);
}

void winograd_transform_filters(struct winograd *s) {
    run_parts(filter_part, s, (s->K + BLOCK - 1) / BLOCK, s->num_threads);
}

void convolens_winograd_forward(struct winograd *s) {
    winograd_transform_filters(s);
    run_parts(forward_part, s, tiles_of(s, 0).num_chunks, s->num_threads);
}
