/* Runs the parts of a job on the threads that PyTorch already has.
 *
 * Each thread begins with parts of its own, the same share of every job, so that it finds in its
 * core's caches what it wrote there in the job before; then it helps the others.
 */
#include "simd.h"

/* libgomp's and libomp's entries; NULL where Python found neither, and one thread does the work. */
typedef void (*parallel_fn)(void (*)(void *), void *, unsigned, unsigned);
typedef int (*number_fn)(void);
static parallel_fn parallel;
static number_fn number_of_thread;

struct share {
    _Alignas(64) _Atomic int64_t next; /* in a cache line of its own */
    int64_t end;
};

struct team {
    part_fn body;
    void *job;
    int64_t num_threads;
    _Atomic int64_t next_thread;
    struct share *shares;
};

static void take_parts(void *data) {
    struct team *team = data;
    const int64_t thread = atomic_fetch_add(&team->next_thread, 1); /* whose memory it takes */
    const int64_t own = team->num_threads > 1 ? number_of_thread() : 0; /* stays the same */
    for (int64_t i = 0; i < team->num_threads; i++) {
        struct share *share = team->shares + (own + i) % team->num_threads;
        for (;;) {
            const int64_t part = atomic_fetch_add(&share->next, 1);
            if (part >= share->end) break;
            team->body(team->job, part, thread);
        }
    }
}

void run_parts(part_fn body, void *job, int64_t num_parts, int64_t num_threads) {
    const int64_t threads = parallel && num_parts > 1 ? least(num_threads, num_parts) : 1;
    struct share shares[threads];
    for (int64_t i = 0; i < threads; i++) {
        shares[i].next = first_of_part(i, threads, num_parts);
        shares[i].end = first_of_part(i + 1, threads, num_parts);
    }
    struct team team = {.body = body, .job = job, .num_threads = threads, .shares = shares};
    if (threads > 1)
        parallel(take_parts, &team, (unsigned)threads, 0);
    else
        take_parts(&team);
}

void convolens_use_threads(void *entry, void *number) {
    parallel = (parallel_fn)entry;
    number_of_thread = (number_fn)number;
}

int64_t convolens_lanes(void) { return VL; }
int64_t convolens_half(void) { return HALF; }
