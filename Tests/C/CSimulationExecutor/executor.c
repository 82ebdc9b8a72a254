#define _GNU_SOURCE
#include "CSimulationExecutor.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

// The hooks and swift_job_run are part of the runtime's stable interface (swift/Runtime/Concurrency.h).
#define SWIFT_CALL __attribute__((swiftcall))

typedef struct {
    void *identity;
    const void *implementation;
} SerialExecutor;

typedef SWIFT_CALL void (*EnqueueGlobal)(SimulationJob, void *original);
typedef SWIFT_CALL void (*EnqueueWithDelay)(unsigned long long delay, SimulationJob, void *original);
typedef SWIFT_CALL void (*EnqueueWithDeadline)(
    long long, long long, long long, long long, int, SimulationJob, void *original);
typedef SWIFT_CALL void (*RunJob)(SimulationJob, SerialExecutor);

static void (*enqueue_job)(SimulationJob);
static RunJob run_job;

static SWIFT_CALL void enqueue(SimulationJob job, void *original) {
    (void)original;
    enqueue_job(job);
}

static void refuse_delays(void) {
    fputs("a simulated task slept by the machine's clock: sleep by the TimeSource\n", stderr);
    abort();
}
static SWIFT_CALL void enqueue_with_delay(unsigned long long delay, SimulationJob job, void *original) {
    (void)delay, (void)job, (void)original;
    refuse_delays();
}
static SWIFT_CALL void enqueue_with_deadline(
    long long s, long long ns, long long ts, long long tns, int clock, SimulationJob job, void *original) {
    (void)s, (void)ns, (void)ts, (void)tns, (void)clock, (void)job, (void)original;
    refuse_delays();
}

int simulation_capture_jobs(void (*body)(SimulationJob)) {
    enqueue_job = body;
    EnqueueGlobal *global = dlsym(RTLD_DEFAULT, "swift_task_enqueueGlobal_hook");
    EnqueueGlobal *mainly = dlsym(RTLD_DEFAULT, "swift_task_enqueueMainExecutor_hook");
    EnqueueWithDelay *delay = dlsym(RTLD_DEFAULT, "swift_task_enqueueGlobalWithDelay_hook");
    EnqueueWithDeadline *deadline = dlsym(RTLD_DEFAULT, "swift_task_enqueueGlobalWithDeadline_hook");
    run_job = (RunJob)dlsym(RTLD_DEFAULT, "swift_job_run");
    if (!global) return 1;
    if (!mainly) return 2;
    if (!delay) return 3;
    if (!deadline) return 4;
    if (!run_job) return 5;
    *global = enqueue;
    *mainly = enqueue;
    *delay = enqueue_with_delay;
    *deadline = enqueue_with_deadline;
    return 0;
}

void simulation_run_job(SimulationJob job) {
    SerialExecutor generic = {0, 0};
    run_job(job, generic);
}
