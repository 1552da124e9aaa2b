#define _GNU_SOURCE
#include "cl_datagrams.h"
#include "cl_forward.h"
#include "cl_sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t load(const uint8_t *bytes) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value = value << 8 | bytes[i];
    return value;
}

static void store(uint8_t *bytes, uint64_t value) {
    for (int i = 7; i >= 0; i--, value >>= 8) bytes[i] = (uint8_t)value;
}

static void from_six(struct cl_place *place, const struct in6_addr *address) {
    if (IN6_IS_ADDR_V4MAPPED(address)) {
        place->family = 4;
        place->high = 0;
        place->low = load(address->s6_addr + 8) & 0xffffffff;
    } else {
        place->family = 6;
        place->high = load(address->s6_addr);
        place->low = load(address->s6_addr + 8);
    }
}

static void from_name(struct cl_place *place, const struct sockaddr_storage *name) {
    memset(place, 0, sizeof *place);
    if (name->ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)name;
        place->family = 4;
        place->low = ntohl(four->sin_addr.s_addr);
        place->port = ntohs(four->sin_port);
    } else if (name->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)name;
        from_six(place, &six->sin6_addr);
        place->port = ntohs(six->sin6_port);
        place->scope = six->sin6_scope_id;
    }
}

static struct in6_addr to_six(const struct cl_place *place) {
    struct in6_addr address;
    store(address.s6_addr, place->high);
    store(address.s6_addr + 8, place->family == 4 ? 0xffff00000000 | place->low : place->low);
    return address;
}

static socklen_t to_name(struct sockaddr_storage *name, int family, const struct cl_place *place) {
    memset(name, 0, sizeof *name);
    if (family == 4) {
        struct sockaddr_in *four = (struct sockaddr_in *)name;
        four->sin_family = AF_INET;
        four->sin_addr.s_addr = htonl((uint32_t)place->low);
        four->sin_port = htons(place->port);
        return sizeof *four;
    }
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)name;
    six->sin6_family = AF_INET6;
    six->sin6_addr = to_six(place);
    six->sin6_port = htons(place->port);
    six->sin6_scope_id = place->scope;
    return sizeof *six;
}

static int option(int fd, int level, int name) {
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, name, &value, &length) < 0 ? -1 : value;
}

static int set(int fd, int level, int name, int value) { return setsockopt(fd, level, name, &value, sizeof value); }

int cl_what_socket(int fd, struct cl_socket_kind *kind) {
    int domain = option(fd, SOL_SOCKET, SO_DOMAIN), type = option(fd, SOL_SOCKET, SO_TYPE);
    if (domain < 0 || type < 0) return -1;
    kind->family = domain == AF_INET ? 4 : domain == AF_INET6 ? 6 : 0;
    int protocol = option(fd, SOL_SOCKET, SO_PROTOCOL);
    kind->stream = type == SOCK_STREAM && protocol == IPPROTO_TCP;
    if (!kind->stream && !(type == SOCK_DGRAM && protocol == IPPROTO_UDP)) kind->family = 0;
    kind->listening = option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1;
    kind->transparent = kind->family == 4   ? option(fd, SOL_IP, IP_TRANSPARENT) == 1
                        : kind->family == 6 ? option(fd, SOL_IPV6, IPV6_TRANSPARENT) == 1
                                            : 0;
    return 0;
}

int cl_stream_options(int fd) {
    // tcp(7): a peer that has gone without a word is noticed within six minutes.
    if (set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) < 0 || set(fd, SOL_TCP, TCP_KEEPIDLE, 240) < 0 ||
        set(fd, SOL_TCP, TCP_KEEPINTVL, 30) < 0 || set(fd, SOL_TCP, TCP_KEEPCNT, 4) < 0)
        return -1;
    return set(fd, SOL_TCP, TCP_NODELAY, 1);
}

int cl_transparent_socket(int family, int stream) {
    int type = (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int fd = socket(family == 4 ? AF_INET : AF_INET6, type, 0);
    if (fd < 0) return -1;
    int failed = family == 4 ? set(fd, SOL_IP, IP_TRANSPARENT, 1)
                             : set(fd, SOL_IPV6, IPV6_TRANSPARENT, 1) | set(fd, SOL_IPV6, IPV6_V6ONLY, 1);
    // ip(7): without it bind would take a port of 0 at once, and one that no other destination uses either.
    failed |= set(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    // One client's port may lead to several endpoints.
    failed |= set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    // How long a peer may be silent is a setting of the fabric's namespace: these are made by the thousand.
    if (stream) failed |= set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) | set(fd, SOL_TCP, TCP_NODELAY, 1);
    if (!failed) return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int cl_tell_destination(int fd) {
    int domain = option(fd, SOL_SOCKET, SO_DOMAIN);
    return domain == AF_INET ? set(fd, SOL_IP, IP_PKTINFO, 1) : set(fd, SOL_IPV6, IPV6_RECVPKTINFO, 1);
}

int cl_accept_from(int fd, struct cl_place *peer) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    memset(&name, 0, sizeof name);
    int got = accept4(fd, (struct sockaddr *)&name, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (got >= 0) from_name(peer, &name);
    return got;
}

int cl_bind_place(int fd, int family, const struct cl_place *place) {
    struct sockaddr_storage name;
    socklen_t length = to_name(&name, family, place);
    return bind(fd, (struct sockaddr *)&name, length);
}

int cl_connect_place(int fd, int family, const struct cl_place *place) {
    struct sockaddr_storage name;
    socklen_t length = to_name(&name, family, place);
    return connect(fd, (struct sockaddr *)&name, length);
}

int cl_local_place(int fd, struct cl_place *place) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    memset(&name, 0, sizeof name);
    if (getsockname(fd, (struct sockaddr *)&name, &length) < 0) return -1;
    from_name(place, &name);
    return 0;
}

int cl_original_place(int fd, struct cl_place *place) {
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    memset(&name, 0, sizeof name);
    int level = option(fd, SOL_SOCKET, SO_DOMAIN) == AF_INET ? SOL_IP : SOL_IPV6;
    if (getsockopt(fd, level, CL_ORIGINAL_DESTINATION, &name, &length) < 0) return -1;
    from_name(place, &name);
    return 0;
}

int cl_reset_on_close(int fd) {
    struct linger none = {1, 0};
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

int cl_buffer_pipe(int fds[2], int size) {
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) return -1;
    // pipe(7): past a user's share of pages this fails, and the pipe stays as it is.
    int saved = errno;
    fcntl(fds[1], F_SETPIPE_SZ, size);
    errno = saved;
    return 0;
}

ssize_t cl_splice(int from, int to, size_t length, int more) {
    return splice(from, NULL, to, NULL, length, SPLICE_F_MOVE | SPLICE_F_NONBLOCK | (more ? SPLICE_F_MORE : 0));
}

int64_t cl_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -1;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0 && getrlimit(RLIMIT_NOFILE, &limit) < 0) return -1;
    return limit.rlim_cur > INT32_MAX ? INT32_MAX : (int64_t)limit.rlim_cur;
}

// Longer than any datagram of UDP.
enum { ROOM = 65536, CONTROL_ROOM = CMSG_SPACE(sizeof(struct in6_pktinfo)) };

struct cl_datagrams {
    int count;
    struct mmsghdr *messages;
    struct iovec *parts;
    struct sockaddr_storage *names;
    union {
        struct cmsghdr header;
        char room[CONTROL_ROOM];
    } *controls;
    char *bytes;
};

void cl_datagrams_free(struct cl_datagrams *batch) {
    if (!batch) return;
    free(batch->messages);
    free(batch->parts);
    free(batch->names);
    free(batch->controls);
    free(batch->bytes);
    free(batch);
}

struct cl_datagrams *cl_datagrams_new(int count) {
    struct cl_datagrams *batch = calloc(1, sizeof *batch);
    if (!batch) return NULL;
    batch->count = count;
    batch->messages = calloc(count, sizeof *batch->messages);
    batch->parts = calloc(count, sizeof *batch->parts);
    batch->names = calloc(count, sizeof *batch->names);
    batch->controls = calloc(count, sizeof *batch->controls);
    batch->bytes = malloc((size_t)count * ROOM);
    if (batch->messages && batch->parts && batch->names && batch->controls && batch->bytes) return batch;
    cl_datagrams_free(batch);
    errno = ENOMEM;
    return NULL;
}

int cl_datagrams_receive(struct cl_datagrams *batch, int fd) {
    for (int i = 0; i < batch->count; i++) {
        batch->parts[i] = (struct iovec){batch->bytes + (size_t)i * ROOM, ROOM};
        batch->names[i].ss_family = AF_UNSPEC;
        batch->messages[i].msg_hdr = (struct msghdr){.msg_name = &batch->names[i],
                                                     .msg_namelen = sizeof batch->names[i],
                                                     .msg_iov = &batch->parts[i],
                                                     .msg_iovlen = 1,
                                                     .msg_control = batch->controls[i].room,
                                                     .msg_controllen = CONTROL_ROOM};
    }
    int got = recvmmsg(fd, batch->messages, batch->count, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++) batch->parts[i].iov_len = batch->messages[i].msg_len;
    return got;
}

struct cl_place cl_datagrams_source(const struct cl_datagrams *batch, int index) {
    struct cl_place place;
    from_name(&place, &batch->names[index]);
    return place;
}

struct cl_place cl_datagrams_destination(const struct cl_datagrams *batch, int index) {
    struct cl_place place;
    memset(&place, 0, sizeof place);
    struct msghdr *message = &batch->messages[index].msg_hdr;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h; h = CMSG_NXTHDR(message, h)) {
        if (h->cmsg_level == SOL_IP && h->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo four;
            memcpy(&four, CMSG_DATA(h), sizeof four);
            place.family = 4;
            place.low = ntohl(four.ipi_spec_dst.s_addr);
        } else if (h->cmsg_level == SOL_IPV6 && h->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo six;
            memcpy(&six, CMSG_DATA(h), sizeof six);
            from_six(&place, &six.ipi6_addr);
            // RFC 3542 section 6.1: link-local addresses need the interface.
            if (IN6_IS_ADDR_LINKLOCAL(&six.ipi6_addr)) place.scope = six.ipi6_ifindex;
        }
    }
    return place;
}

size_t cl_datagrams_length(const struct cl_datagrams *batch, int index) { return batch->parts[index].iov_len; }

// As much as goes: a datagram that the kernel refuses does not keep the others back.
static int send_all(struct cl_datagrams *batch, int fd, int first, int count) {
    int done = 0, sent = 0;
    while (done < count) {
        int got = sendmmsg(fd, batch->messages + first + done, count - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (got > 0) {
            done += got;
            sent += got;
        } else if (errno == EAGAIN || errno == ENOBUFS) {
            break;
        } else if (errno != EINTR) {
            done++;
        }
    }
    return sent;
}

int cl_datagrams_send(struct cl_datagrams *batch, int fd, int first, int count) {
    for (int i = first; i < first + count; i++)
        batch->messages[i].msg_hdr = (struct msghdr){.msg_iov = &batch->parts[i], .msg_iovlen = 1};
    return send_all(batch, fd, first, count);
}

// The source address of what is sent, in the form that the socket understands.
static size_t put_source(struct cmsghdr *header, int family, const struct cl_place *from) {
    if (family == 4) {
        struct in_pktinfo four = {.ipi_spec_dst.s_addr = htonl((uint32_t)from->low)};
        header->cmsg_level = SOL_IP;
        header->cmsg_type = IP_PKTINFO;
        header->cmsg_len = CMSG_LEN(sizeof four);
        memcpy(CMSG_DATA(header), &four, sizeof four);
        return CMSG_SPACE(sizeof four);
    }
    struct in6_pktinfo six = {.ipi6_addr = to_six(from), .ipi6_ifindex = from->scope};
    header->cmsg_level = SOL_IPV6;
    header->cmsg_type = IPV6_PKTINFO;
    header->cmsg_len = CMSG_LEN(sizeof six);
    memcpy(CMSG_DATA(header), &six, sizeof six);
    return CMSG_SPACE(sizeof six);
}

int cl_datagrams_send_to(struct cl_datagrams *batch, int fd, int family, int first, int count,
                         const struct cl_place *to, const struct cl_place *from) {
    struct sockaddr_storage name;
    socklen_t length = to_name(&name, family, to);
    union {
        struct cmsghdr header;
        char room[CONTROL_ROOM];
    } control;
    memset(&control, 0, sizeof control);
    size_t control_length = from->family ? put_source(&control.header, family, from) : 0;
    for (int i = first; i < first + count; i++)
        batch->messages[i].msg_hdr = (struct msghdr){.msg_name = &name,
                                                     .msg_namelen = length,
                                                     .msg_iov = &batch->parts[i],
                                                     .msg_iovlen = 1,
                                                     .msg_control = control_length ? control.room : NULL,
                                                     .msg_controllen = control_length};
    return send_all(batch, fd, first, count);
}
