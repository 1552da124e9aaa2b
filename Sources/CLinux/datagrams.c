#define _GNU_SOURCE
#include "clinux.h"
#include "cl_datagrams.h"

#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <time.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage room;
};

static void from_system(struct cl_peer *peer, const union address *address, socklen_t length) {
    memset(peer, 0, sizeof *peer);
    if (length >= sizeof address->v4 && address->any.sa_family == AF_INET) {
        peer->family = 4;
        peer->low = ntohl(address->v4.sin_addr.s_addr);
        peer->port = ntohs(address->v4.sin_port);
    } else if (length >= sizeof address->v6 && address->any.sa_family == AF_INET6) {
        uint64_t half[2];
        memcpy(half, &address->v6.sin6_addr, sizeof half);
        peer->family = 6;
        peer->high = be64toh(half[0]);
        peer->low = be64toh(half[1]);
        peer->port = ntohs(address->v6.sin6_port);
        peer->scope = address->v6.sin6_scope_id;
    }
}

static socklen_t to_system(union address *address, const struct cl_peer *peer) {
    if (peer->family == 4) {
        memset(&address->v4, 0, sizeof address->v4);
        address->v4.sin_family = AF_INET;
        address->v4.sin_addr.s_addr = htonl((uint32_t)peer->low);
        address->v4.sin_port = htons(peer->port);
        return sizeof address->v4;
    }
    uint64_t half[2] = {htobe64(peer->high), htobe64(peer->low)};
    memset(&address->v6, 0, sizeof address->v6);
    address->v6.sin6_family = AF_INET6;
    memcpy(&address->v6.sin6_addr, half, sizeof half);
    address->v6.sin6_port = htons(peer->port);
    address->v6.sin6_scope_id = peer->scope;
    return sizeof address->v6;
}

// The length of the datagrams that came in this one piece; 0 where it is one.
static int32_t segment(struct msghdr *message) {
    for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h; h = CMSG_NXTHDR(message, h)) {
        int length = 0;
        if (h->cmsg_level != SOL_UDP || h->cmsg_type != UDP_GRO || h->cmsg_len < CMSG_LEN(sizeof length)) continue;
        memcpy(&length, CMSG_DATA(h), sizeof length);
        return length > 0 ? length : 0;
    }
    return 0;
}

int cl_receive_many(int fd, void *bytes, size_t room, struct cl_peer *peers, struct cl_piece *pieces, int count) {
    struct mmsghdr messages[CL_BATCH];
    struct iovec parts[CL_BATCH];
    union address senders[CL_BATCH];
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } controls[CL_BATCH];
    if (count > CL_BATCH) count = CL_BATCH;
    for (int i = 0; i < count; i++) {
        parts[i] = (struct iovec){.iov_base = (char *)bytes + room * i, .iov_len = room};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &senders[i], .msg_namelen = sizeof senders[i], .msg_iov = &parts[i], .msg_iovlen = 1,
            .msg_control = &controls[i], .msg_controllen = sizeof controls[i]};
    }
    int got = recvmmsg(fd, messages, count, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++) {
        struct msghdr *message = &messages[i].msg_hdr;
        const int32_t length = (int32_t)messages[i].msg_len;
        from_system(&peers[i], &senders[i], message->msg_namelen);
        pieces[i] = (struct cl_piece){.length = length, .segment = segment(message)};
        if (!(message->msg_flags & MSG_TRUNC)) continue;
        // What is there whole.
        pieces[i].length = pieces[i].segment > 0 ? length - length % pieces[i].segment : 0;
        pieces[i].is_cut = 1;
    }
    return got;
}

static int is_same_peer(const struct cl_peer *one, const struct cl_peer *other) {
    return one->low == other->low && one->high == other->high && one->port == other->port &&
           one->scope == other->scope && one->family == other->family;
}

// How many datagrams from the first on go to one peer, all as long as the first, but for the last, which may be shorter.
static int alike(size_t start, const size_t *ends, const struct cl_peer *peers, int count) {
    const size_t length = ends[0] - start;
    int found = 1;
    // 65,507 bytes is the longest datagram, and what the kernel takes as segments of one is no longer.
    while (length > 0 && found < count && is_same_peer(&peers[0], &peers[found]) &&
           ends[found] - ends[found - 1] <= length && ends[found] > ends[found - 1] && ends[found] - start <= 65507) {
        found++;
        if (ends[found - 1] - ends[found - 2] < length) break;
    }
    return found;
}

int cl_send_many(int fd, const void *bytes, size_t start, const size_t *ends, const struct cl_peer *peers, int count) {
    struct mmsghdr messages[CL_BATCH];
    struct iovec parts[CL_BATCH];
    union address receivers[CL_BATCH];
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(uint16_t))];
    } segments[CL_BATCH];
    int groups[CL_BATCH];
    int number = 0;
    if (count > CL_BATCH) count = CL_BATCH;
    for (int i = 0; i < count; number++) {
        const int group = alike(start, ends + i, peers + i, count - i);
        const uint16_t length = (uint16_t)(ends[i] - start);
        socklen_t size = to_system(&receivers[number], &peers[i]);
        groups[number] = group;
        parts[number] = (struct iovec){.iov_base = (char *)bytes + start, .iov_len = ends[i + group - 1] - start};
        messages[number].msg_hdr = (struct msghdr){
            .msg_name = &receivers[number], .msg_namelen = size, .msg_iov = &parts[number], .msg_iovlen = 1};
        if (group > 1) {
            memset(&segments[number], 0, sizeof segments[number]);
            segments[number].head =
                (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof length), .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT};
            memcpy(CMSG_DATA(&segments[number].head), &length, sizeof length);
            messages[number].msg_hdr.msg_control = &segments[number];
            messages[number].msg_hdr.msg_controllen = sizeof segments[number];
        }
        start = ends[i + group - 1];
        i += group;
    }
    int sent = sendmmsg(fd, messages, number, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && groups[0] > 1 && errno != EAGAIN) {
        // Longer than the way is wide, or a device that makes no checksums: the first ones by themselves.
        const size_t length = ends[0] - (size_t)((char *)parts[0].iov_base - (char *)bytes);
        char *from = parts[0].iov_base, *end = from + parts[0].iov_len;
        for (number = 0; from < end; number++) {
            const size_t rest = (size_t)(end - from);
            parts[number] = (struct iovec){.iov_base = from, .iov_len = rest < length ? rest : length};
            messages[number].msg_hdr = (struct msghdr){
                .msg_name = &receivers[0], .msg_namelen = messages[0].msg_hdr.msg_namelen, .msg_iov = &parts[number],
                .msg_iovlen = 1};
            from += parts[number].iov_len;
        }
        return sendmmsg(fd, messages, number, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    int total = sent < 0 ? sent : 0;
    for (int i = 0; i < sent; i++) total += groups[i];
    return total;
}

int cl_connect_peer(int fd, const struct cl_peer *peer) {
    union address address;
    socklen_t length = to_system(&address, peer);
    return connect(fd, &address.any, length);
}

int cl_disconnect(int fd) {
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    return connect(fd, &nobody, sizeof nobody);
}

int cl_bind_peer(int fd, const struct cl_peer *peer, int backlog) {
    union address address;
    socklen_t length = to_system(&address, peer);
    int yes = 1;
    // A stream's port may be waiting for the last packets of connections that have ended.
    if (backlog > 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0) return -1;
    if (bind(fd, &address.any, length) < 0) return -1;
    return backlog > 0 ? listen(fd, backlog) : 0;
}

int cl_local_address(int fd, struct cl_peer *address) {
    union address name;
    socklen_t length = sizeof name;
    if (getsockname(fd, &name.any, &length) < 0) return -1;
    from_system(address, &name, length);
    return 0;
}

int cl_pending_error(int fd) {
    int code = 0;
    socklen_t length = sizeof code;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) < 0 ? -1 : code;
}

int cl_accept_peer(int fd, struct cl_peer *peer) {
    union address name;
    socklen_t length = sizeof name;
    int got = accept4(fd, &name.any, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (got < 0) return -1;
    from_system(peer, &name, length);
    return got;
}

int cl_internet_socket(int family, int stream) {
    return socket(family == 4 ? AF_INET : AF_INET6, (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

int cl_set_nonblocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

ssize_t cl_send_now(int fd, const void *bytes, size_t length) {
    return send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
}

ssize_t cl_receive_now(int fd, void *bytes, size_t length, struct cl_peer *peer) {
    union address name;
    socklen_t size = sizeof name;
    ssize_t got = recvfrom(fd, bytes, length, MSG_DONTWAIT, &name.any, &size);
    if (got >= 0) from_system(peer, &name, size);
    return got;
}

int cl_epoll_control(int epoll, int operation, int fd, uint32_t interest, uint64_t token) {
    struct epoll_event event = {.events = interest, .data.u64 = token};
    return epoll_ctl(epoll, operation, fd, &event);
}

int cl_epoll_wait(int epoll, struct cl_event *events, int count, int timeout_ms) {
    struct epoll_event ready[CL_BATCH];
    int got = epoll_wait(epoll, ready, count > CL_BATCH ? CL_BATCH : count, timeout_ms);
    for (int i = 0; i < got; i++) events[i] = (struct cl_event){.token = ready[i].data.u64, .ready = ready[i].events};
    return got;
}

uint64_t cl_monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
