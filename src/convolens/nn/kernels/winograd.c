/* 3x3 convolutions with stride 1 of channels-last volumes, by Winograd's F(4x4, 3x3).
 *
 * A tile of 4x4 outputs needs 6x6 inputs. Both are transformed such that each of the 36 places is
 * a matrix product over the channels of its own: 36 products for 16 outputs, where the definition
 * takes 144. Lavin and Gray (2015), arXiv:1509.09308; the gradient of the filters is Winograd's
 * algorithm transposed. Tiles go through in chunks whose transforms a core's second cache holds.
 */
#include "simd.h"

#define PLACES 36
#define SECOND_CACHE 196608 /* floats of the transforms of a chunk */
#define LEAST_CHUNK 32      /* tiles; fewer would read the filters too often */
#define BLOCK (2 * VL)

struct winograd {
    int64_t N, C, H, W, K, HO, WO, P; /* C and K are multiples of VL */
    int64_t num_parts, num_threads;
    int64_t flip;              /* whether the filters are read from their last place to the first */
    int64_t weight_strides[4]; /* of axis K, of axis C, rows, columns */
    const float *x, *weight, *bias; /* bias may be NULL */
    float *out;
    const float *grad_out;
    float *grad_weight;
    float *filters; /* transformed */
    float *scratch; /* for each thread, a chunk of both volumes, transformed */
    float *partial; /* for each part, the sums of the transformed gradient of the filters */
};

struct tiles {
    int64_t rows, columns, all, chunk;
    int64_t in, out, filter; /* from one place to the next: not a power of two, so that the 36
                                places do not compete for the same lines of the first cache */
};

static struct tiles tiles_of(const struct winograd *s) {
    struct tiles t = {.rows = (s->HO + 3) / 4, .columns = (s->WO + 3) / 4};
    t.all = s->N * t.rows * t.columns;
    t.chunk = SECOND_CACHE / (PLACES * (s->C + s->K)) / 8 * 8;
    if (t.chunk < LEAST_CHUNK) t.chunk = LEAST_CHUNK;
    t.chunk = least(t.chunk, (t.all + 7) / 8 * 8);
    t.in = t.chunk * s->C + VL;
    t.out = t.chunk * s->K + VL;
    t.filter = s->C * s->K + VL;
    return t;
}

/* How many floats Python must bring: for the filters and each part, and for each thread. */
void convolens_winograd_floats(const struct winograd *s, int64_t floats[2]) {
    struct tiles t = tiles_of(s);
    floats[0] = PLACES * t.filter;
    floats[1] = PLACES * (t.in + t.out);
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
    const struct tiles t = tiles_of(s);
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
        float *to = s->filters + block * s->C + c * width + k - block;
        UNROLL for (int y = 0; y < 6; y++) {
            vf line[3] = {half[0][y], half[1][y], half[2][y]};
            transform_filter(line, whole);
            UNROLL for (int x = 0; x < 6; x++) store(to + (y * 6 + x) * t.filter, whole[x]);
        }
    }
}

/* --- a chunk's volumes: (36, tiles, channels) --- */

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
            UNROLL for (int x = 0; x < 6; x++) store(to + (y * 6 + x) * t->in + c, whole[x]);
        }
    }
}

static void load_inputs(const struct winograd *s, const struct tiles *t, int64_t first,
                        int64_t count, float *to) {
    for (int64_t i = 0; i < count; i++, to += s->C) {
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
            const float *in = from + i * s->K + k;
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
            float *out = to + i * s->K + k;
            UNROLL for (int y = 0; y < 6; y++) {
                UNROLL for (int x = 0; x < 4; x++) line[x] = half[x][y];
                transform_gradient(line, whole);
                UNROLL for (int x = 0; x < 6; x++) store(out + (y * 6 + x) * t->out, whole[x]);
            }
        }
    }
}

/* --- matrix products --- */

/* to[i, v] (+)= sum over n of a[n * a_next + i * a_row] * b[n * b_next + v] */
INLINE void product(const float *a, int64_t a_next, int64_t a_row, const float *b, int64_t b_next,
                    int64_t count, float *to, int64_t to_row, const int rows, const int vectors,
                    const int add) {
    vf sum[16][2];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++)
            sum[i][v] = add ? load(to + i * to_row + v * VL) : (vf){0};
    for (int64_t n = 0; n < count; n++, a += a_next, b += b_next)
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int v = 0; v < vectors; v++)
                sum[i][v] += load(b + v * VL) * a[i * a_row];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int v = 0; v < vectors; v++) store(to + i * to_row + v * VL, sum[i][v]);
}

#define ROWS (MANY_REGISTERS ? 8 : 4)

INLINE void product_block(const float *a, int64_t a_next, int64_t a_row, const float *b,
                          int64_t b_next, int64_t count, float *to, int64_t to_row,
                          int64_t all_rows, const int vectors, const int add) {
    const int rows = vectors == 1 ? 2 * ROWS : ROWS;
    int64_t i = 0;
    for (; i + rows <= all_rows; i += rows)
        product(a + i * a_row, a_next, a_row, b, b_next, count, to + i * to_row, to_row, rows,
                vectors, add);
    for (; i < all_rows; i++)
        product(a + i * a_row, a_next, a_row, b, b_next, count, to + i * to_row, to_row, 1,
                vectors, add);
}

static void forward_part(void *data, int64_t part, int64_t thread) {
    const struct winograd *s = data;
    const struct tiles t = tiles_of(s);
    const int64_t C = s->C, K = s->K, first = part * t.chunk;
    const int64_t count = least(t.chunk, t.all - first);
    float *in = s->scratch + thread * PLACES * (t.in + t.out);
    float *out = in + PLACES * t.in;
    load_inputs(s, &t, first, count, in);
    for (int64_t place = 0; place < PLACES; place++)
        for (int64_t k = 0; k < K; k += BLOCK) {
            const float *a = in + place * t.in;
            const float *b = s->filters + place * t.filter + k * C;
            float *to = out + place * t.out + k;
            if (K - k > VL)
                product_block(a, 1, C, b, BLOCK, C, to, K, count, 2, 0);
            else
                product_block(a, 1, C, b, VL, C, to, K, count, 1, 0);
        }
    store_outputs(s, &t, first, count, out);
}

void convolens_winograd_forward(struct winograd *s) {
    struct tiles t = tiles_of(s);
    run_parts(filter_part, s, s->K / VL, s->num_threads);
    run_parts(forward_part, s, (t.all + t.chunk - 1) / t.chunk, s->num_threads);
}

/* Adds up (36, C, K) over the chunks of a part. */
static void backward_part(void *data, int64_t part, int64_t thread) {
    const struct winograd *s = data;
    const struct tiles t = tiles_of(s);
    const int64_t C = s->C, K = s->K, chunks = (t.all + t.chunk - 1) / t.chunk;
    float *in = s->scratch + thread * PLACES * (t.in + t.out);
    float *grads = in + PLACES * t.in, *sums = s->partial + part * PLACES * t.filter;
    memset(sums, 0, (size_t)(PLACES * t.filter) * sizeof(float));
    for (int64_t chunk = first_of_part(part, s->num_parts, chunks);
         chunk < first_of_part(part + 1, s->num_parts, chunks); chunk++) {
        const int64_t first = chunk * t.chunk, count = least(t.chunk, t.all - first);
        load_inputs(s, &t, first, count, in);
        load_gradients(s, &t, first, count, grads);
        for (int64_t place = 0; place < PLACES; place++)
            for (int64_t k = 0; k < K; k += BLOCK) {
                const float *a = in + place * t.in, *b = grads + place * t.out + k;
                float *to = sums + place * t.filter + k;
                if (K - k > VL)
                    product_block(a, C, 1, b, K, count, to, K, C, 2, 1);
                else
                    product_block(a, C, 1, b, K, count, to, K, C, 1, 1);
            }
    }
}

/* Sums the parts in their order and transforms back, for the filters of one vector. */
static void reduce_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct winograd *s = data;
    const struct tiles t = tiles_of(s);
    const int64_t *st = s->weight_strides, k = part * VL;
    for (int64_t c = 0; c < s->C; c++) {
        vf line[6], half[6][3], whole[3];
        for (int x = 0; x < 6; x++) {
            for (int y = 0; y < 6; y++) {
                const float *from = s->partial + (y * 6 + x) * t.filter + c * s->K + k;
                line[y] = load(from);
                for (int64_t i = 1; i < s->num_parts; i++)
                    line[y] += load(from + i * PLACES * t.filter);
            }
            transform_filter_back(line, half[x]);
        }
        for (int y = 0; y < 3; y++) {
            for (int x = 0; x < 6; x++) line[x] = half[x][y];
            transform_filter_back(line, whole);
            for (int x = 0; x < 3; x++) {
                float *to = s->grad_weight + k * st[0] + c * st[1] + y * st[2] + x * st[3];
                for (int lane = 0; lane < VL; lane++) to[lane * st[0]] = whole[x][lane];
            }
        }
    }
}

void convolens_winograd_backward(struct winograd *s) {
    run_parts(backward_part, s, s->num_parts, s->num_threads);
    run_parts(reduce_part, s, s->K / VL, s->num_threads);
}
