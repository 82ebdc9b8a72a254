// libzstd's stable interface.
#ifndef ZEROFS_CZSTD_SHIM_H
#define ZEROFS_CZSTD_SHIM_H

#include <zstd.h>
#include <zstd_errors.h>

#endif
