/* The gradients of filters with few taps, such as a network's first, whose input needs none.
 *
 * Vectors go along the filters, so that no tap is padded; a lane takes, of the four pixels that a
 * tap meets in a window, the one that won. These four lie side by side: "quads".
 */
#include "conv_pool.h"

#if defined(__AVX512F__)
#define MOST_TAPS 28 /* as many sums are held in registers */
#define UNROLL_TAPS _Pragma("GCC unroll 28")

int has_few_taps(const struct conv_pool *s, const struct sizes *z) {
    return !s->grad_x && z->taps <= MOST_TAPS;
}

int64_t few_taps_scratch(const struct sizes *z, int64_t K) {
    return 5 * z->image + round_up(K * z->pixels) + z->K_up * (MOST_TAPS + 1);
}

/* The value of place 0 to 3 in each lane; DEAD takes the first, for a gradient of 0. */
INLINE vf value_at(const float *quad, vi place) {
    const __m512 quads = _mm512_broadcast_f32x4(_mm_loadu_ps(quad));
    return (vf)_mm512_permutevar_ps(quads, (__m512i)place);
}

/* A thread's memory while it works on one image. */
struct desk {
    float *image, *quads, *grads;
    float *sums;                /* (vectors of filters, MOST_TAPS and the bias, VL) */
    int64_t offsets[MOST_TAPS]; /* of a tap's quad from that of the window's first pixel */
};

static void fill_quads(const struct conv_pool *s, const struct sizes *z, const struct desk *d) {
    float *to = d->quads;
    for (int64_t y = 0; y + 1 < z->rows; y++) {
        const float *from = d->image + y * z->row, *below = from + z->row;
        for (int64_t i = 0; i + s->C < z->row; i++) {
            const v4 quad = {from[i], from[i + s->C], below[i], below[i + s->C]};
            *(v4_anywhere *)(to + 4 * i) = quad;
        }
        to += 4 * z->row;
    }
}

/* Adds one image's gradients to the sums of a vector of filters, of which `left` exist. */
INLINE void add_image(const struct conv_pool *s, const struct sizes *z, const struct desk *d,
                      const float *grads, const uint8_t *places, int64_t left, float *sums,
                      const int taps) {
    const int64_t K = s->K, step = 8 * s->C;
    vf sum[MOST_TAPS], bias = load(sums + MOST_TAPS * VL);
    UNROLL_TAPS for (int t = 0; t < taps; t++) sum[t] = load(sums + t * VL);
    for (int64_t py = 0; py < z->HP; py++) {
        const float *quads = d->quads + 8 * py * z->row;
        for (int64_t px = 0; px < z->WP; px++, quads += step, grads += K, places += K) {
            const vi place = load_bytes(places, left);
            const vf grad = (vf)(~(place == DEAD) & (vi)load_part(grads, left));
            bias += grad;
            UNROLL_TAPS for (int t = 0; t < taps; t++)
                sum[t] += value_at(quads + d->offsets[t], place) * grad;
        }
    }
    UNROLL_TAPS for (int t = 0; t < taps; t++) store(sums + t * VL, sum[t]);
    store(sums + MOST_TAPS * VL, bias);
}

APART void add_9_taps(const struct conv_pool *s, const struct sizes *z, const struct desk *d,
                      const float *grads, const uint8_t *places, int64_t left, float *sums) {
    add_image(s, z, d, grads, places, left, sums, 9);
}

APART void add_25_taps(const struct conv_pool *s, const struct sizes *z, const struct desk *d,
                       const float *grads, const uint8_t *places, int64_t left, float *sums) {
    add_image(s, z, d, grads, places, left, sums, 25);
}

APART void add_28_taps(const struct conv_pool *s, const struct sizes *z, const struct desk *d,
                       const float *grads, const uint8_t *places, int64_t left, float *sums) {
    add_image(s, z, d, grads, places, left, sums, 28);
}

void few_taps_part(const struct conv_pool *s, const struct sizes *z, int64_t part, int64_t thread) {
    const int64_t K = s->K, count = z->pixels * K, each = (MOST_TAPS + 1) * VL;
    struct desk d = {.image = s->scratch + thread * few_taps_scratch(z, K)};
    d.quads = d.image + z->image;
    d.grads = d.quads + 4 * z->image;
    d.sums = d.grads + round_up(count);
    for (int64_t t = 0; t < MOST_TAPS; t++) /* those that do not exist take any value */
        d.offsets[t] = t < z->taps ? 4 * (t / z->run * z->row + t % z->run) : 0;
    memset(d.sums, 0, (size_t)(z->K_up / VL * each) * sizeof(float));
    const int64_t end = first_of_part(part + 1, s->num_parts, s->N);
    for (int64_t n = first_of_part(part, s->num_parts, s->N); n < end; n++) {
        const float *grads = s->grad_out + n * count;
        copy_image(s, z, n, d.image);
        fill_quads(s, z, &d);
        if (!s->channels_last) {
            transpose(grads, z->pixels, d.grads, K, K, z->pixels);
            grads = d.grads;
        }
        for (int64_t k = 0; k < K; k += VL) {
            const uint8_t *places = s->places + n * count + k;
            float *sums = d.sums + k / VL * each;
            if (z->taps <= 9)
                add_9_taps(s, z, &d, grads + k, places, K - k, sums);
            else if (z->taps <= 25)
                add_25_taps(s, z, &d, grads + k, places, K - k, sums);
            else
                add_28_taps(s, z, &d, grads + k, places, K - k, sums);
        }
    }
    float *to = s->partial + part * partial_floats(z, K), *bias = to + K * z->patch;
    for (int64_t k = 0; k < K; k++, to += z->patch) {
        const float *sums = d.sums + k / VL * each + k % VL;
        for (int64_t t = 0; t < z->taps; t++) to[t] = sums[t * VL];
        bias[k] = sums[MOST_TAPS * VL];
    }
}
#else
int has_few_taps(const struct conv_pool *s, const struct sizes *z) {
    (void)s, (void)z;
    return 0;
}
int64_t few_taps_scratch(const struct sizes *z, int64_t K) {
    (void)z, (void)K;
    return 0;
}
void few_taps_part(const struct conv_pool *s, const struct sizes *z, int64_t part, int64_t thread) {
    (void)s, (void)z, (void)part, (void)thread;
}
#endif
