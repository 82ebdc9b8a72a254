#pragma once
#include <stdint.h>

/// Seeds what this program takes for the kernel's random source. The library replaces getentropy(3) and Swift's
/// generator for the whole process: link it into nothing but a simulator.
void simulation_seed_random(uint64_t seed);
