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

/// Answers datagrams on all addresses in the namespace at `path` with themselves, from a thread of its own that never
/// sleeps, until `bench_stop`. 0 or an errno.
int bench_echo(const char *path, int family, uint16_t port);

/// Sends datagrams to an echo from the namespace at `path`, one after the other, and writes down the nanoseconds until
/// each came back: all from one socket (the first is not counted), or each from a new one, whose making is not counted.
/// 0 or an errno; ETIMEDOUT when one did not come back within a second.
int bench_round_trips(const char *path, int family, const char *address, uint16_t port, int count, int fresh,
                      int64_t *nanoseconds);

/// Sends a TCP stream from the namespace at `from` to the one at `to` as fast as it goes, from threads of its own, until
/// `bench_stop`. 0 once it flows, or an errno.
int bench_stream(const char *from, const char *to, int family, const char *address, uint16_t port);

/// The bytes of the stream that the receiving side's kernel has taken in, read or not; -1 without a stream.
int64_t bench_stream_received(void);

/// Ends the echo and the stream, and waits until they have ended.
void bench_stop(void);

/// Sends `count` datagrams from the namespace at `path`, so many a second. 0 or an errno.
int bench_flood(const char *path, int family, const char *address, uint16_t port, int count, int per_second);
