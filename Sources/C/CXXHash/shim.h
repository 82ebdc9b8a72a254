// XXH3 from libxxhash, version 0.8 or later: its output is frozen from there on.
#ifndef ZEROFS_CXXHASH_SHIM_H
#define ZEROFS_CXXHASH_SHIM_H

#include <xxhash.h>

#endif
