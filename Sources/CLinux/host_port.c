#define _GNU_SOURCE
#include "cl_host_port.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int set(int fd, int level, int name, int value) { return setsockopt(fd, level, name, &value, sizeof value); }

static int bind_four(int fd, uint32_t address, uint16_t port) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
    return bind(fd, (struct sockaddr *)&name, sizeof name);
}

static int bind_six(int fd, uint64_t high, uint64_t low, uint16_t port, int only) {
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    for (int i = 0; i < 8; i++) {
        name.sin6_addr.s6_addr[i] = (uint8_t)(high >> (56 - 8 * i));
        name.sin6_addr.s6_addr[8 + i] = (uint8_t)(low >> (56 - 8 * i));
    }
    if (set(fd, SOL_IPV6, IPV6_V6ONLY, only) < 0) return -1;
    return bind(fd, (struct sockaddr *)&name, sizeof name);
}

static int open_port(int family, uint64_t high, uint64_t low, uint16_t port, int stream) {
    int type = (stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int fd = socket(family == 4 ? AF_INET : AF_INET6, type, 0);
    if (fd < 0) return -1;
    // Not for datagrams, where it would let two have the port at once.
    if (!stream || set(fd, SOL_SOCKET, SO_REUSEADDR, 1) == 0) {
        int bound = family == 4 ? bind_four(fd, (uint32_t)low, port) : bind_six(fd, high, low, port, family == 6);
        if (bound == 0 && (!stream || listen(fd, 4096) == 0)) return fd;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int cl_host_port(int family, uint64_t high, uint64_t low, uint16_t port, int stream) {
    int fd = open_port(family, high, low, port, stream);
    // A host without IPv6 has IPv4's addresses alone.
    if (fd < 0 && family == 0 && errno == EAFNOSUPPORT) fd = open_port(4, 0, 0, port, stream);
    return fd;
}
