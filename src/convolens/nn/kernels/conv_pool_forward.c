/* The forward pass of conv_pool.h. */
#include "conv_pool.h"

#define BLOCK 3 /* vectors of output channels computed together, at most */
#define PIXELS (MANY_REGISTERS ? 2 : 1) /* pooled pixels computed together */

/* Of the channels beyond the last whole vector: how many are computed each by itself, with vectors
 * of taps, because the products of one more vector of channels, mostly in vain, would be more. */
static int64_t channels_alone(const struct conv_pool *s, const struct sizes *z) {
    const int64_t left = s->K % VL, sum = VL / 2; /* operations to sum a vector's lanes */
    return left * (z->taps_alone / VL + sum) < z->taps ? left : 0;
}

/* How many vectors of channels are computed together where so many are left. */
static int64_t block_of(int64_t vectors) { return vectors == 4 ? 2 : least(vectors, BLOCK); }

/* How many floats of memory Python must bring. */
void convolens_conv_pool_floats(const struct conv_pool *s, int64_t floats[4]) {
    struct sizes z = sizes_of(s);
    floats[0] = z.K_up * (z.taps_alone + 1);     /* packed, forward: weights and bias */
    floats[1] = forward_scratch(&z);             /* scratch, forward */
    floats[2] = has_few_taps(s, &z) ? few_taps_scratch(&z, s->K)
                                    : backward_scratch(&z, s->K); /* scratch, backward */
    floats[3] = partial_floats(&z, s->K);        /* partial; also packed, backward */
}

/* One picture as (H + 2P, W + 2P, C), with zeros around it and behind it. */
void copy_image(const struct conv_pool *s, const struct sizes *z, int64_t n, float *image) {
    const int64_t *st = s->x_strides;
    const float *x = s->x + n * st[0];
    if (s->P) memset(image, 0, (size_t)(z->rows * z->row) * sizeof(float));
    for (int64_t y = 0; y < s->H; y++) {
        float *to = image + (y + s->P) * z->row + s->P * s->C;
        const float *from = x + y * st[2];
        if (st[1] == 1 && st[3] == s->C) {
            memcpy(to, from, (size_t)(s->W * s->C) * sizeof(float));
            continue;
        }
        for (int64_t col = 0; col < s->W; col++)
            for (int64_t c = 0; c < s->C; c++) to[col * s->C + c] = from[col * st[3] + c * st[1]];
    }
    memset(image + z->rows * z->row, 0, (size_t)(z->image - z->rows * z->row) * sizeof(float));
}

/* The bias; then (blocks of channels, taps, channels of the block); then, of channels that are
 * computed alone, (channels, KH, run), each run in whole vectors. */
static void pack_forward(const struct conv_pool *s, const struct sizes *z) {
    const int64_t *st = s->weight_strides;
    const int64_t together = s->K - channels_alone(s, z);
    float *to = s->packed;
    for (int64_t k = 0; k < z->K_up; k++) *to++ = k < s->K && s->bias ? s->bias[k] : 0.0f;
    for (int64_t k0 = 0, width; k0 < together; k0 += width) {
        width = block_of(round_up(together - k0) / VL) * VL;
        for (int64_t y = 0; y < s->KH; y++)
            for (int64_t x = 0; x < s->KW; x++)
                for (int64_t c = 0; c < s->C; c++)
                    for (int64_t k = k0; k < k0 + width; k++)
                        *to++ = k < s->K ? s->weight[k * st[0] + c * st[1] + y * st[2] + x * st[3]]
                                         : 0.0f;
    }
    for (int64_t k = together; k < s->K; k++)
        for (int64_t y = 0; y < s->KH; y++, to += round_up(z->run)) {
            memset(to, 0, (size_t)round_up(z->run) * sizeof(float));
            copy_run(s, k, y, to);
        }
}

struct tile {
    const float *image; /* at the window's first pixel */
    const float *weights, *bias;
    float *out;
    uint8_t *places;
    int64_t pixel; /* from one pooled pixel to the next */
    int64_t K;     /* channels to be stored */
};

INLINE void pool_tile(const struct conv_pool *s, struct tile t, vf a, vf b, vf c, vf d,
                      int64_t at, int64_t K) {
    vf best = a;
    vi place = {0};
    const vf others[3] = {b, c, d};
    UNROLL for (int i = 0; i < 3; i++) {
        vi win = wins(others[i], best);
        best = choose(win, others[i], best);
        place = (win & (i + 1)) | (~win & place);
    }
    if (s->relu) {
        vi dead = best <= 0.0f;
        best = (vf)(~dead & (vi)best);
        place = (dead & DEAD) | (~dead & place);
    }
    store_part(t.out + at, best, K);
    if (t.places) store_bytes(t.places + at, place, K);
}

INLINE void conv_tile(const struct conv_pool *s, const struct sizes *z, struct tile t,
                      const int pixels, const int vectors) {
    vf sum[2][2 * PIXELS][BLOCK];
    UNROLL for (int y = 0; y < 2; y++)
        UNROLL for (int x = 0; x < 2 * pixels; x++)
            UNROLL for (int v = 0; v < vectors; v++) sum[y][x][v] = load(t.bias + v * VL);
    const float *w = t.weights;
    for (int64_t i = 0; i < s->KH; i++) {
        const float *from = t.image + i * z->row;
        for (int64_t r = 0; r < z->run; r++, from++, w += vectors * VL)
            UNROLL for (int y = 0; y < 2; y++)
                UNROLL for (int x = 0; x < 2 * pixels; x++)
                    UNROLL for (int v = 0; v < vectors; v++)
                        sum[y][x][v] += load(w + v * VL) * from[y * z->row + x * s->C];
    }
    UNROLL for (int p = 0; p < pixels; p++)
        UNROLL for (int v = 0; v < vectors; v++)
            pool_tile(s, t, sum[0][2 * p][v], sum[0][2 * p + 1][v], sum[1][2 * p][v],
                      sum[1][2 * p + 1][v], p * t.pixel + v * VL, t.K - v * VL);
}

INLINE void forward_row(const struct conv_pool *s, const struct sizes *z, struct tile t,
                        const int vectors) {
    int64_t px = 0;
    for (; px + PIXELS <= z->WP; px += PIXELS) {
        conv_tile(s, z, t, PIXELS, vectors);
        t.image += 2 * PIXELS * s->C;
        t.out += PIXELS * t.pixel;
        t.places += t.places ? PIXELS * t.pixel : 0;
    }
    if (px < z->WP) conv_tile(s, z, t, 1, vectors);
}

/* The sums of the lanes of four vectors. */
INLINE v4 sums_of_lanes(const vf vectors[4]) {
    float lanes[4][VL], turned[4][4];
    v4 sums[4];
    UNROLL for (int i = 0; i < 4; i++) {
        store(lanes[i], vectors[i]);
        sums[i] = *(const v4_anywhere *)lanes[i];
        UNROLL for (int j = 4; j < VL; j += 4) sums[i] += *(const v4_anywhere *)(lanes[i] + j);
        *(v4_anywhere *)turned[i] = sums[i];
    }
    v4 sum = {0};
    UNROLL for (int j = 0; j < 4; j++)
        sum += (v4){turned[0][j], turned[1][j], turned[2][j], turned[3][j]};
    return sum;
}

/* One row of windows of channels that are computed alone. */
static void forward_row_alone(const struct conv_pool *s, const struct sizes *z, struct tile t) {
    for (int64_t px = 0; px < z->WP; px++) {
        float sums[4][VL] = {{0}};
        const float *w = t.weights;
        for (int64_t k = 0; k < t.K; k++) {
            vf sum[4] = {{0}};
            for (int64_t i = 0; i < s->KH; i++) {
                const float *from = t.image + i * z->row;
                for (int64_t r = 0; r < z->run; r += VL, w += VL)
                    UNROLL for (int p = 0; p < 4; p++)
                        sum[p] += load(w) * load_part(from + (p >> 1) * z->row + (p & 1) * s->C + r,
                                                      z->run - r);
            }
            const v4 whole = sums_of_lanes(sum) + t.bias[k];
            UNROLL for (int p = 0; p < 4; p++) sums[p][k] = whole[p];
        }
        pool_tile(s, t, load(sums[0]), load(sums[1]), load(sums[2]), load(sums[3]), 0, t.K);
        t.image += 2 * s->C;
        t.out += t.pixel;
        t.places += t.places ? t.pixel : 0;
    }
}

static void forward_part(void *data, int64_t n, int64_t thread) {
    const struct conv_pool *s = data;
    struct sizes z = sizes_of(s);
    float *image = s->scratch + thread * forward_scratch(&z);
    float *mine = s->out + n * z.pixels * s->K, *staged = image + z.image;
    float *out = s->channels_last ? mine : staged;
    uint8_t *places = s->places ? s->places + n * z.pixels * s->K : NULL;
    const int64_t together = s->K - channels_alone(s, &z);
    copy_image(s, &z, n, image);
    for (int64_t k0 = 0, width; k0 < s->K; k0 += width) {
        const int64_t vectors = k0 < together ? block_of(round_up(together - k0) / VL) : 0;
        width = vectors ? vectors * VL : s->K - together;
        for (int64_t py = 0; py < z.HP; py++) {
            int64_t at = py * z.WP * s->K + k0;
            struct tile t = {.image = image + 2 * py * z.row,
                             .weights = s->packed + z.K_up + k0 * z.taps,
                             .bias = s->packed + k0,
                             .out = out + at,
                             .places = places ? places + at : NULL,
                             .pixel = s->K,
                             .K = least(width, s->K - k0)};
            if (vectors == 3) forward_row(s, &z, t, 3);
            if (vectors == 2) forward_row(s, &z, t, 2);
            if (vectors == 1) forward_row(s, &z, t, 1);
            if (vectors == 0) forward_row_alone(s, &z, t);
        }
    }
    if (!s->channels_last) transpose(staged, s->K, mine, z.pixels, z.pixels, s->K);
}

void convolens_conv_pool_forward(struct conv_pool *s) {
    struct sizes z = sizes_of(s);
    pack_forward(s, &z);
    run_parts(forward_part, s, s->N, s->num_threads);
}
