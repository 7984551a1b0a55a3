/* The gradient of the filters: winograd.h. */
#include "winograd.h"

#define MOST_AT_ONCE 256      /* tiles whose sums for a few filters are taken in one go */
#define MOST_PARTIAL 33554432 /* floats of all parts' sums */
#define MOST_TOGETHER (4 * SECOND_CACHE) /* floats of transformed filters: measured */
#define CHANNELS_AT_ONCE (4 * VL)
#define MOST_GROUPS (MOST_AT_ONCE / GROUP)

/* From one place of transformed gradients to the next; they lie as the inputs do. */
INLINE int64_t grads_of(const struct winograd *s, const struct tiles *t) {
    return s->K / VL * t->in_vector + VL;
}

/* One chunk of all tiles. */
static struct tiles all_tiles_of(const struct winograd *s) {
    return tiles_of(s, tiles_of(s, 0).all);
}

/* --- a chunk's volumes --- */

INLINE void transform_gradients(const struct winograd *s, struct place p, int64_t k, float scale,
                                void *to, int64_t next, const enum kind kind) {
    const float *image = s->grad_out + p.n * s->HO * s->WO * s->K + k;
    transform_at(image, s->HO, s->WO, s->K, p.y, p.x, scale, to, next, TILE, kind);
}

static void load_floats(const struct winograd *s, const struct tiles *t, int64_t first,
                        int64_t count, float *in, float *grads) {
    const int64_t next = grads_of(s, t);
    struct place p = place_of(t, first);
    for (int64_t i = 0; i < count; i++, in += VL, grads += VL, p = place_after(t, p)) {
        for (int64_t c = 0; c < s->C; c += VL)
            transform_inputs(s, p, c, 1, in + c / VL * t->in_vector, t->in, FLOATS);
        for (int64_t k = 0; k < s->K; k += VL)
            transform_gradients(s, p, k, 1, grads + k / VL * t->in_vector, next, FLOATS);
    }
}

#if HALF
static float largest_gradient(const struct winograd *s, const struct tiles *t, int64_t first,
                              int64_t count) {
    vf largest = {0};
    struct place p = place_of(t, first);
    for (int64_t i = 0; i < count; i++, p = place_after(t, p)) {
        const int64_t columns = least(4, s->WO - p.x);
        for (int64_t y = p.y; y < least(p.y + 4, s->HO); y++) {
            const float *row = s->grad_out + ((p.n * s->HO + y) * s->WO + p.x) * s->K;
            largest = larger_of(largest, row, columns * s->K);
        }
    }
    return largest_lane(largest);
}

/* Loads a group, whose first pair goes to `in` and `grads`; returns what undoes its scale. A tile
 * that is missing from the last pair is zeros. */
static float load_group(const struct winograd *s, const struct tiles *t, int64_t first,
                        int64_t count, float *in, float *grads) {
    const int64_t next = grads_of(s, t);
    const float most = HALF_MOST / (2 * CHAIN * INPUT_GROWTH * GRADIENT_GROWTH);
    const float in_scale = scale_to(largest_input(s, t, first, count), BACKWARD_INPUT_MOST);
    const float grad_scale =
        scale_to(largest_gradient(s, t, first, count), most / BACKWARD_INPUT_MOST);
    half_float lines[PLACES][2][VL];
    memset(lines, 0, sizeof(lines));
    struct place next_place = place_of(t, first);
    for (int64_t i = 0; i < count; i += 2, in += VL, grads += VL) {
        const int64_t tiles = least(2, count - i);
        if (tiles < 2) memset(lines, 0, sizeof(lines));
        const struct place p[2] = {next_place, place_after(t, next_place)};
        next_place = place_after(t, p[1]);
        for (int64_t c = 0; c < s->C; c += VL) {
            for (int64_t j = 0; j < tiles; j++)
                transform_inputs(s, p[j], c, in_scale, lines[0][j], 2 * VL, HALVES);
            interleave(lines, in + c / VL * t->in_vector, t->in);
        }
        for (int64_t k = 0; k < s->K; k += VL) {
            for (int64_t j = 0; j < tiles; j++)
                transform_gradients(s, p[j], k, grad_scale, lines[0][j], 2 * VL, HALVES);
            interleave(lines, grads + k / VL * t->in_vector, next);
        }
    }
    return 1 / in_scale / grad_scale;
}
#endif

/* Loads a group of the chunk that begins at tile `begin`; returns the factor of its products. */
static float load_tiles(const struct winograd *s, const struct tiles *t, int64_t begin,
                        int64_t first, int64_t count, float *in, float *grads) {
#if HALF
    if (s->half) {
        const int64_t at = (first - begin) / 2 * VL;
        return load_group(s, t, first, count, in + at, grads + at);
    }
#endif
    const int64_t at = (first - begin) * VL;
    load_floats(s, t, first, count, in + at, grads + at);
    return 1;
}

/* --- products --- */

/* sums[i, v] (+)= sum over tiles of in[tile, i] * grads[tile, v], for a vector of channels and
 * `left` filters or a block; `scales` are of the groups. */
INLINE void multiply_gradients(const struct winograd *s, const struct tiles *t, int64_t count,
                               const float *in, const float *grads, float *sums, int64_t row,
                               int64_t left, const float *scales, const int add,
                               const struct wanted *wanted, int64_t index) {
    struct factors f = {.a = in, .a_row = 1, .a_next = VL, .b = grads, .b_next = VL,
                        .b_vector = t->in_vector, .count = count, .blocks = 1, .to = sums,
                        .to_row = row, .to_vector = VL};
    if (wanted) ask_for(&f, wanted, index, (lines_read(&f, VL, left) + s->half) / (1 + s->half));
    if (!s->half) {
        product_block(f, VL, left, add, 0);
        return;
    }
    for (int64_t done = 0; done < count; done += GROUP) {
        f.count = (least(GROUP, count - done) + 1) / 2;
        f.scale = scales[done / GROUP];
        product_block(f, VL, left, add || done, 1);
        f.a += f.count * VL;
        f.b += f.count * VL;
    }
}

/* Transforms sums of VL filters and `channels` channels back; `parts` of them are added up. */
static void store_filters(const struct winograd *s, const float *sums, int64_t place, int64_t row,
                          int64_t num_parts, int64_t k, int64_t first, int64_t channels) {
    const int64_t *st = s->weight_strides;
    float block[9][VL][VL];
    for (int64_t c = 0; c < channels; c++) {
        vf line[6], half[6][3], whole[3];
        for (int x = 0; x < 6; x++) {
            for (int y = 0; y < 6; y++) {
                const float *from = sums + (y * 6 + x) * place + c * row;
                line[y] = load(from);
                for (int64_t i = 1; i < num_parts; i++) line[y] += load(from + i * PLACES * place);
            }
            transform_filter_back(line, half[x]);
        }
        for (int y = 0; y < 3; y++) {
            for (int x = 0; x < 6; x++) line[x] = half[x][y];
            transform_filter_back(line, whole);
            for (int x = 0; x < 3; x++) store(block[y * 3 + x][c % VL], whole[x]);
        }
        if (c % VL < VL - 1) continue;
        float *to = s->grad_weight + k * st[0] + (first + c - c % VL) * st[1];
        for (int i = 0; i < 9; i++)
            store_block(block[i], to + i / 3 * st[2] + i % 3 * st[3], st[1], st[0]);
    }
}

/* Many tiles: each part adds up (36, C, K) over chunks of its own. */

static int64_t parts_of(const struct winograd *s, const struct tiles *t) {
    int64_t parts = least(s->num_threads, MOST_PARTIAL / (PLACES * t->sums));
    return parts > 1 ? parts : 1;
}

static void add_group(const struct winograd *s, const struct tiles *t, int64_t first,
                      int64_t count, float *in, float *grads, float *sums,
                      const struct wanted *wanted) {
    const float scale = load_tiles(s, t, first, first, count, in, grads);
    int64_t index = 0;
    for (int64_t place = 0; place < PLACES; place++)
        for (int64_t k = 0; k < s->K; k += BLOCK)
            for (int64_t c = 0; c < s->C; c += VL, index++) {
                const float *a = in + place * t->in + c / VL * t->in_vector;
                const float *b = grads + place * grads_of(s, t) + k / VL * t->in_vector;
                float *to = sums + place * t->sums + c * s->K + k;
                multiply_gradients(s, t, count, a, b, to, s->K, s->K - k, &scale, 1, wanted, index);
            }
}

/* What the next chunk reads, as far as tiles `first` on of this one are to it: gradients, and what
 * makes their source of them, or else inputs. */
INLINE struct wanted wanted_after(const struct winograd *s, const struct tiles *t, int64_t first,
                                  int64_t count) {
    const float *other = s->gradient.kind == DIFFERENTIATED ? s->gradient.x : NULL;
    if (!other && s->C == s->K && s->H == s->HO && s->W == s->WO) other = s->x;
    const int64_t products = PLACES * ((s->K + BLOCK - 1) / BLOCK) * (s->C / VL);
    return rows_of(t, first + t->chunk, count, s->HO, s->WO, s->K, s->grad_out, other, products);
}

/* Floats that each thread has to itself. */
INLINE int64_t floats_of_thread(const struct winograd *s, const struct tiles *t) {
    return PLACES * (t->in + grads_of(s, t)) + made_floats(s, t, t->chunk);
}

static void add_part(void *data, int64_t part, int64_t thread) {
    const struct winograd *s = data;
    const struct tiles t = tiles_of(s, 0);
    const int64_t parts = parts_of(s, &t), step = s->half ? GROUP : t.chunk;
    float *sums = s->memory + part * PLACES * t.sums;
    float *own = s->memory + PLACES * parts * t.sums + thread * floats_of_thread(s, &t);
    memset(sums, 0, (size_t)(PLACES * t.sums) * sizeof(float));
    const int64_t last = first_of_part(part + 1, parts, t.num_chunks);
    for (int64_t chunk = first_of_part(part, parts, t.num_chunks); chunk < last; chunk++) {
        const int64_t begin = chunk * t.chunk, end = least(begin + t.chunk, t.all);
        struct winograd job = *s;
        float *in = own;
        if (s->also) {
            /* Its factors are no longer needed, so these may lie in the same lines of the caches. */
            job.grad_out = winograd_convolve_chunk(s->also, chunk, thread, s->x, &in);
            job.gradient.kind = AS_IS;
        }
        float *grads = in + PLACES * t.in;
        job = with_made(&job, &t, begin, end - begin, own + PLACES * (t.in + grads_of(s, &t)));
        for (int64_t first = begin; first < end; first += step) {
            const int64_t count = least(step, end - first);
            const struct wanted wanted = wanted_after(s, &t, first, count);
            add_group(&job, &t, first, count, in, grads, sums, &wanted);
        }
    }
}

static void reduce_part(void *data, int64_t part, int64_t thread) {
    (void)thread;
    const struct winograd *s = data;
    const struct tiles t = tiles_of(s, 0);
    const int64_t k = part * VL;
    store_filters(s, s->memory + k, t.sums, s->K, parts_of(s, &t), k, 0, s->C);
}

/* Few tiles and large filters: all tiles are transformed, then each part takes a block of filters
 * and a few channels at a time, whose sums stay in the second cache until they are stored. */

/* Tiles that are transformed together. */
INLINE int64_t step_of(const struct winograd *s) { return s->half ? GROUP : VL; }

static int goes_at_once(const struct tiles *all) {
    return all->all <= MOST_AT_ONCE && PLACES * all->sums > SECOND_CACHE;
}

/* After the tiles and the sums: the scales of the groups, and then what threads make of volumes. */
INLINE float *scales_of(const struct winograd *s, const struct tiles *t) {
    const int64_t sums = PLACES * s->num_threads * (CHANNELS_AT_ONCE * BLOCK + VL);
    return s->memory + PLACES * (t->in + grads_of(s, t)) + sums;
}

static void transform_part(void *data, int64_t part, int64_t thread) {
    const struct winograd *s = data;
    const struct tiles t = all_tiles_of(s);
    const int64_t step = step_of(s), first = part * step, count = least(step, t.all - first);
    float *scales = scales_of(s, &t);
    const struct winograd made = with_made(
        s, &t, first, count, scales + MOST_GROUPS + thread * made_floats(s, &t, step));
    const float scale = load_tiles(&made, &t, 0, first, count, s->memory,
                                   s->memory + PLACES * t.in);
    if (s->half) scales[part] = scale;
}

static void block_part(void *data, int64_t part, int64_t thread) {
    const struct winograd *s = data;
    const struct tiles t = all_tiles_of(s);
    const int64_t k = part * BLOCK, place_floats = CHANNELS_AT_ONCE * BLOCK + VL;
    const int64_t next = grads_of(s, &t);
    const float *in = s->memory, *grads = in + PLACES * t.in + k / VL * t.in_vector;
    float *sums = s->memory + PLACES * (t.in + next + thread * place_floats);
    for (int64_t first = 0; first < s->C; first += CHANNELS_AT_ONCE) {
        const int64_t channels = least(CHANNELS_AT_ONCE, s->C - first);
        for (int64_t place = 0; place < PLACES; place++)
            for (int64_t c = 0; c < channels; c += VL) {
                const float *a = in + place * t.in + (first + c) / VL * t.in_vector;
                const float *b = grads + place * next;
                float *to = sums + place * place_floats + c * BLOCK;
                multiply_gradients(s, &t, t.all, a, b, to, BLOCK, s->K - k, scales_of(s, &t), 0,
                                   NULL, 0);
            }
        for (int64_t v = 0; v < least(BLOCK, s->K - k); v += VL)
            store_filters(s, sums + v, place_floats, BLOCK, 1, k + v, first, channels);
    }
}

/* Whether the gradients of input and filters share chunks: they have the same tiles, and the filters
 * and their sums leave each other room in the caches. */
static int goes_together(const struct winograd *s) {
    const struct tiles t = tiles_of(s, 0);
    return s->also->HO == s->HO && s->also->WO == s->WO && PLACES * t.sums <= MOST_TOGETHER;
}

int64_t convolens_winograd_backward_floats(const struct winograd *s) {
    const struct tiles t = tiles_of(s, 0), all = all_tiles_of(s);
    if (goes_at_once(&t) && !(s->also && goes_together(s)))
        return scales_of(s, &all) - s->memory + MOST_GROUPS +
               s->num_threads * made_floats(s, &all, step_of(s));
    return PLACES * parts_of(s, &t) * t.sums + s->num_threads * floats_of_thread(s, &t);
}

void convolens_winograd_backward(struct winograd *s) {
    const struct tiles t = tiles_of(s, 0);
    if (s->also && goes_together(s)) {
        winograd_transform_filters(s->also);
    } else if (s->also) {
        convolens_winograd_forward(s->also);
        s->also = NULL;
    }
    if (!s->also && goes_at_once(&t)) {
        const int64_t step = step_of(s);
        run_parts(transform_part, s, (all_tiles_of(s).all + step - 1) / step, s->num_threads);
        run_parts(block_part, s, (s->K + BLOCK - 1) / BLOCK, s->num_threads);
    } else {
        run_parts(add_part, s, parts_of(s, &t), s->num_threads);
        run_parts(reduce_part, s, s->K / VL, s->num_threads);
    }
}
