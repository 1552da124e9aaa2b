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

/// Opens a socket for datagrams in the namespace at `path`. 0 or an errno.
int bench_socket(const char *path, int family, int *sock);

/// Sends the datagram `number` on the socket, again each 200 us, until one has arrived; closes the socket.
/// Returns when the first arrived, or -1 when none has within three seconds.
int64_t bench_first_arrival(int sock, int family, const char *address, uint16_t port, uint32_t number);

/// The most datagram numbers there may be.
enum { BENCH_NUMBERS = 4096 };
