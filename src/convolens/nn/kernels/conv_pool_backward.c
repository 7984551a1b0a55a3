/* The backward pass of conv_pool.h. */
#include "conv_pool.h"


/* A thread's memory while it works on one image. */
struct desk {
    float *image, *grad_image;
    float *columns, *grad_columns; /* patches (2 band, 2 WP, patch) */
    float *grads;                  /* (HP, WP, K); 0 where ReLU stopped the value */
    int32_t *offsets;              /* (HP, WP, K): from the window's first patch to that which won */
    int32_t *bases;                /* (HP, WP): where the window's first patch lies in `columns` */
    float *listed_grads;           /* (band, WP, K), for each window sorted by place */
    int32_t *listed;               /* where those filters lie in `packed` */
    int32_t *starts;               /* (band, WP, 5): where each place's list begins */
};

static struct desk desk_of(const struct conv_pool *s, const struct sizes *z, int64_t thread) {
    struct desk d;
    int64_t all = round_up(s->K * z->pixels), listed = round_up(s->K * z->WP * z->band);
    d.image = s->scratch + thread * backward_scratch(z, s->K);
    d.grad_image = d.image + z->image;
    d.columns = d.grad_image + z->image;
    d.grad_columns = d.columns + z->columns;
    d.grads = d.grad_columns + z->columns;
    d.offsets = (int32_t *)(d.grads + all);
    d.listed_grads = d.grads + 2 * all;
    d.listed = (int32_t *)(d.listed_grads + listed);
    d.bases = d.listed + listed;
    d.starts = d.bases + z->pixels;
    for (int64_t i = 0; i < z->pixels; i++) {
        int64_t py = i / z->WP % z->band, px = i % z->WP;
        d.bases[i] = (int32_t)((4 * py * z->WP + 2 * px) * z->patch);
    }
    return d;
}

/* Whole vectors are copied; what overshoots is overwritten by the next run or lies in slack. */
static void fill_columns(const struct conv_pool *s, const struct sizes *z, struct desk *d,
                         int64_t py, int64_t band) {
    const int64_t KH = s->KH, C = s->C, run = z->run, row = z->row, patch = z->patch;
    float *to = d->columns;
    for (int64_t y = 2 * py; y < 2 * (py + band); y++)
        for (int64_t x = 0; x < 2 * z->WP; x++, to += patch) {
            const float *from = d->image + y * row + x * C;
            if (run <= 8) /* half as wide, so that fewer stores meet two lines of the cache */
                for (int64_t i = 0; i < KH; i++) memcpy(to + i * run, from + i * row, 32);
            else
                for (int64_t i = 0; i < KH; i++)
                    for (int64_t r = 0; r < run; r += VL)
                        store(to + i * run + r, load(from + i * row + r));
        }
}

static void read_gradient(const struct conv_pool *s, const struct sizes *z, struct desk *d,
                          int64_t n, float *grad_bias) {
    const int64_t count = z->pixels * s->K, K = s->K;
    const int32_t right = (int32_t)z->patch, below = (int32_t)(2 * z->WP * z->patch);
    const uint8_t *places = s->places + n * count;
    const float *from = s->grad_out + n * count;
    float *grads = d->grads;
    int32_t *offsets = d->offsets;
    if (!s->channels_last) {
        transpose(from, z->pixels, grads, K, K, z->pixels);
        from = grads;
    }
    for (int64_t i = 0; i < count; i += VL) {
        int64_t part = count - i;
        vi place = load_bytes(places + i, part);
        vi dead = place == DEAD;
        store_part(grads + i, (vf)(~dead & (vi)load_part(from + i, part)), part);
        vi offset = (-(place & 1) & right) + (-(place >> 1 & 1) & below);
        store_part((float *)offsets + i, (vf)offset, part);
    }
    for (int64_t k = 0; k < K; k += VL) { /* lanes beyond the last channel are not kept */
        vf sum = {0};
        for (int64_t i = k; i < count; i += K) sum += load_part(grads + i, count - i);
        for (int64_t lane = 0; lane < least(VL, K - k); lane++) grad_bias[k + lane] += sum[lane];
    }
}

/* Of one band: its windows, their gradients, and where their patches lie. */
struct windows {
    int64_t count, first; /* the first among those of the image */
};

INLINE void weight_tile(const struct conv_pool *s, const struct sizes *z, const struct desk *d,
                        struct windows w, float *grad_weight, int64_t k, int64_t tap,
                        const int filters, const int vectors) {
    vf sum[4][8];
    const int64_t K = s->K, patch = z->patch;
    float *to = grad_weight + k * patch + tap;
    const float *grads = d->grads + w.first * K + k, *columns = d->columns + tap;
    const int32_t *offsets = d->offsets + w.first * K + k, *bases = d->bases + w.first;
    UNROLL for (int f = 0; f < filters; f++)
        UNROLL for (int v = 0; v < vectors; v++) sum[f][v] = load(to + f * patch + v * VL);
    for (int64_t i = 0; i < w.count; i++, grads += K, offsets += K)
        UNROLL for (int f = 0; f < filters; f++) {
            const float *from = columns + bases[i] + offsets[f];
            UNROLL for (int v = 0; v < vectors; v++) sum[f][v] += load(from + v * VL) * grads[f];
        }
    UNROLL for (int f = 0; f < filters; f++)
        UNROLL for (int v = 0; v < vectors; v++) store(to + f * patch + v * VL, sum[f][v]);
}

static void add_weight_gradient(const struct conv_pool *s, const struct sizes *z,
                                const struct desk *d, struct windows w, float *to) {
    int64_t tap = 0, k;
    for (; MANY_REGISTERS && tap + 8 * VL <= z->taps_up; tap += 8 * VL) {
        for (k = 0; k + 2 <= s->K; k += 2) weight_tile(s, z, d, w, to, k, tap, 2, 8);
        for (; k < s->K; k++) weight_tile(s, z, d, w, to, k, tap, 1, 8);
    }
    for (; tap + 4 * VL <= z->taps_up; tap += 4 * VL) {
        for (k = 0; k + 2 <= s->K; k += 2) weight_tile(s, z, d, w, to, k, tap, 2, 4);
        for (; k < s->K; k++) weight_tile(s, z, d, w, to, k, tap, 1, 4);
    }
    for (; tap + 2 * VL <= z->taps_up; tap += 2 * VL) {
        for (k = 0; k + 4 <= s->K; k += 4) weight_tile(s, z, d, w, to, k, tap, 4, 2);
        for (; k < s->K; k++) weight_tile(s, z, d, w, to, k, tap, 1, 2);
    }
    for (; tap < z->taps_up; tap += VL) {
        for (k = 0; k + 4 <= s->K; k += 4) weight_tile(s, z, d, w, to, k, tap, 4, 1);
        for (; k < s->K; k++) weight_tile(s, z, d, w, to, k, tap, 1, 1);
    }
}

/* Sorts the filters of every window by the place that won. */
static void list_filters(const struct conv_pool *s, const struct sizes *z, struct desk *d,
                         int64_t n, struct windows w) {
    const uint8_t *places = s->places + (n * z->pixels + w.first) * s->K;
    const float *grads = d->grads + w.first * s->K;
    int32_t *start = d->starts;
    for (int64_t i = 0; i < w.count; i++, places += s->K, grads += s->K, start += 5) {
        int32_t next[5] = {0};
        for (int64_t k = 0; k < s->K; k++) next[places[k]]++;
        start[0] = (int32_t)(i * s->K);
        for (int place = 0; place < 4; place++) {
            start[place + 1] = start[place] + next[place];
            next[place] = start[place];
        }
        next[DEAD] = start[DEAD];
        for (int64_t k = 0; k < s->K; k++) {
            int32_t to = next[places[k]]++;
            d->listed[to] = (int32_t)(k * z->patch);
            d->listed_grads[to] = grads[k];
        }
    }
}

INLINE void data_tile(const struct conv_pool *s, const struct sizes *z, const struct desk *d,
                      struct windows w, int64_t tap, const int vectors) {
    for (int64_t i = 0; i < w.count; i++)
        for (int place = 0; place < 4; place++) {
            vf sum[8] = {{0}};
            const int32_t *start = d->starts + 5 * i + place;
            for (int32_t at = start[0]; at < start[1]; at++)
                UNROLL for (int v = 0; v < vectors; v++)
                    sum[v] += load(s->packed + d->listed[at] + tap + v * VL) * d->listed_grads[at];
            int64_t column = (place & 1) + (place >> 1) * 2 * z->WP;
            float *to = d->grad_columns + d->bases[w.first + i] + column * z->patch + tap;
            UNROLL for (int v = 0; v < vectors; v++) store(to + v * VL, sum[v]);
        }
}

static void add_data_gradient(const struct conv_pool *s, const struct sizes *z,
                              const struct desk *d, struct windows w, int64_t py,
                              int64_t band) {
    int64_t tap = 0;
    for (; tap + 8 * VL <= z->taps_up; tap += 8 * VL) data_tile(s, z, d, w, tap, 8);
    for (; tap + 4 * VL <= z->taps_up; tap += 4 * VL) data_tile(s, z, d, w, tap, 4);
    for (; tap < z->taps_up; tap += VL) data_tile(s, z, d, w, tap, 1);
    const float *from = d->grad_columns;
    for (int64_t y = 2 * py; y < 2 * (py + band); y++)
        for (int64_t x = 0; x < 2 * z->WP; x++, from += z->patch)
            for (int64_t i = 0; i < s->KH; i++) {
                float *to = d->grad_image + (y + i) * z->row + x * s->C;
                for (int64_t r = 0; r < z->run; r++) to[r] += from[i * z->run + r];
            }
}

static void write_grad_image(const struct conv_pool *s, const struct sizes *z,
                             const float *image, int64_t n) {
    const int64_t *st = s->x_strides;
    for (int64_t y = 0; y < s->H; y++)
        for (int64_t x = 0; x < s->W; x++) {
            const float *from = image + (y + s->P) * z->row + (x + s->P) * s->C;
            float *to = s->grad_x + n * st[0] + y * st[2] + x * st[3];
            for (int64_t c = 0; c < s->C; c++) to[c * st[1]] = from[c];
        }
}

static void backward_image(const struct conv_pool *s, const struct sizes *z, struct desk *d,
                           int64_t n, float *grad_weight, float *grad_bias) {
    copy_image(s, z, n, d->image);
    read_gradient(s, z, d, n, grad_bias);
    if (s->grad_x) memset(d->grad_image, 0, (size_t)z->image * sizeof(float));
    for (int64_t py = 0; py < z->HP; py += z->band) {
        int64_t band = least(z->band, z->HP - py);
        struct windows w = {.count = band * z->WP, .first = py * z->WP};
        fill_columns(s, z, d, py, band);
        add_weight_gradient(s, z, d, w, grad_weight);
        if (!s->grad_x) continue;
        list_filters(s, z, d, n, w);
        add_data_gradient(s, z, d, w, py, band);
    }
    if (s->grad_x) write_grad_image(s, z, d->grad_image, n);
}

static void backward_part(void *data, int64_t part, int64_t thread) {
    const struct conv_pool *s = data;
    struct sizes z = sizes_of(s);
    if (has_few_taps(s, &z)) {
        few_taps_part(s, &z, part, thread);
        return;
    }
    struct desk d = desk_of(s, &z, thread);
    float *grad_weight = s->partial + part * partial_floats(&z, s->K);
    memset(grad_weight, 0, (size_t)partial_floats(&z, s->K) * sizeof(float));
    /* Between patches lies what was there before: as floats, perhaps subnormal ones, which a
     * processor multiplies a hundred times slower. */
    memset(d.columns, 0, (size_t)z.columns * sizeof(float));
    int64_t end = first_of_part(part + 1, s->num_parts, s->N);
    for (int64_t n = first_of_part(part, s->num_parts, s->N); n < end; n++)
        backward_image(s, &z, &d, n, grad_weight, grad_weight + s->K * z.patch);
}

/* Sums the parts in their order, for one filter. */
static void reduce_filter(void *data, int64_t k, int64_t thread) {
    (void)thread;
    const struct conv_pool *s = data;
    struct sizes z = sizes_of(s);
    const int64_t *st = s->weight_strides;
    int64_t floats = partial_floats(&z, s->K);
    float *sum = s->partial + k * z.patch;
    for (int64_t p = 1; p < s->num_parts; p++)
        for (int64_t t = 0; t < z.taps; t++) sum[t] += sum[p * floats + t];
    for (int64_t y = 0; y < s->KH; y++)
        for (int64_t x = 0; x < s->KW; x++)
            for (int64_t c = 0; c < s->C; c++)
                s->grad_weight[k * st[0] + c * st[1] + y * st[2] + x * st[3]] = *sum++;
    if (!s->grad_bias) return;
    const float *bias = s->partial + s->K * z.patch + k;
    s->grad_bias[k] = 0.0f;
    for (int64_t p = 0; p < s->num_parts; p++) s->grad_bias[k] += bias[p * floats];
}

void convolens_conv_pool_backward(struct conv_pool *s) {
    struct sizes z = sizes_of(s);
    for (int64_t k = 0; s->grad_x && k < s->K; k++) {
        float *to = s->packed + k * z.patch;
        for (int64_t y = 0; y < s->KH; y++) to = copy_run(s, k, y, to);
        memset(to, 0, (size_t)(z.patch - z.taps) * sizeof(float));
    }
    run_parts(backward_part, s, s->num_parts, s->num_threads);
    run_parts(reduce_filter, s, s->K, s->num_threads);
}
