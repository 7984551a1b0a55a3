/* 3x3 convolutions with stride 1 of channels-last volumes, by Winograd's F(4x4, 3x3).
 *
 * A tile of 4x4 outputs needs 6x6 inputs. Both are transformed such that each of the 36 places is
 * a matrix product over the channels of its own: 36 products for 16 outputs, where the definition
 * takes 144. Lavin and Gray (2015), arXiv:1509.09308; the gradient of the filters is Winograd's
 * algorithm transposed. Tiles go through in chunks whose transforms a core's second cache holds;
 * where the filters are larger than that, chunks are as large as it takes to read them seldom.
 */
#include "simd.h"

#define PLACES 36
#define SECOND_CACHE 196608 /* floats of the transforms of a chunk */
#define LEAST_CHUNK 32      /* tiles; fewer would read the filters too often */
#define LARGE_CHUNK 64     /* the same where the second cache does not hold the filters */
#define MOST_AT_ONCE 256   /* tiles whose sums for a few filters are taken in one go */
#define MOST_PARTIAL 33554432 /* floats of all parts' sums */
#define BLOCK (2 * VL)
#define CHANNELS_AT_ONCE (4 * VL)

struct winograd {
    int64_t N, C, H, W, K, HO, WO, P; /* C and K are multiples of VL */
    int64_t num_threads;
    int64_t flip;              /* whether the filters are read from their last place to the first */
    int64_t weight_strides[4]; /* of axis K, of axis C, rows, columns */
    const float *x, *weight, *bias; /* bias may be NULL */
    float *out;
    const float *grad_out;
    float *grad_weight;
    float *memory; /* as many floats as the pass says it needs */
};

/* A chunk's volumes lie as (36, channels / VL, chunk, VL). */
struct tiles {
    int64_t rows, columns, all, chunk, num_chunks;
    int64_t vector;          /* from one vector of channels to the next */
    int64_t in, out, filter; /* from one place to the next: not a power of two, so that the 36
                                places do not compete for the same lines of the first cache */
};

static struct tiles tiles_of(const struct winograd *s, int64_t chunk) {
    struct tiles t = {.rows = (s->HO + 3) / 4, .columns = (s->WO + 3) / 4};
    t.all = s->N * t.rows * t.columns;
    t.filter = s->C * s->K + VL;
    if (!chunk) {
        chunk = SECOND_CACHE / (PLACES * (s->C + s->K));
        if (chunk < LEAST_CHUNK) chunk = LEAST_CHUNK;
        if (PLACES * t.filter > SECOND_CACHE && chunk < LARGE_CHUNK) chunk = LARGE_CHUNK;
        int64_t turns = (t.all + chunk * s->num_threads - 1) / (chunk * s->num_threads);
        chunk = (t.all + turns * s->num_threads - 1) / (turns * s->num_threads);
    }
    t.chunk = (chunk + 7) / 8 * 8;
    t.num_chunks = (t.all + t.chunk - 1) / t.chunk;
    t.vector = (t.chunk + 1) * VL;
    t.in = s->C / VL * t.vector + VL;
    t.out = s->K / VL * t.vector + VL;
    return t;
}

/* One chunk of all tiles. */
static struct tiles all_tiles_of(const struct winograd *s) {
    return tiles_of(s, tiles_of(s, 0).all);
}

/* --- the transforms of a row or column, written out --- */

INLINE void transform_input(const vf d[6], vf o[6]) {
    vf a = d[4] - 4.0f * d[2], b = d[3] - 4.0f * d[1];
    vf c = d[4] - d[2], e = 2.0f * (d[3] - d[1]);
    o[0] = 4.0f * d[0] - 5.0f * d[2] + d[4];
    o[1] = a + b;
    o[2] = a - b;
    o[3] = c + e;
    o[4] = c - e;
    o[5] = 4.0f * d[1] - 5.0f * d[3] + d[5];
}

INLINE void transform_output(const vf m[6], vf o[4]) {
    vf a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
    o[0] = m[0] + a + c;
    o[1] = b + 2.0f * d;
    o[2] = a + 4.0f * c;
    o[3] = b + 8.0f * d + m[5];
}

/* The transpose of transform_output. */
INLINE void transform_gradient(const vf g[4], vf o[6]) {
    vf a = g[0] + g[2], b = g[1] + g[3], c = g[0] + 4.0f * g[2], d = 2.0f * g[1] + 8.0f * g[3];
    o[0] = g[0];
    o[1] = a + b;
    o[2] = a - b;
    o[3] = c + d;
    o[4] = c - d;
    o[5] = g[3];
}

INLINE void transform_filter(const vf w[3], vf o[6]) {
    vf a = (w[0] + w[2]) * (-1.0f / 6), b = w[1] * (1.0f / 6);
    vf c = w[0] * (1.0f / 24) + w[2] * (1.0f / 6), d = w[1] * (1.0f / 12);
    o[0] = w[0] * 0.25f;
    o[1] = a - b;
    o[2] = a + b;
    o[3] = c + d;
    o[4] = c - d;
    o[5] = w[2];
}

/* The transpose of transform_filter. */
INLINE void transform_filter_back(const vf u[6], vf o[3]) {
    vf a = u[1] + u[2], b = u[3] + u[4];
    o[0] = u[0] * 0.25f - a * (1.0f / 6) + b * (1.0f / 24);
    o[1] = (u[2] - u[1]) * (1.0f / 6) + (u[3] - u[4]) * (1.0f / 12);
    o[2] = (b - a) * (1.0f / 6) + u[5];
}

/* --- filters: (36, blocks of K, C, channels of the block) --- */

static const float *weight_at(const struct winograd *s, int64_t k, int64_t c, int64_t place) {
    const int64_t *st = s->weight_strides;
    return s->weight + k * st[0] + c * st[1] + place / 3 * st[2] + place % 3 * st[3];
}

static void filter_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct winograd *s = data;
    const struct tiles t = tiles_of(s, 0);
    const int64_t k = part * VL, block = k / BLOCK * BLOCK, width = least(BLOCK, s->K - block);
    for (int64_t c = 0; c < s->C; c++) {
        vf w[3][3], half[3][6], whole[6];
        for (int64_t place = 0; place < 9; place++) {
            const float *from = weight_at(s, k, c, s->flip ? 8 - place : place);
            float lanes[VL];
            for (int lane = 0; lane < VL; lane++) lanes[lane] = from[lane * s->weight_strides[0]];
            w[place % 3][place / 3] = load(lanes);
        }
        UNROLL for (int x = 0; x < 3; x++) transform_filter(w[x], half[x]);
        float *to = s->memory + block * s->C + c * width + k - block;
        UNROLL for (int y = 0; y < 6; y++) {
            vf line[3] = {half[0][y], half[1][y], half[2][y]};
            transform_filter(line, whole);
            UNROLL for (int x = 0; x < 6; x++) store(to + (y * 6 + x) * t.filter, whole[x]);
        }
    }
}

/* --- a chunk's volumes --- */

struct place {
    int64_t n, y, x; /* of a tile's first output */
};

INLINE struct place place_of(const struct tiles *t, int64_t tile) {
    int64_t within = tile % (t->rows * t->columns);
    struct place p = {tile / (t->rows * t->columns), within / t->columns * 4,
                      within % t->columns * 4};
    return p;
}

INLINE void load_input(const struct winograd *s, const struct tiles *t, const float *image,
                       int64_t y0, int64_t x0, float *to, const int inside) {
    for (int64_t c = 0; c < s->C; c += VL) {
        vf half[6][6], line[6], whole[6];
        UNROLL for (int x = 0; x < 6; x++) {
            UNROLL for (int y = 0; y < 6; y++) {
                const int64_t row = y0 + y, column = x0 + x;
                line[y] = (vf){0};
                if (inside || (row >= 0 && row < s->H && column >= 0 && column < s->W))
                    line[y] = load(image + (row * s->W + column) * s->C + c);
            }
            transform_input(line, half[x]);
        }
        UNROLL for (int y = 0; y < 6; y++) {
            UNROLL for (int x = 0; x < 6; x++) line[x] = half[x][y];
            transform_input(line, whole);
            UNROLL for (int x = 0; x < 6; x++) store(to + (y * 6 + x) * t->in + c / VL * t->vector, whole[x]);
        }
    }
}

static void load_inputs(const struct winograd *s, const struct tiles *t, int64_t first,
                        int64_t count, float *to) {
    for (int64_t i = 0; i < count; i++, to += VL) {
        struct place p = place_of(t, first + i);
        const int64_t y = p.y - s->P, x = p.x - s->P;
        const float *image = s->x + p.n * s->H * s->W * s->C;
        if (y >= 0 && x >= 0 && y + 6 <= s->H && x + 6 <= s->W)
            load_input(s, t, image, y, x, to, 1);
        else
            load_input(s, t, image, y, x, to, 0);
    }
}

static void store_outputs(const struct winograd *s, const struct tiles *t, int64_t first,
                          int64_t count, const float *from) {
    for (int64_t i = 0; i < count; i++) {
        struct place p = place_of(t, first + i);
        float *to = s->out + ((p.n * s->HO + p.y) * s->WO + p.x) * s->K;
        const int64_t rows = s->HO - p.y, columns = s->WO - p.x;
        for (int64_t k = 0; k < s->K; k += VL) {
            vf half[6][4], line[6], whole[4];
            const float *in = from + k / VL * t->vector + i * VL;
            const vf bias = s->bias ? load(s->bias + k) : (vf){0};
            UNROLL for (int x = 0; x < 6; x++) {
                UNROLL for (int y = 0; y < 6; y++)
                    line[y] = load(in + (y * 6 + x) * t->out);
                transform_output(line, half[x]);
            }
            UNROLL for (int y = 0; y < 4; y++) {
                UNROLL for (int x = 0; x < 6; x++) line[x] = half[x][y];
                transform_output(line, whole);
                UNROLL for (int x = 0; x < 4; x++)
                    if (y < rows && x < columns)
                        store(to + (y * s->WO + x) * s->K + k, whole[x] + bias);
            }
        }
    }
}

static void load_gradients(const struct winograd *s, const struct tiles *t, int64_t first,
                           int64_t count, float *to) {
    for (int64_t i = 0; i < count; i++) {
        struct place p = place_of(t, first + i);
        const float *from = s->grad_out + ((p.n * s->HO + p.y) * s->WO + p.x) * s->K;
        const int64_t rows = s->HO - p.y, columns = s->WO - p.x;
        for (int64_t k = 0; k < s->K; k += VL) {
            vf half[4][6], line[4], whole[6];
            UNROLL for (int x = 0; x < 4; x++) {
                UNROLL for (int y = 0; y < 4; y++) {
                    line[y] = (vf){0};
                    if (y < rows && x < columns) line[y] = load(from + (y * s->WO + x) * s->K + k);
                }
                transform_gradient(line, half[x]);
            }
            float *out = to + k / VL * t->vector + i * VL;
            UNROLL for (int y = 0; y < 6; y++) {
                UNROLL for (int x = 0; x < 4; x++) line[x] = half[x][y];
                transform_gradient(line, whole);
                UNROLL for (int x = 0; x < 6; x++) store(out + (y * 6 + x) * t->out, whole[x]);
            }
        }
    }
}

/* --- matrix products --- */

/* Where the two factors and the result lie. The sum runs over `blocks` times `count` products. */
struct factors {
    const float *a;
    int64_t a_row, a_next, a_block;
    const float *b;
    int64_t b_next, b_vector, b_block;
    int64_t count, blocks;
    float *to;
    int64_t to_row, to_vector;
};

/* to[i, v] (+)= sum over n of a[n, i] * b[n, v] */
INLINE void product(struct factors f, const int rows, const int vectors, const int add) {
    vf sum[16][2];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++)
            sum[i][v] = add ? load(f.to + i * f.to_row + v * f.to_vector) : (vf){0};
    for (int64_t block = 0; block < f.blocks; block++, f.a += f.a_block, f.b += f.b_block) {
        const float *a = f.a, *b = f.b;
        for (int64_t n = 0; n < f.count; n++, a += f.a_next, b += f.b_next) {
            vf line[2];
            UNROLL for (int v = 0; v < vectors; v++) line[v] = load(b + v * f.b_vector);
            UNROLL for (int i = 0; i < rows; i++)
                UNROLL for (int v = 0; v < vectors; v++) sum[i][v] += line[v] * a[i * f.a_row];
        }
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++)
            store(f.to + i * f.to_row + v * f.to_vector, sum[i][v]);
}

#define ROWS (MANY_REGISTERS ? 8 : 4)

INLINE void product_rows(struct factors f, int64_t all_rows, const int vectors, const int add) {
    const int rows = vectors == 1 ? 2 * ROWS : ROWS;
    int64_t i = 0;
    for (; i + rows <= all_rows; i += rows) {
        product(f, rows, vectors, add);
        f.a += rows * f.a_row;
        f.to += rows * f.to_row;
    }
    for (; i < all_rows; i++) {
        product(f, 1, vectors, add);
        f.a += f.a_row;
        f.to += f.to_row;
    }
}

/* --- forward --- */

int64_t convolens_winograd_forward_floats(const struct winograd *s) {
    struct tiles t = tiles_of(s, 0);
    return PLACES * (t.filter + s->num_threads * (t.in + t.out));
}

/* out[tile, v] = sum over channels of in[tile, c] * filters[c, v], for `left` filters or a block. */
INLINE void multiply_filters(const struct winograd *s, const struct tiles *t, int64_t count,
                             const float *in, const float *filters, float *out, int64_t left) {
    const int64_t width = least(BLOCK, left);
    const struct factors f = {.a = in, .a_row = VL, .a_next = 1, .a_block = t->vector,
                              .b = filters, .b_next = width, .b_vector = VL,
                              .b_block = width * VL, .count = VL, .blocks = s->C / VL,
                              .to = out, .to_row = VL, .to_vector = t->vector};
    if (left > VL)
        product_rows(f, count, 2, 0);
    else
        product_rows(f, count, 1, 0);
}

static void forward_part(void *data, int64_t part, int64_t thread) {
    const struct winograd *s = data;
    const struct tiles t = tiles_of(s, 0);
    const int64_t first = part * t.chunk, count = least(t.chunk, t.all - first);
    float *in = s->memory + PLACES * (t.filter + thread * (t.in + t.out));
    float *out = in + PLACES * t.in;
    load_inputs(s, &t, first, count, in);
    for (int64_t place = 0; place < PLACES; place++)
        for (int64_t k = 0; k < s->K; k += BLOCK) {
            const float *a = in + place * t.in, *b = s->memory + place * t.filter + k * s->C;
            float *to = out + place * t.out + k / VL * t.vector;
            multiply_filters(s, &t, count, a, b, to, s->K - k);
        }
    store_outputs(s, &t, first, count, out);
}

void convolens_winograd_forward(struct winograd *s) {
    run_parts(filter_part, s, s->K / VL, s->num_threads);
    run_parts(forward_part, s, tiles_of(s, 0).num_chunks, s->num_threads);
}

/* --- the gradient of the filters --- */

/* sums[i, v] (+)= sum over tiles of in[tile, i] * grads[tile, v], for a vector of channels and
 * `left` filters or a block. */
INLINE void multiply_gradients(const struct tiles *t, int64_t count, const float *in,
                               const float *grads, float *sums, int64_t row, int64_t left,
                               const int add) {
    const struct factors f = {.a = in, .a_row = 1, .a_next = VL, .b = grads, .b_next = VL,
                              .b_vector = t->vector, .count = count, .blocks = 1, .to = sums,
                              .to_row = row, .to_vector = VL};
    if (left > VL)
        product_rows(f, VL, 2, add);
    else
        product_rows(f, VL, 1, add);
}

/* Transforms sums of VL filters and `channels` channels back; `parts` of them are added up. */
static void store_filters(const struct winograd *s, const float *sums, int64_t place, int64_t row,
                          int64_t num_parts, int64_t k, int64_t first, int64_t channels) {
    const int64_t *st = s->weight_strides;
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
            for (int x = 0; x < 3; x++) {
                float *to =
                    s->grad_weight + k * st[0] + (first + c) * st[1] + y * st[2] + x * st[3];
                for (int lane = 0; lane < VL; lane++) to[lane * st[0]] = whole[x][lane];
            }
        }
    }
}

/* Many tiles: each part adds up (36, C, K) over chunks of its own. */

static int64_t parts_of(const struct winograd *s, const struct tiles *t) {
    int64_t parts = least(s->num_threads, MOST_PARTIAL / (PLACES * t->filter));
    return parts > 1 ? parts : 1;
}

static void add_part(void *data, int64_t part, int64_t thread) {
    const struct winograd *s = data;
    const struct tiles t = tiles_of(s, 0);
    const int64_t C = s->C, K = s->K, parts = parts_of(s, &t);
    float *sums = s->memory + part * PLACES * t.filter;
    float *in = s->memory + PLACES * (parts * t.filter + thread * (t.in + t.out));
    float *grads = in + PLACES * t.in;
    memset(sums, 0, (size_t)(PLACES * t.filter) * sizeof(float));
    for (int64_t chunk = first_of_part(part, parts, t.num_chunks);
         chunk < first_of_part(part + 1, parts, t.num_chunks); chunk++) {
        const int64_t first = chunk * t.chunk, count = least(t.chunk, t.all - first);
        load_inputs(s, &t, first, count, in);
        load_gradients(s, &t, first, count, grads);
        for (int64_t place = 0; place < PLACES; place++)
            for (int64_t k = 0; k < K; k += BLOCK)
                for (int64_t c = 0; c < C; c += VL) {
                    const float *a = in + place * t.in + c / VL * t.vector;
                    const float *b = grads + place * t.out + k / VL * t.vector;
                    float *to = sums + place * t.filter + c * K + k;
                    multiply_gradients(&t, count, a, b, to, K, K - k, 1);
                }
    }
}

static void reduce_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct winograd *s = data;
    const struct tiles t = tiles_of(s, 0);
    const int64_t k = part * VL;
    store_filters(s, s->memory + k, t.filter, s->K, parts_of(s, &t), k, 0, s->C);
}

/* Few tiles and large filters: all tiles are transformed, then each part takes a block of filters
 * and a few channels at a time, whose sums stay in the second cache until they are stored. */

static int goes_at_once(const struct winograd *s, const struct tiles *all) {
    return all->all <= MOST_AT_ONCE && PLACES * all->filter > SECOND_CACHE;
}

static void transform_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct winograd *s = data;
    const struct tiles t = all_tiles_of(s);
    const int64_t first = part * VL, count = least(VL, t.all - first);
    load_inputs(s, &t, first, count, s->memory + first * VL);
    load_gradients(s, &t, first, count, s->memory + PLACES * t.in + first * VL);
}

static void block_part(void *data, int64_t part, int64_t thread) {
    const struct winograd *s = data;
    const struct tiles t = all_tiles_of(s);
    const int64_t k = part * BLOCK, place_floats = CHANNELS_AT_ONCE * BLOCK + VL;
    const float *in = s->memory, *grads = in + PLACES * t.in + k / VL * t.vector;
    float *sums = s->memory + PLACES * (t.in + t.out + thread * place_floats);
    for (int64_t first = 0; first < s->C; first += CHANNELS_AT_ONCE) {
        const int64_t channels = least(CHANNELS_AT_ONCE, s->C - first);
        for (int64_t place = 0; place < PLACES; place++)
            for (int64_t c = 0; c < channels; c += VL) {
                const float *a = in + place * t.in + (first + c) / VL * t.vector;
                const float *b = grads + place * t.out;
                float *to = sums + place * place_floats + c * BLOCK;
                multiply_gradients(&t, t.all, a, b, to, BLOCK, s->K - k, 0);
            }
        for (int64_t v = 0; v < least(BLOCK, s->K - k); v += VL)
            store_filters(s, sums + v, place_floats, BLOCK, 1, k + v, first, channels);
    }
}

int64_t convolens_winograd_backward_floats(const struct winograd *s) {
    struct tiles t = tiles_of(s, 0);
    if (!goes_at_once(s, &t))
        return PLACES * (parts_of(s, &t) * t.filter + s->num_threads * (t.in + t.out));
    t = all_tiles_of(s);
    return PLACES * (t.in + t.out + s->num_threads * (CHANNELS_AT_ONCE * BLOCK + VL));
}

void convolens_winograd_backward(struct winograd *s) {
    struct tiles t = tiles_of(s, 0);
    if (goes_at_once(s, &t)) {
        run_parts(transform_part, s, (t.all + VL - 1) / VL, s->num_threads);
        run_parts(block_part, s, (s->K + BLOCK - 1) / BLOCK, s->num_threads);
    } else {
        run_parts(add_part, s, parts_of(s, &t), s->num_threads);
        run_parts(reduce_part, s, s->K / VL, s->num_threads);
    }
}
