#pragma once

#include <stdbool.h>
#include <stdint.h>

// Threads that take turns with the simulation: of all threads and the simulation, exactly one runs at any time, and it
// runs until it waits or ends. So code with blocking threads is as repeatable as the simulation itself.
//
// This library takes the place of pthread_create, pthread_cond_wait and pthread_cond_broadcast in the program that
// links it: nothing but the simulator may.

/// From now on every new thread stands still until it is run. Tells of threads that were started, and of threads that
/// could go on.
void simulation_capture_threads(void (*ready)(uint64_t thread, bool isNew));

/// Runs a thread until it waits or ends; false when it has ended.
bool simulation_run_thread(uint64_t thread);
/// Ends a thread where it waits: nothing of what it meant to do is done, as by SIGKILL.
void simulation_end_thread(uint64_t thread);

/// Blocks the calling thread, one of the simulation's, until `simulation_wake` of the same key; it may also wake
/// without.
void simulation_wait(const void *key);
/// Makes whoever waits for the key ready to go on.
void simulation_wake(const void *key);
