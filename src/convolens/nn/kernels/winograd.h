/* 3x3 convolutions with stride 1 of channels-last volumes, by Winograd's F(4x4, 3x3).
 *
 * A tile of 4x4 outputs needs 6x6 inputs. Both are transformed such that each of the 36 places is
 * a matrix product over the channels of its own: 36 products for 16 outputs, where the definition
 * takes 144. Lavin and Gray (2015), arXiv:1509.09308; the gradient of the filters is Winograd's
 * algorithm transposed. Tiles go through in chunks whose transforms a core's second cache holds;
 * where the filters are larger than that, chunks are as large as it takes to read them seldom.
 *
 * The polynomials are interpolated at 0, +-5/8, +-3/2 and infinity, which loses half as much to
 * rounding as the usual 0, +-1, +-2 and infinity; Alam et al. (2022), arXiv:2201.10369.
 */
#ifndef CONVOLENS_WINOGRAD_H
#define CONVOLENS_WINOGRAD_H

#include "normalised.h"
#include "product.h"

#define PLACES 36
#define LEAST_CHUNK 32      /* tiles; fewer would read the filters too often */
#define LARGE_CHUNK 64      /* the same where the second cache does not hold the filters */

struct winograd {
    int64_t N, C, H, W, K, HO, WO, P; /* C and K are multiples of VL */
    int64_t num_threads;
    int64_t flip;              /* whether the filters are read from their last place to the first */
    int64_t half;              /* whether products are taken in float16 */
    int64_t weight_strides[4]; /* of axis K, of axis C, rows, columns */
    const float *x, *weight, *bias; /* bias may be NULL */
    float *out;
    const float *grad_out;
    float *grad_weight;
    float *memory; /* as many floats as the pass says it needs */
    float *sums;   /* for a normalisation: (num_chunks, SUMS, K) where it follows, or
                      (num_chunks, GRADIENT_SUMS, K) where the outputs are its gradient; or NULL */
    struct source input;    /* what is read instead of x, where P is 1 */
    struct source gradient; /* what is read instead of grad_out, where P is 1 */
    struct gate gate;       /* what the outputs go through, where they are a gradient */
    struct addend addend;   /* what the outputs are added to */
    struct winograd *also;  /* the gradient of the input, which is computed chunk by chunk together
                               with that of the filters; or NULL */
    float largest_weight;
};

/* How tiles are cut into chunks, and how a chunk's volumes lie: (36, channels / VL, chunk, VL) in
 * floats, (36, channels / VL, chunk, VL / 2) in pairs of neighbouring channels, and
 * (36, channels / VL, chunk / 2, VL) in pairs of neighbouring tiles. */
struct tiles {
    int64_t rows, columns, all, chunk, num_chunks;
    int64_t in_vector, out_vector; /* from one vector of channels to the next; `out` are floats */
    int64_t in, out; /* from one place to the next: not a power of two, so that the 36 places do
                        not compete for the same lines of the first cache */
    int64_t filter, sums; /* the same for transformed filters and their gradient */
};

/* What chunks of about `wanted` tiles should be a multiple of: whole rows of tiles, if they are short,
 * so that no row of pixels is made twice but for the windows' edges; of 8 at least. */
INLINE int64_t unit_of(const struct tiles *t, int64_t wanted) {
    int64_t unit = t->columns;
    while (unit % 8) unit *= 2;
    return unit <= wanted * 3 / 2 ? unit : 8;
}

INLINE struct tiles tiles_of(const struct winograd *s, int64_t chunk) {
    struct tiles t = {.rows = (s->HO + 3) / 4, .columns = (s->WO + 3) / 4};
    t.all = s->N * t.rows * t.columns;
    t.sums = s->C * s->K + VL;
    t.filter = s->half ? s->C * s->K / 2 + VL : t.sums;
    t.chunk = (chunk + 7) / 8 * 8;
    if (!chunk) {
        chunk = SECOND_CACHE / (PLACES * (s->C + s->K));
        if (chunk < LEAST_CHUNK) chunk = LEAST_CHUNK;
        if (PLACES * t.filter > SECOND_CACHE && chunk < LARGE_CHUNK) chunk = LARGE_CHUNK;
        t.chunk = even_chunk(t.all, chunk, s->num_threads, unit_of(&t, chunk));
    }
    t.num_chunks = (t.all + t.chunk - 1) / t.chunk;
    t.out_vector = (t.chunk + 1) * VL;
    t.in_vector = s->half ? (t.chunk + 2) * VL / 2 : t.out_vector;
    t.in = s->C / VL * t.in_vector + VL;
    t.out = s->K / VL * t.out_vector + VL;
    return t;
}

struct place {
    int64_t n, y, x; /* of a tile's first output */
};

INLINE struct place place_of(const struct tiles *t, int64_t tile) {
    int64_t within = tile % (t->rows * t->columns);
    struct place p = {tile / (t->rows * t->columns), within / t->columns * 4,
                      within % t->columns * 4};
    return p;
}

/* The place of the next tile, without a division. */
INLINE struct place place_after(const struct tiles *t, struct place p) {
    p.x += 4;
    if (p.x < 4 * t->columns) return p;
    p.x = 0;
    p.y += 4;
    if (p.y < 4 * t->rows) return p;
    return (struct place){p.n + 1, 0, 0};
}

/* How many rows of pixels the windows of so many tiles may touch: where they begin and end within a
 * row of tiles, two more of these. */
INLINE int64_t rows_at_most(const struct tiles *t, int64_t count) {
    return (count / t->columns + 2) * 4 + 2;
}

INLINE int64_t made_inputs(const struct winograd *s, const struct tiles *t, int64_t count) {
    return s->input.kind == AS_IS ? 0 : rows_at_most(t, count) * s->W * s->C;
}

/* Floats of what is made of the volumes for so many tiles. */
INLINE int64_t made_floats(const struct winograd *s, const struct tiles *t, int64_t count) {
    const int64_t gradients = rows_at_most(t, count) * s->WO * s->K;
    return made_inputs(s, t, count) + (s->gradient.kind == AS_IS ? 0 : gradients);
}

/* Makes the rows of pixels that these tiles see, and returns a job that reads them. */
INLINE struct winograd with_made(const struct winograd *s, const struct tiles *t, int64_t first,
                                 int64_t count, float *made) {
    struct winograd job = *s;
    const struct place p = place_of(t, first), q = place_of(t, first + count - 1);
    if (s->input.kind != AS_IS) {
        const int64_t begin = p.n * s->H + (p.y > s->P ? p.y - s->P : 0);
        const int64_t end = q.n * s->H + least(q.y - s->P + 6, s->H);
        make_rows(&s->input, s->x, begin * s->W, end * s->W, s->C, made);
        job.x = made - begin * s->W * s->C;
    }
    if (s->gradient.kind != AS_IS) {
        const int64_t begin = p.n * s->HO + p.y, end = q.n * s->HO + least(q.y + 4, s->HO);
        made += made_inputs(s, t, count);
        make_rows(&s->gradient, s->grad_out, begin * s->WO, end * s->WO, s->K, made);
        job.grad_out = made - begin * s->WO * s->K;
    }
    return job;
}

/* --- what comes next --- */

/* The rows of two volumes that some tiles will read. While products before them are computed, the
 * memory is asked for these rows, a share with each product. */
struct wanted {
    const float *from[2]; /* may be the same */
    int64_t share;        /* floats; 0 where nothing is wanted */
};

/* `products` is how many products there are to ask with. */
INLINE struct wanted rows_of(const struct tiles *t, int64_t first, int64_t count, int64_t H,
                             int64_t W, int64_t C, const float *one, const float *other,
                             int64_t products) {
    struct wanted w = {.share = 0};
    if (first >= t->all) return w;
    const struct place p = place_of(t, first);
    const int64_t begin = (p.n * H + p.y) * W * C;
    w.from[0] = one + begin;
    w.from[1] = (other ? other : one) + begin;
    w.share = count * 16 * C * (w.from[0] == w.from[1] ? 1 : 2) / products + 1;
    return w;
}

/* Lets product `index` ask for its share; it reads so many lines. */
INLINE void ask_for(struct factors *f, const struct wanted *w, int64_t index, int64_t lines) {
    if (!w->share) return;
    const int64_t before = w->from[0] == w->from[1] ? index : index / 2;
    f->ahead = w->from[index % 2] + before * w->share;
    f->ahead_step = (uint32_t)w->share / (uint32_t)lines + 1;
}

/* --- the transforms of a row or column, written out --- */

#define A 0.625f
#define B 1.5f
#define A2 (A * A)
#define B2 (B * B)
#define OF_A (1 / (2 * A2 * (A2 - B2)))
#define OF_B (1 / (2 * B2 * (B2 - A2)))
/* How many times the largest value a transform in both directions may be: the squares of the
 * largest sums of absolute values in a row. */
#define INPUT_GROWTH 27.9f
#define FILTER_GROWTH 1.93f
#define GRADIENT_GROWTH 66.1f
/* Values are scaled such that no sum of 2 * CHAIN products can be more than float16 holds. */
#define INPUT_MOST 4.0f
#define BACKWARD_INPUT_MOST 1.0f

INLINE void transform_input(const vf d[6], vf o[6]) {
    vf a = d[4] - B2 * d[2], b = d[3] - B2 * d[1];
    vf c = d[4] - A2 * d[2], e = d[3] - A2 * d[1];
    o[0] = (A2 * B2 * d[0] + d[4]) - (A2 + B2) * d[2];
    o[1] = a + A * b;
    o[2] = a - A * b;
    o[3] = c + B * e;
    o[4] = c - B * e;
    o[5] = (A2 * B2 * d[1] + d[5]) - (A2 + B2) * d[3];
}

INLINE void transform_output(const vf m[6], vf o[4]) {
    vf a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
    o[0] = m[0] + (a + c);
    o[1] = A * b + B * d;
    o[2] = A2 * a + B2 * c;
    o[3] = A2 * A * b + (B2 * B * d + m[5]);
}

/* The transpose of transform_output. */
INLINE void transform_gradient(const vf g[4], vf o[6]) {
    vf a = g[0] + A2 * g[2], b = g[1] + A2 * g[3];
    vf c = g[0] + B2 * g[2], d = g[1] + B2 * g[3];
    o[0] = g[0];
    o[1] = a + A * b;
    o[2] = a - A * b;
    o[3] = c + B * d;
    o[4] = c - B * d;
    o[5] = g[3];
}

INLINE void transform_filter(const vf w[3], vf o[6]) {
    vf a = OF_A * (w[0] + A2 * w[2]), b = OF_A * A * w[1];
    vf c = OF_B * (w[0] + B2 * w[2]), d = OF_B * B * w[1];
    o[0] = w[0] * (1 / (A2 * B2));
    o[1] = a + b;
    o[2] = a - b;
    o[3] = c + d;
    o[4] = c - d;
    o[5] = w[2];
}

/* The transpose of transform_filter. */
INLINE void transform_filter_back(const vf u[6], vf o[3]) {
    vf a = OF_A * (u[1] + u[2]), b = OF_B * (u[3] + u[4]);
    o[0] = u[0] * (1 / (A2 * B2)) + a + b;
    o[1] = OF_A * A * (u[1] - u[2]) + OF_B * B * (u[3] - u[4]);
    o[2] = A2 * a + B2 * b + u[5];
}

#undef A
#undef B

/* --- transformed volumes --- */

/* What a transformed value becomes in memory. */
enum kind { FLOATS, HALVES };

/* `scale` is of halves. */
INLINE void put(void *to, int64_t at, vf value, float scale, const enum kind kind) {
    if (kind == FLOATS) store((float *)to + at, value);
#if HALF
    if (kind == HALVES) store_halves((half_float *)to + at, value * scale);
#else
    (void)scale;
#endif
}

#if HALF
/* Stores two transformed lines as pairs, to places `next` apart. */
INLINE void interleave(const half_float lines[PLACES][2][VL], float *to, int64_t next) {
    for (int64_t place = 0; place < PLACES; place++)
        store_pairs(to + place * next, load_halves(lines[place][0]), load_halves(lines[place][1]));
}
#endif

/* What is transformed: windows of inputs, or the gradients of a tile's outputs. */
enum side { WINDOW = 6, TILE = 4 };

INLINE void transform_line(const vf *line, vf whole[6], const int side) {
    if (side == WINDOW)
        transform_input(line, whole);
    else
        transform_gradient(line, whole);
}

/* Transforms a square of pixels of a vector of channels, `scale` times as large, to places `next`
 * apart; three rows of places at a time, whose columns the registers hold. */
INLINE void transform_square(const float *from, int64_t row, int64_t column, float scale, void *to,
                             int64_t next, const int side, const enum kind kind) {
    vf half[3][6], line[6], whole[6];
    UNROLL for (int lower = 0; lower < 2; lower++) {
        UNROLL for (int x = 0; x < side; x++) {
            UNROLL for (int y = 0; y < side; y++) line[y] = load(from + y * row + x * column);
            transform_line(line, whole, side);
            UNROLL for (int y = 0; y < 3; y++) half[y][x] = whole[3 * lower + y];
        }
        UNROLL for (int y = 0; y < 3; y++) {
            transform_line(half[y], whole, side);
            UNROLL for (int x = 0; x < 6; x++)
                put(to, ((3 * lower + y) * 6 + x) * next, whole[x], scale, kind);
        }
    }
}

/* The same, a function for each kind. */
#define SQUARE(name, side, kind)                                                                 \
    __attribute__((unused)) APART void name(const float *from, int64_t row, int64_t column,       \
                                            float scale, void *to, int64_t next) {                \
        transform_square(from, row, column, scale, to, next, side, kind);                         \
    }
SQUARE(window_to_floats, WINDOW, FLOATS)
SQUARE(window_to_halves, WINDOW, HALVES)
SQUARE(tile_to_floats, TILE, FLOATS)
SQUARE(tile_to_halves, TILE, HALVES)
#undef SQUARE

INLINE void transform_apart(const float *from, int64_t row, int64_t column, float scale, void *to,
                            int64_t next, const int side, const enum kind kind) {
    if (side == WINDOW && kind == FLOATS) window_to_floats(from, row, column, scale, to, next);
    if (side == WINDOW && kind == HALVES) window_to_halves(from, row, column, scale, to, next);
    if (side == TILE && kind == FLOATS) tile_to_floats(from, row, column, scale, to, next);
    if (side == TILE && kind == HALVES) tile_to_halves(from, row, column, scale, to, next);
}

/* Transforms the square whose first pixel is (y0, x0) of an image of H by W at `image`, with zeros
 * around it. */
INLINE void transform_at(const float *image, int64_t H, int64_t W, int64_t channels, int64_t y0,
                         int64_t x0, float scale, void *to, int64_t next, const int side,
                         const enum kind kind) {
    const int64_t row = W * channels;
    const float *from = image + y0 * row + x0 * channels;
    if (y0 >= 0 && x0 >= 0 && y0 + side <= H && x0 + side <= W) {
        transform_apart(from, row, channels, scale, to, next, side, kind);
        return;
    }
    float square[WINDOW][WINDOW][VL];
    for (int64_t y = 0; y < side; y++)
        UNROLL for (int64_t x = 0; x < side; x++) {
            const int inside = y0 + y >= 0 && y0 + y < H && x0 + x >= 0 && x0 + x < W;
            store(square[y][x], load_if(from + y * row + x * channels, inside));
        }
    transform_apart(square[0][0], WINDOW * VL, VL, scale, to, next, side, kind);
}

INLINE void transform_inputs(const struct winograd *s, struct place p, int64_t c, float scale,
                             void *to, int64_t next, const enum kind kind) {
    const float *image = s->x + p.n * s->H * s->W * s->C + c;
    transform_at(image, s->H, s->W, s->C, p.y - s->P, p.x - s->P, scale, to, next, WINDOW, kind);
}

#if HALF
/* The largest |x| that the windows of these tiles hold. */
INLINE float largest_input(const struct winograd *s, const struct tiles *t, int64_t first,
                           int64_t count) {
    vf largest = {0};
    struct place p = place_of(t, first);
    for (int64_t i = 0; i < count; i++, p = place_after(t, p)) {
        /* The last two columns of a window are the first two of its neighbour's. */
        const int alone = i + 1 == count || p.x + 4 >= s->WO;
        const int64_t y0 = p.y > s->P ? p.y - s->P : 0, y1 = least(p.y - s->P + 6, s->H);
        const int64_t x0 = p.x > s->P ? p.x - s->P : 0;
        const int64_t x1 = least(p.x - s->P + (alone ? 6 : 4), s->W);
        for (int64_t y = y0; y < y1; y++) {
            const float *row = s->x + ((p.n * s->H + y) * s->W + x0) * s->C;
            largest = larger_of(largest, row, (x1 - x0) * s->C);
        }
    }
    return largest_lane(largest);
}
#endif

/* What the pass for the filters' gradient needs of the other one. */
void convolens_winograd_forward(struct winograd *s);
void winograd_transform_filters(struct winograd *s);
/* Convolves a chunk; returns where the volume that it read begins, and memory of this thread.
 * `beside` is another volume as large as the outputs whose rows are wanted next; or NULL. */
const float *winograd_convolve_chunk(const struct winograd *s, int64_t chunk, int64_t thread,
                                     const float *beside, float **room);

#endif
