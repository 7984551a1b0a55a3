/* Batch normalisation of channels-last volumes in training, an addition and an activation, in two
 * passes forward (statistics; result) and two backward (sums; gradient).
 *
 * A volume is read as rows of C values; where the convolution that wrote it left its sums, the pass
 * for statistics is left out. Sums run over blocks of rows in float and over blocks in
 * double; variances are taken about the part's first row, so a large mean costs no digits.
 */
#include "normalised.h"

#define ROWS 128 /* rows of a block: a block of 64 channels fills the first cache */

struct batch_norm {
    int64_t M, C; /* rows, channels */
    int64_t num_parts, num_threads;
    int64_t activation;
    double eps, momentum;
    const float *x, *residual, *weight, *bias;
    float *out, *mean, *inv_std;
    float *running_mean, *running_var; /* NULL where they are not kept */
    uint8_t *mask; /* (M, mask_row): where ReLU or ReLU6 let the value through; NULL without one */
    const float *grad_out;
    float *grad_x, *grad_residual, *grad_weight, *grad_bias;
    float *factors;  /* (2, C) forward and (3, C) backward: what the last pass multiplies and adds */
    const float *normal; /* (2, C): the factors of the forward pass, for SiLU and hard-swish */
    double *partial; /* (num_parts, 2, C) */
    const float *sums; /* (num_sums, SUMS, C) of whoever wrote x, or (num_sums, GRADIENT_SUMS, C) of
                          whoever wrote grad_out; NULL where these must be read */
    int64_t num_sums;
};

struct rows {
    int64_t first, count;
};

INLINE struct rows rows_of(const struct batch_norm *s, int64_t part) {
    struct rows r = {first_of_part(part, s->num_parts, s->M), 0};
    r.count = first_of_part(part + 1, s->num_parts, s->M) - r.first;
    return r;
}

int64_t convolens_batch_norm_mask_row(int64_t C) { return mask_row(C); }

/* Sums of x - shift and of its square, for the channels of one vector. */
INLINE void statistics_of(const float *x, int64_t rows, int64_t C, vf shift, int64_t left,
                          double *sums) {
    vf sum[4] = {{0}}, square[4] = {{0}};
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4)
        UNROLL for (int i = 0; i < 4; i++) {
            vf value = load_part(x + (r + i) * C, left) - shift;
            sum[i] += value;
            square[i] += value * value;
        }
    for (; r < rows; r++) {
        vf value = load_part(x + r * C, left) - shift;
        sum[0] += value;
        square[0] += value * value;
    }
    add_lanes(sums, (sum[0] + sum[1]) + (sum[2] + sum[3]), left);
    add_lanes(sums + C, (square[0] + square[1]) + (square[2] + square[3]), left);
}

static void statistics_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct batch_norm *s = data;
    const int64_t C = s->C;
    struct rows rows = rows_of(s, part);
    const float *x = s->x + rows.first * C;
    double *sums = s->partial + part * 2 * C;
    memset(sums, 0, (size_t)(2 * C) * sizeof(double));
    for (int64_t r = 0; r < rows.count; r += ROWS)
        for (int64_t c = 0; c < C; c += VL) {
            vf shift = load_part(x + c, C - c);
            int64_t count = least(ROWS, rows.count - r);
            if (C - c >= VL)
                statistics_of(x + r * C + c, count, C, shift, VL, sums + c);
            else
                statistics_of(x + r * C + c, count, C, shift, C - c, sums + c);
        }
}

/* Moves the running statistics towards those of a batch; the variance is the unbiased one. */
static void keep_running(const struct batch_norm *s, int64_t c, double mean, double var) {
    if (!s->running_mean) return;
    const double old_mean = (double)s->running_mean[c], old_var = (double)s->running_var[c];
    const double unbiased = var * (double)s->M / (double)(s->M - 1);
    s->running_mean[c] = (float)(old_mean + s->momentum * (mean - old_mean));
    s->running_var[c] = (float)(old_var + s->momentum * (unbiased - old_var));
}

struct moments {
    double seen, mean, squares; /* squares of distances from the mean, added up */
};

/* Joins the sums of n more values, less `shift`, and of their squares (Chan, Golub, LeVeque 1983). */
INLINE void join(struct moments *m, double n, double shift, double sum, double squares) {
    const double delta = shift + sum / n - m->mean;
    m->squares += squares - sum * sum / n + delta * delta * m->seen * n / (m->seen + n);
    m->mean += delta * n / (m->seen + n);
    m->seen += n;
}

static struct moments moments_of(const struct batch_norm *s, int64_t c) {
    struct moments m = {0, 0, 0};
    for (int64_t part = 0; part < s->num_sums; part++) {
        const float *sums = s->sums + part * SUMS * s->C + c;
        join(&m, (double)sums[COUNT * s->C], (double)sums[SHIFT * s->C],
             (double)sums[SUM * s->C], (double)sums[SQUARES * s->C]);
    }
    for (int64_t part = 0; !s->sums && part < s->num_parts; part++) {
        const struct rows rows = rows_of(s, part);
        const double *sums = s->partial + part * 2 * s->C + c;
        join(&m, (double)rows.count, (double)s->x[rows.first * s->C + c], sums[0], sums[s->C]);
    }
    return m;
}

/* Finishes the statistics of a vector of channels; parts are joined in their order. */
static void finish_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct batch_norm *s = data;
    for (int64_t c = part * VL; c < least(part * VL + VL, s->C); c++) {
        const struct moments m = moments_of(s, c);
        const double var = m.squares > 0 || m.squares != m.squares ? m.squares / m.seen : 0;
        const double inv = 1 / __builtin_sqrt(var + s->eps);
        const double scale = inv * (s->weight ? (double)s->weight[c] : 1);
        s->mean[c] = (float)m.mean;
        s->inv_std[c] = (float)inv;
        keep_running(s, c, m.mean, var);
        s->factors[c] = (float)scale;
        s->factors[s->C + c] = (float)((s->bias ? (double)s->bias[c] : 0) - m.mean * scale);
    }
}

/* Whether whole vectors of this volume pass the caches by. */
INLINE int passes(const struct batch_norm *s, const float *to, int64_t left) {
    return left >= VL && s->C % VL == 0 && goes_past_caches(to, s->M * s->C);
}

INLINE void put(float *to, vf value, int64_t left, const int past) {
    if (past)
        store_past(to, value, 1);
    else
        store_part(to, value, left);
}

/* After the addition; SiLU and hard-swish stand alone. What ReLU and ReLU6 let through is kept as
 * bits, so that the gradient need not read the values again; the slopes of the other two are computed
 * anew. */
enum activation { NONE, RELU, RELU6, SILU, HARD_SWISH };

/* e^x, to two bits of the last place, between e^-87 and e^88. */
INLINE vf exponential(vf x) {
    const vf low = (vf){0} - 87.0f, high = (vf){0} + 88.0f, magic = (vf){0} + 12582912.0f;
    x = choose(x < low, low, choose(x > high, high, x));
    const vf turned = x * 1.44269504f + magic; /* the nearest power of two is in its last bits */
    const vf power = turned - magic;
    const vf rest = (x - power * 0.693145752f) - power * 1.42860677e-6f;
    vf sum = rest * (1.0f / 720) + 1.0f / 120;
    sum = sum * rest + 1.0f / 24;
    sum = sum * rest + 1.0f / 6;
    sum = sum * rest + 0.5f;
    sum = sum * rest + 1.0f;
    sum = sum * rest + 1.0f;
    return sum * (vf)(((vi)turned << 23) + 0x3f800000);
}

INLINE vf silu(vf x) { return x / (1.0f + exponential(-x)); }

INLINE vf slope_of_silu(vf x) {
    const vf part = 1.0f / (1.0f + exponential(-x));
    return part * (1.0f + x * (1.0f - part));
}

INLINE vf hard_swish(vf x) {
    const vf zero = {0}, six = zero + 6.0f, up = x + 3.0f;
    return x * choose(up < zero, zero, choose(up > six, six, up)) * (1.0f / 6);
}

INLINE vf slope_of_hard_swish(vf x) {
    const vf zero = {0}, one = zero + 1.0f;
    return choose(x < zero - 3.0f, zero, choose(x > zero + 3.0f, one, x * (1.0f / 3) + 0.5f));
}

INLINE void normalise(const struct batch_norm *s, int64_t first, int64_t rows, int64_t c,
                      int64_t left, const int add, const enum activation activation) {
    const int past = passes(s, s->out, left);
    const vf scale = load_part(s->factors + c, left);
    const vf shift = load_part(s->factors + s->C + c, left);
    const vf six = (vf){0} + 6.0f;
    const int64_t C = s->C, mask_step = mask_row(C);
    const float *x = s->x + first * C + c, *residual = add ? s->residual + first * C + c : NULL;
    float *out = s->out + first * C + c;
    uint8_t *mask = s->mask ? s->mask + first * mask_step + c / VL * MASK_BYTES : NULL;
    for (int64_t r = 0; r < rows; r++) {
        vf value = load_part(x + r * C, left) * scale + shift;
        if (add) value += load_part(residual + r * C, left);
        if (activation == RELU || activation == RELU6) {
            const vi low = value <= 0.0f, high = activation == RELU6 ? value >= six : (vi){0};
            store_mask(mask + r * mask_step, ~(low | high));
            value = (vf)(~low & (vi)value);
            if (activation == RELU6) value = choose(high, six, value);
        }
        if (activation == SILU) value = silu(value);
        if (activation == HARD_SWISH) value = hard_swish(value);
        put(out + r * C, value, left, past);
    }
}

INLINE void normalise_block(const struct batch_norm *s, int64_t first, int64_t rows, int64_t c,
                            int64_t left, const int add) {
    switch (s->activation) {
    case NONE: normalise(s, first, rows, c, left, add, NONE); break;
    case RELU: normalise(s, first, rows, c, left, add, RELU); break;
    case RELU6: normalise(s, first, rows, c, left, add, RELU6); break;
    case SILU: normalise(s, first, rows, c, left, 0, SILU); break;
    case HARD_SWISH: normalise(s, first, rows, c, left, 0, HARD_SWISH); break;
    }
}

static void normalise_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct batch_norm *s = data;
    struct rows rows = rows_of(s, part);
    for (int64_t r = 0; r < rows.count; r += ROWS)
        for (int64_t c = 0; c < s->C; c += VL) {
            int64_t first = rows.first + r, count = least(ROWS, rows.count - r), left = s->C - c;
            if (left >= VL && s->residual)
                normalise_block(s, first, count, c, VL, 1);
            else if (left >= VL)
                normalise_block(s, first, count, c, VL, 0);
            else
                normalise_block(s, first, count, c, left, s->residual != NULL);
        }
    finish_stores();
}

/* Fills in mean, inv_std and (2, C) factors. */
void convolens_batch_norm_statistics(struct batch_norm *s) {
    if (!s->sums) run_parts(statistics_part, s, s->num_parts, s->num_threads);
    run_parts(finish_part, s, round_up(s->C) / VL, s->num_threads);
}

void convolens_batch_norm_normalise(struct batch_norm *s) {
    run_parts(normalise_part, s, s->num_parts, s->num_threads);
}

/* How a gradient passes the activation: as it is, where the mask lets it, or times a slope. */
enum passing { FREELY, MASKED, BY_SILU, BY_HARD_SWISH };

INLINE enum passing passing_of(const struct batch_norm *s) {
    if (s->mask) return MASKED;
    return s->activation == SILU ? BY_SILU : s->activation == HARD_SWISH ? BY_HARD_SWISH : FREELY;
}

/* Where a vector of channels of some rows lies, and what its gradient passes. */
struct reading {
    const float *grad, *x;
    const uint8_t *mask;
    int64_t C, mask_step;
    vf scale, shift;
};

INLINE struct reading read_from(const struct batch_norm *s, int64_t first, int64_t c, int64_t left,
                                const enum passing passing) {
    const int64_t at = first * s->C + c;
    struct reading from = {.grad = s->grad_out + at, .x = s->x + at, .C = s->C};
    if (passing == MASKED) {
        from.mask_step = mask_row(s->C);
        from.mask = s->mask + first * from.mask_step + c / VL * MASK_BYTES;
    } else if (passing != FREELY) {
        from.scale = load_part(s->normal + c, left);
        from.shift = load_part(s->normal + s->C + c, left);
    }
    return from;
}

/* A row's gradient before the activation; x is what was normalised. */
INLINE vf gradient_at(const struct reading *from, int64_t row, vf x, int64_t left,
                      const enum passing passing) {
    const vf grad = load_part(from->grad + row * from->C, left);
    if (passing == FREELY) return grad;
    if (passing == MASKED) return (vf)(load_mask(from->mask + row * from->mask_step) & (vi)grad);
    const vf value = x * from->scale + from->shift;
    return grad * (passing == BY_SILU ? slope_of_silu(value) : slope_of_hard_swish(value));
}

/* Sums of the gradient, and of the gradient times the normalised value. */
INLINE void sums_of(const struct batch_norm *s, int64_t first, int64_t rows, int64_t c,
                    int64_t left, double *sums, const enum passing passing) {
    const vf mean = load_part(s->mean + c, left);
    const struct reading from = read_from(s, first, c, left, passing);
    vf sum[4] = {{0}}, product[4] = {{0}};
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4)
        UNROLL for (int i = 0; i < 4; i++) {
            const vf x = load_part(from.x + (r + i) * from.C, left);
            const vf grad = gradient_at(&from, r + i, x, left, passing);
            sum[i] += grad;
            product[i] += grad * (x - mean);
        }
    for (; r < rows; r++) {
        const vf x = load_part(from.x + r * from.C, left);
        const vf grad = gradient_at(&from, r, x, left, passing);
        sum[0] += grad;
        product[0] += grad * (x - mean);
    }
    add_lanes(sums, (sum[0] + sum[1]) + (sum[2] + sum[3]), left);
    add_lanes(sums + s->C, (product[0] + product[1]) + (product[2] + product[3]), left);
}

INLINE void sums_block(const struct batch_norm *s, int64_t first, int64_t rows, int64_t c,
                       int64_t left, double *sums) {
    switch (passing_of(s)) {
    case FREELY: sums_of(s, first, rows, c, left, sums, FREELY); break;
    case MASKED: sums_of(s, first, rows, c, left, sums, MASKED); break;
    case BY_SILU: sums_of(s, first, rows, c, left, sums, BY_SILU); break;
    case BY_HARD_SWISH: sums_of(s, first, rows, c, left, sums, BY_HARD_SWISH); break;
    }
}

static void sums_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct batch_norm *s = data;
    struct rows rows = rows_of(s, part);
    double *sums = s->partial + part * 2 * s->C;
    memset(sums, 0, (size_t)(2 * s->C) * sizeof(double));
    for (int64_t r = 0; r < rows.count; r += ROWS)
        for (int64_t c = 0; c < s->C; c += VL) {
            int64_t first = rows.first + r, count = least(ROWS, rows.count - r), left = s->C - c;
            if (left >= VL)
                sums_block(s, first, count, c, VL, sums + c);
            else
                sums_block(s, first, count, c, left, sums + c);
        }
}

/* grad_x = f0 * grad + f1 * (x - mean) + f2, with grad as ReLU let it through. */
static void finish_sums(const struct batch_norm *s) {
    const int64_t C = s->C;
    for (int64_t c = 0; c < C; c++) {
        double sum = 0, product = 0, inv = (double)s->inv_std[c];
        for (int64_t part = 0; part < s->num_sums; part++) {
            sum += (double)s->sums[(part * GRADIENT_SUMS + GRADIENT) * C + c];
            product += (double)s->sums[(part * GRADIENT_SUMS + PRODUCT) * C + c];
        }
        for (int64_t part = 0; !s->sums && part < s->num_parts; part++) {
            sum += s->partial[part * 2 * C + c];
            product += s->partial[part * 2 * C + C + c];
        }
        if (s->grad_weight) s->grad_weight[c] = (float)(product * inv);
        if (s->grad_bias) s->grad_bias[c] = (float)sum;
        double scale = inv * (s->weight ? (double)s->weight[c] : 1);
        double slope = -scale * inv * inv * product / (double)s->M;
        s->factors[c] = (float)scale;
        s->factors[C + c] = (float)slope;
        s->factors[2 * C + c] = (float)(-scale * sum / (double)s->M);
    }
}

INLINE void differentiate(const struct batch_norm *s, int64_t first, int64_t rows, int64_t c,
                          int64_t left, const int add, const enum passing passing) {
    const int past = passes(s, s->grad_x, left) && (!add || passes(s, s->grad_residual, left));
    const vf scale = load_part(s->factors + c, left), mean = load_part(s->mean + c, left);
    const vf slope = load_part(s->factors + s->C + c, left);
    const vf shift = load_part(s->factors + 2 * s->C + c, left);
    const struct reading from = read_from(s, first, c, left, passing);
    float *grad_x = s->grad_x + first * s->C + c;
    float *grad_residual = add ? s->grad_residual + first * s->C + c : NULL;
    for (int64_t r = 0; r < rows; r++) {
        const vf x = load_part(from.x + r * from.C, left);
        const vf grad = gradient_at(&from, r, x, left, passing);
        if (add) put(grad_residual + r * from.C, grad, left, past);
        put(grad_x + r * from.C, grad * scale + ((x - mean) * slope + shift), left, past);
    }
}

INLINE void differentiate_block(const struct batch_norm *s, int64_t first, int64_t rows, int64_t c,
                                int64_t left) {
    const int add = s->grad_residual != NULL;
    switch (passing_of(s)) {
    case FREELY: differentiate(s, first, rows, c, left, add, FREELY); break;
    case MASKED:
        if (add)
            differentiate(s, first, rows, c, left, 1, MASKED);
        else
            differentiate(s, first, rows, c, left, 0, MASKED);
        break;
    case BY_SILU: differentiate(s, first, rows, c, left, 0, BY_SILU); break;
    case BY_HARD_SWISH: differentiate(s, first, rows, c, left, 0, BY_HARD_SWISH); break;
    }
}

static void differentiate_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct batch_norm *s = data;
    struct rows rows = rows_of(s, part);
    for (int64_t r = 0; r < rows.count; r += ROWS)
        for (int64_t c = 0; c < s->C; c += VL) {
            int64_t first = rows.first + r, count = least(ROWS, rows.count - r), left = s->C - c;
            if (left >= VL)
                differentiate_block(s, first, count, c, VL);
            else
                differentiate_block(s, first, count, c, left);
        }
    finish_stores();
}

/* Fills in grad_weight, grad_bias and (3, C) factors. */
void convolens_batch_norm_sums(struct batch_norm *s) {
    if (!s->sums) run_parts(sums_part, s, s->num_parts, s->num_threads);
    finish_sums(s);
}

void convolens_batch_norm_differentiate(struct batch_norm *s) {
    run_parts(differentiate_part, s, s->num_parts, s->num_threads);
}
