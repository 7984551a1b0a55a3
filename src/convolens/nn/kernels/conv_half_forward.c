/* The convolution itself, and with turned filters a phase of its input's gradient: conv_half.h. */
#include "conv_half.h"

#if HALF == FLOAT16
#define LEAST_CHUNK 64 /* windows */
#define MOST_CHUNK 256

static int64_t chunk_of(const struct conv_half *s) {
    int64_t chunk = SECOND_CACHE / pairs_of(s);
    chunk = chunk < LEAST_CHUNK ? LEAST_CHUNK : least(chunk, MOST_CHUNK);
    return even_chunk(windows_of(s), chunk, s->num_threads, 8);
}

/* Filters lie as (blocks of K, pairs of neighbours along C, channels of the block). */
static void filter_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct conv_half *s = data;
    const int64_t block = part * BLOCK, width = least(BLOCK, s->K - block);
    const int64_t *st = s->weight_strides;
    const float scale = scale_to(s->largest_weight, FACTOR_MOST);
    float *to = s->memory + block * pairs_of(s);
    for (int64_t row = 0; row < s->rows; row++)
        for (int64_t column = 0; column < s->columns; column++)
            for (int64_t c = 0; c < s->C; c += VL, to += VL / 2 * width)
                for (int64_t k = 0; k < width; k += VL) {
                    float lines[VL][VL];
                    const float *from = s->weight + (block + k) * st[0] + c * st[1] +
                                        row * st[2] + column * st[3];
                    load_block(from, st[1], st[0], lines);
                    for (int i = 0; i < VL; i += 2)
                        store_pairs(to + i / 2 * width + k, halves(load(lines[i]) * scale),
                                    halves(load(lines[i + 1]) * scale));
                }
}

static void forward_part(void *data, int64_t part, int64_t thread) {
    const struct conv_half *s = data;
    const int64_t pairs = pairs_of(s), chunk = chunk_of(s);
    const int64_t first = part * chunk, count = least(chunk, windows_of(s) - first);
    float *windows = s->memory + s->K * pairs + thread * chunk * (pairs + BLOCK);
    float *sums = windows + chunk * pairs;
    const float scale = scale_to(largest_in_windows(s, first, count), FACTOR_MOST);
    for (int64_t i = 0; i < count; i++)
        load_window(s, first + i, scale, (half_float *)(windows + i * pairs));
    const int past = goes_past_caches(s->out, s->N * s->HO * s->WO * s->K);
    const float back = 1 / scale / scale_to(s->largest_weight, FACTOR_MOST);
    for (int64_t k = 0; k < s->K; k += BLOCK) {
        const int64_t width = least(BLOCK, s->K - k);
        struct factors f = {.a = windows, .a_row = pairs, .a_next = 1,
                            .b = s->memory + k * pairs, .b_next = width, .b_vector = VL,
                            .blocks = 1, .to = sums, .to_row = BLOCK, .to_vector = VL,
                            .scale = back};
        for (int64_t done = 0; done < pairs; done += f.count) {
            f.count = least(CHAIN, pairs - done);
            product_block(f, count, width, done > 0, 1);
            f.a += f.count;
            f.b += f.count * width;
        }
        for (int64_t i = 0; i < count; i++) {
            float *to = s->out + out_of(s, first + i) + k;
            for (int64_t v = 0; v < width; v += VL) {
                const vf sum = load(sums + i * BLOCK + v);
                store_past(to + v, s->bias ? sum + load(s->bias + k + v) : sum, past);
            }
        }
    }
    finish_stores();
}

int64_t convolens_conv_half_forward_floats(const struct conv_half *s) {
    return s->K * pairs_of(s) + s->num_threads * chunk_of(s) * (pairs_of(s) + BLOCK);
}

void convolens_conv_half_forward(struct conv_half *s) {
    run_parts(filter_part, s, (s->K + BLOCK - 1) / BLOCK, s->num_threads);
    run_parts(forward_part, s, (windows_of(s) + chunk_of(s) - 1) / chunk_of(s), s->num_threads);
}
#endif
