// Internet sockets: datagrams in batches, addresses as numbers, which of them are ready.
// Everything here returns -1 with errno set on failure, as the call beneath does, and, but for cl_epoll_wait, never waits.
#ifndef CL_DATAGRAMS_H
#define CL_DATAGRAMS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// An Internet socket's address. IPv4 is the low 32 bits of `low`; `family` is 4 or 6, or 0 for any other kind.
struct cl_peer {
    uint64_t high;
    uint64_t low;
    uint32_t scope;
    uint16_t port;
    uint16_t family;
};

enum { CL_BATCH = 64 };

// What came as one: a datagram, or on a socket with UDP_GRO (udp(7)) several that were sent as one.
struct cl_piece {
    int32_t length;
    int32_t segment; // length of each of several but the last, which may be shorter; 0 of one
    int32_t is_cut;  // it did not fit: `length` has the datagrams alone that are there whole
};

// recvmmsg(2): up to CL_BATCH pieces, each into `room` bytes of its own from `bytes` on.
int cl_receive_many(int fd, void *bytes, size_t room, struct cl_peer *peers, struct cl_piece *pieces, int count);

// sendmmsg(2): up to CL_BATCH datagrams that lie one behind the other, the first from `start` on, each up to `ends[i]`.
// Datagrams of one length for one peer go down to the link as one piece, which the kernel cuts (UDP_SEGMENT of udp(7)).
int cl_send_many(int fd, const void *bytes, size_t start, const size_t *ends, const struct cl_peer *peers, int count);

// connect(2), and its undoing (AF_UNSPEC) with which a socket gives its port back.
int cl_connect_peer(int fd, const struct cl_peer *peer);
int cl_disconnect(int fd);

// bind(2), and listen(2) unless the backlog is 0.
int cl_bind_peer(int fd, const struct cl_peer *peer, int backlog);

int cl_local_address(int fd, struct cl_peer *address);
// SO_ERROR: what became of a connect.
int cl_pending_error(int fd);
// accept4(2), close-on-exec and not blocking, with the caller's address.
int cl_accept_peer(int fd, struct cl_peer *peer);
// A socket of family 4 or 6, close-on-exec and not blocking.
int cl_internet_socket(int family, int stream);
int cl_set_nonblocking(int fd);

ssize_t cl_send_now(int fd, const void *bytes, size_t length);
ssize_t cl_receive_now(int fd, void *bytes, size_t length, struct cl_peer *peer);

// epoll(7) without its union: the token is the caller's.
struct cl_event {
    uint64_t token;
    uint32_t ready;
};
int cl_epoll_control(int epoll, int operation, int fd, uint32_t interest, uint64_t token);
// At most CL_BATCH events.
int cl_epoll_wait(int epoll, struct cl_event *events, int count, int timeout_ms);

// CLOCK_MONOTONIC in milliseconds.
uint64_t cl_monotonic(void);

#endif
