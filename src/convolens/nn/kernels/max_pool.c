/* Max-pooling of channels-last volumes, optionally followed by ReLU, and its gradient.
 *
 * Forward stores the place of the greatest value in its window (row * size + column; DEAD where
 * ReLU stopped it) in one byte. Backward finishes one row of the picture after another while the
 * cache holds it, so the memory is written once and no two threads meet.
 */
#include "simd.h"

#define DEAD 255

struct max_pool {
    int64_t N, C, H, W, HO, WO;
    int64_t size, stride, P;
    int64_t relu, num_parts, num_threads;
    const float *x;
    float *out;
    uint8_t *places;
    const float *grad_out;
    float *grad_x;
};

INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

INLINE void pool_window(const struct max_pool *s, const float *image, int64_t oy, int64_t ox,
                        float *out, uint8_t *places, int64_t size, int64_t stride, int64_t P) {
    const int64_t y0 = oy * stride - P, x0 = ox * stride - P, C = s->C;
    const int64_t top = P ? most(0, -y0) : 0, left = P ? most(0, -x0) : 0;
    const int64_t bottom = P ? least(size, s->H - y0) : size;
    const int64_t right = P ? least(size, s->W - x0) : size;
    for (int64_t c = 0; c < C; c += VL) {
        vf best = (vf){0} - __builtin_inff();
        vi place = (vi){0} + (int32_t)(top * size + left);
        for (int64_t y = top; y < bottom; y++)
            for (int64_t x = left; x < right; x++) {
                vf value = load_part(image + ((y0 + y) * s->W + x0 + x) * C + c, C - c);
                vi win = wins(value, best);
                best = choose(win, value, best);
                place = (win & (int32_t)(y * size + x)) | (~win & place);
            }
        if (s->relu) {
            vi dead = best <= 0.0f;
            best = (vf)(~dead & (vi)best);
            place = (dead & DEAD) | (~dead & place);
        }
        store_part(out + c, best, C - c);
        if (places) store_bytes(places + c, place, C - c);
    }
}

static void forward_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct max_pool *s = data;
    int64_t end = first_of_part(part + 1, s->num_parts, s->N * s->HO);
    for (int64_t row = first_of_part(part, s->num_parts, s->N * s->HO); row < end; row++) {
        const float *image = s->x + row / s->HO * s->H * s->W * s->C;
        for (int64_t ox = 0; ox < s->WO; ox++) {
            int64_t oy = row % s->HO, at = (row * s->WO + ox) * s->C;
            float *out = s->out + at;
            uint8_t *places = s->places ? s->places + at : NULL;
            if (s->size == 2 && s->stride == 2 && s->P == 0)
                pool_window(s, image, oy, ox, out, places, 2, 2, 0);
            else if (s->size == 3 && s->stride == 2 && s->P == 1)
                pool_window(s, image, oy, ox, out, places, 3, 2, 1);
            else
                pool_window(s, image, oy, ox, out, places, s->size, s->stride, s->P);
        }
    }
}

/* Adds what the windows of row `oy` send to row `y` of the picture, which the cache holds. */
INLINE void add_row(const struct max_pool *s, int64_t n, int64_t oy, int64_t y, float *to,
                    int64_t size, int64_t stride, int64_t P) {
    const int64_t C = s->C, W = s->W, first = (y + P - oy * stride) * size;
    for (int64_t ox = 0; ox < s->WO; ox++) {
        const int64_t at = ((n * s->HO + oy) * s->WO + ox) * C, x0 = ox * stride - P;
        for (int64_t c = 0; c < C; c += VL) {
            vi place = load_bytes(s->places + at + c, C - c);
            vi grad = (vi)load_part(s->grad_out + at + c, C - c);
            for (int64_t i = P ? most(0, -x0) : 0; i < (P ? least(size, W - x0) : size); i++) {
                float *value = to + (x0 + i) * C + c;
                vf sent = (vf)((place == (int32_t)(first + i)) & grad);
                if (size > stride) sent += load_part(value, C - c);
                store_part(value, sent, C - c);
            }
        }
    }
}

static void backward_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct max_pool *s = data;
    const int64_t size = s->size, stride = s->stride, P = s->P;
    int64_t end = first_of_part(part + 1, s->num_parts, s->N * s->H);
    for (int64_t row = first_of_part(part, s->num_parts, s->N * s->H); row < end; row++) {
        int64_t n = row / s->H, y = row % s->H, low = y + P - size + 1;
        float *to = s->grad_x + row * s->W * s->C;
        memset(to, 0, (size_t)(s->W * s->C) * sizeof(float));
        for (int64_t oy = low > 0 ? (low + stride - 1) / stride : 0;
             oy <= least((y + P) / stride, s->HO - 1); oy++)
            if (size == 2 && stride == 2 && P == 0)
                add_row(s, n, oy, y, to, 2, 2, 0);
            else if (size == 3 && stride == 2 && P == 1)
                add_row(s, n, oy, y, to, 3, 2, 1);
            else
                add_row(s, n, oy, y, to, size, stride, P);
    }
}

void convolens_max_pool_forward(struct max_pool *s) {
    run_parts(forward_part, s, s->num_parts, s->num_threads);
}

void convolens_max_pool_backward(struct max_pool *s) {
    run_parts(backward_part, s, s->num_parts, s->num_threads);
}
