#define _GNU_SOURCE
#include "CSimulationRandom.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

// SplitMix64 (Steele, Lea and Flood 2014): good enough to be unequal, and it repeats.
static uint64_t state;

void simulation_seed_random(uint64_t seed) { state = seed; }

static uint64_t next(void) {
    uint64_t mixed = (state += 0x9e3779b97f4a7c15u);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

static void fill(void *buffer, size_t count) {
    for (size_t done = 0; done < count; done += 8) {
        uint64_t bits = next();
        memcpy((char *)buffer + done, &bits, count - done < 8 ? count - done : 8);
    }
}

// Found before the libraries' own by every caller, in them too (ELF symbol interposition).
__attribute__((visibility("default"))) int getentropy(void *buffer, size_t count) {
    fill(buffer, count);
    return 0;
}
__attribute__((visibility("default"))) void swift_stdlib_random(void *buffer, size_t count) { fill(buffer, count); }

// What Swift's library calls within itself cannot be replaced; it asks the kernel by syscall(2), which can be. A release
// build seldom needs this, since most of that code becomes part of the program.
__attribute__((visibility("default"))) long syscall(long number, ...) {
    static long (*kernel)(long, ...);
    long words[6];
    va_list rest;
    va_start(rest, number);
    for (int i = 0; i < 6; i++) words[i] = va_arg(rest, long);
    va_end(rest);
    if (number == SYS_getrandom) {
        fill((void *)words[0], (size_t)words[1]);
        return words[1];
    }
    if (!kernel) kernel = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return kernel(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}
