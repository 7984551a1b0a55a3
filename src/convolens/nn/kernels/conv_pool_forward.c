/* The forward pass of conv_pool.h. */
#include "conv_pool.h"

#define BLOCK (2 * VL) /* output channels computed together */
#define PIXELS (MANY_REGISTERS ? 2 : 1) /* pooled pixels computed together */

/* How many floats of memory Python must bring. */
void convolens_conv_pool_floats(const struct conv_pool *s, int64_t floats[4]) {
    struct sizes z = sizes_of(s);
    floats[0] = z.K_up * z.taps + z.K_up;        /* packed, forward: weights and bias */
    floats[1] = forward_scratch(&z);             /* scratch, forward */
    floats[2] = backward_scratch(&z, s->K);      /* scratch, backward */
    floats[3] = partial_floats(&z, s->K);   /* partial; also packed, backward */
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

/* (blocks of channels, taps, channels of the block), then the bias. */
static void pack_forward(const struct conv_pool *s, const struct sizes *z) {
    const int64_t *st = s->weight_strides;
    float *to = s->packed;
    for (int64_t k0 = 0; k0 < s->K; k0 += BLOCK) {
        int64_t width = least(BLOCK, z->K_up - k0);
        for (int64_t y = 0; y < s->KH; y++)
            for (int64_t x = 0; x < s->KW; x++)
                for (int64_t c = 0; c < s->C; c++)
                    for (int64_t k = k0; k < k0 + width; k++)
                        *to++ = k < s->K ? s->weight[k * st[0] + c * st[1] + y * st[2] + x * st[3]]
                                         : 0.0f;
    }
    for (int64_t k = 0; k < z->K_up; k++) *to++ = k < s->K && s->bias ? s->bias[k] : 0.0f;
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
    vf sum[2][2 * PIXELS][2];
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

static void forward_row(const struct conv_pool *s, const struct sizes *z, struct tile t) {
    int64_t px = 0;
    for (; px + PIXELS <= z->WP; px += PIXELS) {
        if (t.K > VL)
            conv_tile(s, z, t, PIXELS, 2);
        else
            conv_tile(s, z, t, PIXELS, 1);
        t.image += 2 * PIXELS * s->C;
        t.out += PIXELS * t.pixel;
        t.places += t.places ? PIXELS * t.pixel : 0;
    }
    if (px < z->WP && t.K > VL) conv_tile(s, z, t, 1, 2);
    if (px < z->WP && t.K <= VL) conv_tile(s, z, t, 1, 1);
}

static void forward_part(void *data, int64_t n, int64_t thread) {
    const struct conv_pool *s = data;
    struct sizes z = sizes_of(s);
    float *image = s->scratch + thread * forward_scratch(&z);
    float *mine = s->out + n * z.pixels * s->K, *staged = image + z.image;
    float *out = s->channels_last ? mine : staged;
    uint8_t *places = s->places ? s->places + n * z.pixels * s->K : NULL;
    copy_image(s, &z, n, image);
    for (int64_t k0 = 0; k0 < s->K; k0 += BLOCK)
        for (int64_t py = 0; py < z.HP; py++) {
            int64_t at = py * z.WP * s->K + k0;
            struct tile t = {.image = image + 2 * py * z.row,
                             .weights = s->packed + k0 * z.taps,
                             .bias = s->packed + z.K_up * z.taps + k0,
                             .out = out + at,
                             .places = places ? places + at : NULL,
                             .pixel = s->K,
                             .K = least(BLOCK, s->K - k0)};
            forward_row(s, &z, t);
        }
    if (!s->channels_last) transpose(staged, s->K, mine, z.pixels, z.pixels, s->K);
}

void convolens_conv_pool_forward(struct conv_pool *s) {
    struct sizes z = sizes_of(s);
    pack_forward(s, &z);
    run_parts(forward_part, s, s->N, s->num_threads);
}
