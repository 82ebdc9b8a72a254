#define _GNU_SOURCE
#include "CSimulationThreads.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct Thread {
    uint64_t number;
    void *(*body)(void *);
    void *argument;
    sem_t turn;
    // What it waits for; null while it is ready or runs.
    const void *awaited;
    bool must_end, has_ended;
    jmp_buf end;
    struct Thread *next;
} Thread;

typedef int (*Create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

// Everything here is touched by whoever's turn it is; the semaphores pass the turn on.
static void (*tell_ready)(uint64_t, bool);
static Create create_thread;
static sem_t simulations_turn;
static Thread *threads;
static uint64_t last_number;
static _Thread_local Thread *self;

static void take(sem_t *turn) {
    while (sem_wait(turn) != 0 && errno == EINTR) {}
}

static void give_turn_back(void) {
    Thread *thread = self;
    sem_post(&simulations_turn);
    take(&thread->turn);
    if (thread->must_end) _longjmp(thread->end, 1);
}

static void *live(void *argument) {
    Thread *thread = self = argument;
    take(&thread->turn);
    if (!thread->must_end && _setjmp(thread->end) == 0) thread->body(thread->argument);
    thread = self;
    thread->has_ended = true;
    sem_post(&simulations_turn);
    return NULL;
}

void simulation_capture_threads(void (*ready)(uint64_t, bool)) {
    if (tell_ready) return;
    tell_ready = ready;
    sem_init(&simulations_turn, 0, 0);
}

static Thread **find(uint64_t number) {
    Thread **place = &threads;
    while (*place && (*place)->number != number) place = &(*place)->next;
    return place;
}

bool simulation_run_thread(uint64_t number) {
    Thread **place = find(number), *thread = *place;
    if (!thread) return false;
    sem_post(&thread->turn);
    take(&simulations_turn);
    if (!thread->has_ended) return true;
    // It may have started others meanwhile, which stand before it.
    place = find(number);
    *place = thread->next;
    sem_destroy(&thread->turn);
    free(thread);
    return false;
}

void simulation_end_thread(uint64_t number) {
    Thread *thread = *find(number);
    if (!thread) return;
    thread->must_end = true;
    simulation_run_thread(number);
}

void simulation_wait(const void *key) {
    if (!self) {
        fputs("the simulation itself would block: only its threads may\n", stderr);
        abort();
    }
    self->awaited = key;
    give_turn_back();
    self->awaited = NULL;
}

// The oldest first: new threads stand at the front.
static void wake(Thread *thread, const void *key) {
    if (!thread) return;
    wake(thread->next, key);
    if (thread->awaited != key) return;
    thread->awaited = NULL;
    tell_ready(thread->number, false);
}
void simulation_wake(const void *key) { wake(threads, key); }

// MARK: In place of the system's

__attribute__((visibility("default"))) int pthread_create(
    pthread_t *handle, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
    if (!create_thread) create_thread = (Create)dlsym(RTLD_NEXT, "pthread_create");
    if (!tell_ready) return create_thread(handle, attributes, body, argument);
    Thread *thread = calloc(1, sizeof *thread);
    if (!thread) return EAGAIN;
    thread->number = ++last_number;
    thread->body = body;
    thread->argument = argument;
    sem_init(&thread->turn, 0, 0);
    int code = create_thread(handle, attributes, live, thread);
    if (code != 0) {
        free(thread);
        return code;
    }
    thread->next = threads;
    threads = thread;
    tell_ready(thread->number, true);
    return 0;
}

__attribute__((visibility("default"))) int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) {
    pthread_mutex_unlock(mutex);
    simulation_wait(condition);
    pthread_mutex_lock(mutex);
    return 0;
}
__attribute__((visibility("default"))) int pthread_cond_broadcast(pthread_cond_t *condition) {
    simulation_wake(condition);
    return 0;
}
