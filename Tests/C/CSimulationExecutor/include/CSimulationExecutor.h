#pragma once

/// A job of the Swift runtime, opaque.
typedef void *SimulationJob;

/// From now on every job that the runtime would hand to its threads goes to `enqueue`, on the thread that made it
/// ready. Returns 0, or the number of the hook that this runtime lacks.
int simulation_capture_jobs(void (*enqueue)(SimulationJob job));

/// Runs a job on this thread until it suspends or ends, as the runtime's threads would.
void simulation_run_job(SimulationJob job);
