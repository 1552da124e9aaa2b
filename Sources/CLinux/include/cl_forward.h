// Forwarding: sockets by address and port, bytes moved within the kernel, datagrams in batches.
// Everything here returns -1 with errno set on failure, as the call beneath does.
#ifndef CL_FORWARD_H
#define CL_FORWARD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// An address and a port; numbers are the host's. An IPv4 address mapped into IPv6 (RFC 4291 section 2.5.5.2)
// comes as what it is, and goes as the socket wants it.
struct cl_place {
    uint64_t high, low; // IPv4: low alone
    uint32_t scope;     // interface of a link-local address
    uint16_t port;
    uint8_t family;     // 4, 6, or 0: not known
};

// What a descriptor is. `listening` and `transparent` are 0 or 1; family is 4 or 6, 0 for no internet socket.
struct cl_socket_kind {
    int family, stream, listening, transparent;
};
int cl_what_socket(int fd, struct cl_socket_kind *kind);

// A socket that may have any address (IP_TRANSPARENT, IPV6_TRANSPARENT; CAP_NET_ADMIN), non-blocking.
int cl_transparent_socket(int family, int stream);
// Silent peers are looked for, small segments do not wait for others; accepted sockets inherit both.
int cl_stream_options(int fd);
// Datagrams tell what address they were sent to (IP_PKTINFO, IPV6_RECVPKTINFO).
int cl_tell_destination(int fd);

int cl_accept_from(int fd, struct cl_place *peer);
// `family` is the socket's. A port of 0 is chosen by connect.
int cl_bind_place(int fd, int family, const struct cl_place *place);
int cl_connect_place(int fd, int family, const struct cl_place *place);
int cl_local_place(int fd, struct cl_place *place);
// Where a connection that was translated was begun to (SO_ORIGINAL_DST of linux/netfilter_ipv4.h).
int cl_original_place(int fd, struct cl_place *place);
// The next close sends RST.
int cl_reset_on_close(int fd);

// A non-blocking pipe, of about `size` bytes where the kernel grants that.
int cl_buffer_pipe(int fds[2], int size);
// splice(2) without waiting. With `more` a socket may keep the last bytes back for what is coming.
ssize_t cl_splice(int from, int to, size_t length, int more);

// Raises RLIMIT_NOFILE to its hard limit, and returns what it is then.
int64_t cl_raise_descriptor_limit(void);

// Room for a batch of datagrams.
struct cl_datagrams;
struct cl_datagrams *cl_datagrams_new(int count);
void cl_datagrams_free(struct cl_datagrams *batch);
// recvmmsg(2) without waiting.
int cl_datagrams_receive(struct cl_datagrams *batch, int fd);
struct cl_place cl_datagrams_source(const struct cl_datagrams *batch, int index);
struct cl_place cl_datagrams_destination(const struct cl_datagrams *batch, int index);
size_t cl_datagrams_length(const struct cl_datagrams *batch, int index);
// sendmmsg(2) of `count` from `first` on, by a connected socket. Returns how many went.
int cl_datagrams_send(struct cl_datagrams *batch, int fd, int first, int count);
// The same to one place, from one address of this host's (family 0: any). `family` is the socket's.
int cl_datagrams_send_to(struct cl_datagrams *batch, int fd, int family, int first, int count,
                         const struct cl_place *to, const struct cl_place *from);

#endif
