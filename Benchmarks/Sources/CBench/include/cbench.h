#pragma once
#include <stdint.h>

/// Nanoseconds of CLOCK_MONOTONIC.
int64_t bench_now(void);

/// Makes a network namespace and binds it to the new file `path`, as a container runtime does. 0 or an errno.
int bench_make_namespace(const char *path);

/// Removes what `bench_make_namespace` made; what is gone is no error.
void bench_remove_namespace(const char *path);

/// Listens for numbered datagrams in the namespace at `path`, from a thread of its own, for the life of the process.
/// `family` is 4 or 6. 0 or an errno.
int bench_listen(const char *path, int family, uint16_t port);

/// Starts a thread in the namespace at `path` that sends datagrams numbered `number` as soon as an address and a route
/// are there, until one has arrived. 0 or an errno.
int bench_knock(const char *path, int family, const char *address, uint16_t port, uint32_t number);

/// When the first datagram `number` arrived, or -1 when none has within a second from now.
int64_t bench_arrival(uint32_t number);

/// The most datagram numbers there may be.
enum { BENCH_NUMBERS = 4096 };
