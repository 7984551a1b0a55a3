/* Vectors of floats, as wide as the processor's registers, and a team of threads.
 *
 * Only the vector types that GCC and Clang share are used, so one source serves AVX-512, AVX2,
 * NEON and plain SSE; the compiler picks the instructions.
 */
#ifndef CONVOLENS_SIMD_H
#define CONVOLENS_SIMD_H

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define VL 16
#elif defined(__AVX__)
#define VL 8
#else
#define VL 4
#endif

/* Processors with 32 vector registers hold twice the accumulators of those with 16. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define MANY_REGISTERS 1
#else
#define MANY_REGISTERS 0
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
/* A function that is not made part of a larger one, in which it would run out of registers. */
#define APART static __attribute__((noinline))

typedef float vf __attribute__((vector_size(4 * VL)));
typedef int32_t vi __attribute__((vector_size(4 * VL)));
typedef uint8_t vb __attribute__((vector_size(VL)));
typedef float vf_anywhere __attribute__((vector_size(4 * VL), aligned(4), may_alias));

INLINE int64_t round_up(int64_t count) { return (count + VL - 1) / VL * VL; }
INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
/* How many of `all` things go at once: about `wanted`, so that each thread has as many turns, and a
 * multiple of `unit`. */
INLINE int64_t even_chunk(int64_t all, int64_t wanted, int64_t num_threads, int64_t unit) {
    const int64_t turns = (all + wanted * num_threads - 1) / (wanted * num_threads);
    return ((all + turns * num_threads - 1) / (turns * num_threads) + unit - 1) / unit * unit;
}
INLINE vf load(const float *p) { return *(const vf_anywhere *)p; }
INLINE void store(float *p, vf value) { *(vf_anywhere *)p = value; }
INLINE vf choose(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }

#define LARGE_VOLUME 262144 /* floats; a core's second cache holds no more of them for long */

/* Whether what is written should pass the caches by: it would be gone from them before it is read,
 * and reading the old values first would be in vain. Vectors must be aligned. */
INLINE int goes_past_caches(const float *to, int64_t floats) {
    return floats > LARGE_VOLUME && (uintptr_t)to % (4 * VL) == 0;
}

INLINE void store_past(float *p, vf value, const int past) {
#if defined(__AVX512F__)
    if (past) {
        _mm512_stream_ps(p, (__m512)value);
        return;
    }
#else
    (void)past;
#endif
    store(p, value);
}

/* Makes what `store_past` wrote visible to the other threads. */
INLINE void finish_stores(void) {
#if defined(__AVX512F__)
    _mm_sfence();
#endif
}

/* Zeros instead of memory that must not be touched. */
INLINE vf load_if(const float *p, int there) {
#if defined(__AVX512F__)
    return (vf)_mm512_maskz_loadu_ps((__mmask16)-there, p);
#else
    return there ? load(p) : (vf){0};
#endif
}

#if defined(__AVX512F__)
INLINE __mmask16 first_lanes(int64_t count) {
    return (__mmask16)(count >= VL ? 0xffff : (1u << count) - 1);
}
#endif

/* The first `count` lanes; the others are 0 and their memory is not touched. */
INLINE vf load_part(const float *p, int64_t count) {
    if (count >= VL) return load(p);
#if defined(__AVX512F__)
    return (vf)_mm512_maskz_loadu_ps(first_lanes(count), p);
#else
    vf value = {0};
    memcpy(&value, p, (size_t)count * sizeof(float));
    return value;
#endif
}

INLINE void store_part(float *p, vf value, int64_t count) {
    if (count >= VL) {
        store(p, value);
        return;
    }
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, first_lanes(count), (__m512)value);
#else
    memcpy(p, &value, (size_t)count * sizeof(float));
#endif
}

INLINE void add_lanes(double *to, vf sum, int64_t count) {
    for (int64_t lane = 0; lane < least(VL, count); lane++) to[lane] += (double)sum[lane];
}

#if defined(__AVX512BW__) && defined(__AVX512VL__)
INLINE vi load_bytes(const uint8_t *p, int64_t count) {
    return (vi)_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first_lanes(count), p));
}

INLINE void store_bytes(uint8_t *p, vi numbers, int64_t count) {
    const __m128i bytes = _mm512_cvtepi32_epi8((__m512i)numbers);
    if (count >= VL)
        _mm_storeu_si128((__m128i *)p, bytes);
    else
        _mm_mask_storeu_epi8(p, first_lanes(count), bytes);
}
#else
INLINE vi load_bytes(const uint8_t *p, int64_t count) {
    vb value = {0};
    if (count >= VL)
        memcpy(&value, p, VL);
    else
        memcpy(&value, p, (size_t)count);
    return __builtin_convertvector(value, vi);
}

INLINE void store_bytes(uint8_t *p, vi numbers, int64_t count) {
    vb value = __builtin_convertvector(numbers, vb);
    if (count >= VL)
        memcpy(p, &value, VL);
    else
        memcpy(p, &value, (size_t)count);
}
#endif

/* The signs of lanes, in as few bytes as the processor can pack and unpack at once. */
#if defined(__AVX512DQ__)
#define MASK_BYTES 2
INLINE void store_mask(uint8_t *p, vi mask) {
    const uint16_t bits = _mm512_movepi32_mask((__m512i)mask);
    memcpy(p, &bits, sizeof(bits));
}
INLINE vi load_mask(const uint8_t *p) {
    uint16_t bits;
    memcpy(&bits, p, sizeof(bits));
    return (vi)_mm512_movm_epi32(bits);
}
#else
#define MASK_BYTES VL
INLINE void store_mask(uint8_t *p, vi mask) { store_bytes(p, mask, VL); }
INLINE vi load_mask(const uint8_t *p) { return load_bytes(p, VL) != 0; }
#endif

typedef float v4 __attribute__((vector_size(16)));
typedef float v4_anywhere __attribute__((vector_size(16), aligned(4), may_alias));
#if defined(__clang__)
#define MIX(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define MIX(a, b, i, j, k, l) __builtin_shuffle(a, b, (v4i){i, j, k, l})
typedef int32_t v4i __attribute__((vector_size(16)));
#endif

/* to[c * to_row + r] = from[r * from_row + c] */
INLINE void transpose(const float *from, int64_t from_row, float *to, int64_t to_row, int64_t rows,
                      int64_t columns) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
        const float *a = from + r * from_row, *b = a + from_row, *c = b + from_row;
        const float *d = c + from_row;
        int64_t i = 0;
        for (; i + 4 <= columns; i += 4) {
            v4 va = *(const v4_anywhere *)(a + i), vb4 = *(const v4_anywhere *)(b + i);
            v4 vc = *(const v4_anywhere *)(c + i), vd = *(const v4_anywhere *)(d + i);
            v4 ab = MIX(va, vb4, 0, 4, 1, 5), AB = MIX(va, vb4, 2, 6, 3, 7);
            v4 cd = MIX(vc, vd, 0, 4, 1, 5), CD = MIX(vc, vd, 2, 6, 3, 7);
            float *out = to + i * to_row + r;
            *(v4_anywhere *)out = MIX(ab, cd, 0, 1, 4, 5);
            *(v4_anywhere *)(out + to_row) = MIX(ab, cd, 2, 3, 6, 7);
            *(v4_anywhere *)(out + 2 * to_row) = MIX(AB, CD, 0, 1, 4, 5);
            *(v4_anywhere *)(out + 3 * to_row) = MIX(AB, CD, 2, 3, 6, 7);
        }
        for (; i < columns; i++)
            for (int64_t j = 0; j < 4; j++) to[i * to_row + r + j] = a[j * from_row + i];
    }
    for (; r < rows; r++)
        for (int64_t i = 0; i < columns; i++) to[i * to_row + r] = from[r * from_row + i];
}

/* Products of numbers of two bytes, where the processor has them: twice as many at a time. Of
 * float16, whose sums are float16, too, so that factors must be scaled; or else of bfloat16, which
 * has the range of float32 and whose sums are float32. */
#define FLOAT16 1
#define BFLOAT16 2
#if defined(__AVX512FP16__)
#define HALF FLOAT16
#elif defined(__AVX512BF16__)
#define HALF BFLOAT16
#else
#define HALF 0
#endif

#if HALF
#if HALF == FLOAT16
typedef _Float16 half_float;
#else
typedef uint16_t half_float;
#endif
typedef half_float vh __attribute__((vector_size(4 * VL))); /* pairs */
typedef half_float vh_anywhere __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef half_float half_line __attribute__((vector_size(2 * VL)));
typedef half_float half_line_anywhere __attribute__((vector_size(2 * VL), aligned(2), may_alias));
typedef uint32_t words __attribute__((vector_size(4 * VL)));

INLINE vh load_pairs(const float *p) { return *(const vh_anywhere *)p; }

INLINE vh same_pair(const float *p) {
    uint32_t word;
    memcpy(&word, p, sizeof(word));
    return (vh)((words){0} + word);
}

INLINE half_line halves(vf value) {
#if HALF == FLOAT16
    return (half_line)_mm512_cvtxps_ph((__m512)value);
#else
    return (half_line)_mm512_cvtneps_pbh((__m512)value);
#endif
}

INLINE void store_halves(half_float *p, vf value) { *(half_line_anywhere *)p = halves(value); }

INLINE half_line load_halves(const half_float *p) { return *(const half_line_anywhere *)p; }

/* The first number of pairs from `low`, the second from `high`. */
INLINE void store_pairs(float *p, half_line low, half_line high) {
    const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512((__m256i)low), (__m256i)high, 1);
    const __m512i turn =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    *(vh_anywhere *)p = (vh)_mm512_permutexvar_epi16(turn, both);
}

#if HALF == FLOAT16
#define HALF_MOST 65504.0f
typedef vh pair_sums;

INLINE pair_sums add_pairs(pair_sums sums, vh a, vh b) { return sums + a * b; }

INLINE vf sum_of_pairs(pair_sums sums) {
    words as = (words)sums;
    vh both = sums + (vh)(as << 16 | as >> 16);
    return (vf)_mm512_cvtxph_ps((__m256h)_mm512_cvtepi32_epi16((__m512i)both));
}
#else
#define HALF_MOST 1.0f /* without meaning: nothing is scaled */
typedef vf pair_sums;

INLINE pair_sums add_pairs(pair_sums sums, vh a, vh b) {
    return (vf)_mm512_dpbf16_ps((__m512)sums, (__m512bh)a, (__m512bh)b);
}

INLINE vf sum_of_pairs(pair_sums sums) { return sums; }
#endif

/* The larger absolute values of `largest` and `value`; NaN is passed over. */
INLINE vf larger(vf largest, vf value) {
    vf size = (vf)((vi)value & 0x7fffffff);
    return choose(size > largest, size, largest);
}

/* The same for `count` values, a multiple of VL; not asked for where nothing is scaled. */
INLINE vf larger_of(vf largest, const float *from, int64_t count) {
    if (HALF != FLOAT16) return largest;
    for (int64_t i = 0; i < count; i += VL) largest = larger(largest, load(from + i));
    return largest;
}

INLINE float largest_lane(vf value) {
    float lanes[VL], largest = 0;
    store(lanes, value);
    for (int i = 0; i < VL; i++) largest = lanes[i] > largest ? lanes[i] : largest;
    return largest;
}

INLINE int32_t exponent_of(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits >> 23;
}

/* A power of two that takes `largest` below `most`, but not below a quarter of it. */
INLINE float scale_to(float largest, float most) {
    if (HALF != FLOAT16 || !(largest > 1e-30f && largest < 1e30f)) return 1;
    const int32_t bits = (exponent_of(most) - exponent_of(largest) - 1 + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof(scale));
    return scale;
}
#endif

/* to[i][j] = from[i * row + j * column] */
INLINE void load_block(const float *from, int64_t row, int64_t column, float to[VL][VL]) {
    if (row == 1)
        transpose(from, column, to[0], VL, VL, VL);
    else if (column == 1)
        for (int i = 0; i < VL; i++) store(to[i], load(from + i * row));
    else
        for (int i = 0; i < VL; i++)
            for (int j = 0; j < VL; j++) to[i][j] = from[i * row + j * column];
}

/* to[i * row + j * column] = from[i][j] */
INLINE void store_block(const float from[VL][VL], float *to, int64_t row, int64_t column) {
    if (row == 1)
        transpose(from[0], VL, to, column, VL, VL);
    else
        for (int i = 0; i < VL; i++)
            for (int j = 0; j < VL; j++) to[i * row + j * column] = from[i][j];
}

/* Where max-pooling takes a new value: a greater one, or NaN, which always wins. */
INLINE vi wins(vf value, vf best) { return (value > best) | (value != value); }

/* Work is cut into parts, whose number does not depend on how many threads turn up; each part
 * has its own partial sums, so the sums are the same whoever computes them. */
typedef void (*part_fn)(void *job, int64_t part, int64_t thread);
void run_parts(part_fn body, void *job, int64_t num_parts, int64_t num_threads);

/* What whoever writes a part of a volume leaves of each channel for a normalisation: how many values
 * there are, one of them, and the sums of what all differ from it, and of the squares of that. */
enum sums { COUNT, SHIFT, SUM, SQUARES, SUMS };

/* What whoever writes a part of a gradient leaves of each channel for the normalisation that it is a
 * gradient of: its sum, and that of its products with how far the normalised values are from their
 * mean. */
enum gradient_sums { GRADIENT, PRODUCT, GRADIENT_SUMS };

INLINE int64_t first_of_part(int64_t part, int64_t num_parts, int64_t count) {
    return part * count / num_parts;
}

#endif
