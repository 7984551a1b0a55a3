/* Runs the parts of a job on the threads that PyTorch already has. */
#include "simd.h"

/* libgomp's and libomp's entry; NULL where Python found neither, and one thread does the work. */
typedef void (*parallel_fn)(void (*)(void *), void *, unsigned, unsigned);
static parallel_fn parallel;

struct team {
    part_fn body;
    void *job;
    int64_t num_parts;
    _Atomic int64_t next_part, next_thread;
};

static void take_parts(void *data) {
    struct team *team = data;
    int64_t thread = atomic_fetch_add(&team->next_thread, 1);
    for (;;) {
        int64_t part = atomic_fetch_add(&team->next_part, 1);
        if (part >= team->num_parts) return;
        team->body(team->job, part, thread);
    }
}

void run_parts(part_fn body, void *job, int64_t num_parts, int64_t num_threads) {
    struct team team = {.body = body, .job = job, .num_parts = num_parts};
    if (parallel && num_threads > 1 && num_parts > 1)
        parallel(take_parts, &team, (unsigned)least(num_threads, num_parts), 0);
    else
        take_parts(&team);
}

void convolens_use_threads(void *entry) { parallel = (parallel_fn)entry; }

int64_t convolens_lanes(void) { return VL; }
int64_t convolens_has_half(void) { return HALF; }
