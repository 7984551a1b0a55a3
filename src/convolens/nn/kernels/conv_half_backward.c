/* The gradient of the filters: conv_half.h.
 *
 * Windows and gradients are written out in groups that are scaled alike, so many groups at a time
 * as a cache holds that all threads share; then each part adds the products of some rows and
 * filters to their sums, which no other part touches.
 */
#include "conv_half.h"

#if HALF == FLOAT16
#define SHARED_CACHE 2097152      /* floats of a batch of groups */
#define MOST_GROUPS 32            /* of a batch */
#define FILTERS_AT_ONCE (8 * VL)  /* whose gradients the second cache holds */
#define PARTS_PER_THREAD 4

struct layout {
    int64_t vectors, filters;  /* of VL numbers: of a window, of the gradient's channels */
    int64_t groups, at_once;   /* all of them, and those of a batch */
    int64_t ranges, row_parts; /* parts: of filters, of the vectors of a window */
    float *windows, *grads, *sums, *scales;
    int64_t floats;
};

/* A group's windows lie as (vectors, CHAIN, VL), its gradients likewise, both in pairs of windows;
 * the sums as (VL * vectors, K). */
static struct layout layout_of(const struct conv_half *s) {
    struct layout l = {.vectors = 2 * pairs_of(s) / VL, .filters = s->K / VL};
    l.groups = (windows_of(s) + GROUP - 1) / GROUP;
    l.at_once = SHARED_CACHE / (CHAIN * VL * (l.vectors + l.filters));
    l.at_once = least(l.at_once < s->num_threads ? s->num_threads : l.at_once, MOST_GROUPS);
    l.at_once = least(l.at_once, l.groups);
    l.ranges = (s->K + FILTERS_AT_ONCE - 1) / FILTERS_AT_ONCE;
    l.row_parts = least((PARTS_PER_THREAD * s->num_threads + l.ranges - 1) / l.ranges, l.vectors);
    l.windows = s->memory;
    l.grads = l.windows + l.at_once * l.vectors * CHAIN * VL;
    l.sums = l.grads + l.at_once * l.filters * CHAIN * VL;
    l.scales = l.sums + VL * l.vectors * s->K;
    l.floats = l.scales + l.at_once - s->memory;
    return l;
}

struct batch {
    const struct conv_half *s;
    struct layout l;
    int64_t first, count; /* groups */
};

static float largest_gradient(const struct conv_half *s, int64_t first, int64_t count) {
    vf largest = {0};
    for (int64_t i = 0; i < count; i++)
        largest = larger_of(largest, s->grad_out + out_of(s, first + i), s->K);
    return largest_lane(largest);
}

static void load_part_of_batch(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct batch *b = data;
    const struct conv_half *s = b->s;
    const struct layout *l = &b->l;
    const int64_t first = (b->first + part) * GROUP;
    const int64_t count = least(GROUP, windows_of(s) - first);
    const float in_scale = scale_to(largest_in_windows(s, first, count), FACTOR_MOST);
    const float grad_scale = scale_to(largest_gradient(s, first, count), FACTOR_MOST);
    float *windows = l->windows + part * l->vectors * CHAIN * VL;
    float *grads = l->grads + part * l->filters * CHAIN * VL;
    half_float lines[2][l->vectors * VL];
    memset(lines, 0, sizeof(lines));
    for (int64_t i = 0; i < count; i += 2, windows += VL, grads += VL) {
        const int alone = i + 1 == count;
        for (int j = 0; j < 2; j++)
            if (j && alone)
                memset(lines[1], 0, sizeof(lines[1]));
            else
                load_window(s, first + i + j, in_scale, lines[j]);
        for (int64_t v = 0; v < l->vectors; v++)
            store_pairs(windows + v * CHAIN * VL, load_halves(lines[0] + v * VL),
                        load_halves(lines[1] + v * VL));
        const float *one = s->grad_out + out_of(s, first + i);
        const float *other = alone ? one : s->grad_out + out_of(s, first + i + 1);
        for (int64_t v = 0; v < l->filters; v++)
            store_pairs(grads + v * CHAIN * VL, halves(load(one + v * VL) * grad_scale),
                        halves(alone ? (vf){0} : load(other + v * VL) * grad_scale));
    }
    l->scales[part] = 1 / in_scale / grad_scale;
}

static void add_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct batch *b = data;
    const struct conv_half *s = b->s;
    const struct layout *l = &b->l;
    const int64_t range = part / l->row_parts * FILTERS_AT_ONCE, piece = part % l->row_parts;
    const int64_t end = least(range + FILTERS_AT_ONCE, s->K);
    for (int64_t v = first_of_part(piece, l->row_parts, l->vectors);
         v < first_of_part(piece + 1, l->row_parts, l->vectors); v++)
        for (int64_t k = range; k < end; k += BLOCK)
            for (int64_t g = 0; g < b->count; g++) {
                const int64_t windows = least(GROUP, windows_of(s) - (b->first + g) * GROUP);
                const struct factors f = {
                    .a = l->windows + (g * l->vectors + v) * CHAIN * VL, .a_row = 1, .a_next = VL,
                    .b = l->grads + (g * l->filters + k / VL) * CHAIN * VL, .b_next = VL,
                    .b_vector = CHAIN * VL, .count = (windows + 1) / 2, .blocks = 1,
                    .to = l->sums + v * VL * s->K + k, .to_row = s->K, .to_vector = VL,
                    .scale = l->scales[g]};
                product_block(f, VL, end - k, b->first + g > 0, 1);
            }
}

static void store_sums(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct batch *b = data;
    const struct conv_half *s = b->s;
    const int64_t *st = s->weight_strides, k = part * VL;
    const float *from = b->l.sums + k;
    for (int64_t row = 0; row < s->rows; row++)
        for (int64_t column = 0; column < s->columns; column++)
            for (int64_t c = 0; c < s->C; c += VL, from += VL * s->K) {
                float block[VL][VL];
                for (int i = 0; i < VL; i++) store(block[i], load(from + i * s->K));
                float *to = s->grad_weight + k * st[0] + c * st[1] + row * st[2] + column * st[3];
                store_block(block, to, st[1], st[0]);
            }
}

int64_t convolens_conv_half_backward_floats(const struct conv_half *s) {
    return layout_of(s).floats;
}

void convolens_conv_half_backward(struct conv_half *s) {
    struct batch b = {.s = s, .l = layout_of(s)};
    for (; b.first < b.l.groups; b.first += b.count) {
        b.count = least(b.l.at_once, b.l.groups - b.first);
        run_parts(load_part_of_batch, &b, b.count, s->num_threads);
        run_parts(add_part, &b, b.l.ranges * b.l.row_parts, s->num_threads);
    }
    run_parts(store_sums, &b, s->K / VL, s->num_threads);
}
#endif
