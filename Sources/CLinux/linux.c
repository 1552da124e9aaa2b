#define _GNU_SOURCE
#include "clinux.h"

#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

int cl_errno(void) { return errno; }
void cl_strerror(int code, char *room, size_t length) {
    const char *text = strerror_r(code, room, length);
    if (text != room) {
        strncpy(room, text, length - 1);
        room[length - 1] = 0;
    }
}

int cl_setns(int fd, int kind) { return setns(fd, kind); }
int cl_unshare(int flags) { return unshare(flags); }

int cl_open(const char *path, int flags, unsigned mode) { return open(path, flags | O_CLOEXEC, mode); }
int cl_openat(int directory, const char *path, int flags, unsigned mode) {
    return openat(directory, path, flags | O_CLOEXEC, mode);
}

int cl_dup(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 3); }

int cl_ns_type(int fd) { return ioctl(fd, NS_GET_NSTYPE); }
int cl_ns_owner(int fd) { return ioctl(fd, NS_GET_USERNS); }

union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int) * CL_MAX_FDS)];
};

ssize_t cl_send_fds(int fd, const void *bytes, size_t length, const int *fds, int count, int flags) {
    if (count < 0 || count > CL_MAX_FDS) {
        errno = EINVAL;
        return -1;
    }
    union control control;
    memset(&control, 0, sizeof control);
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = control.room;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
    }
    return sendmsg(fd, &message, flags | MSG_NOSIGNAL);
}

ssize_t cl_recv_fds(int fd, void *bytes, size_t length, int *fds, int *count, int flags) {
    union control control;
    struct iovec part = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    ssize_t got = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
    int room = *count;
    *count = 0;
    if (got < 0) return got;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&message); h; h = CMSG_NXTHDR(&message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
        int n = (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < n; i++) {
            int received;
            memcpy(&received, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
            if (*count < room) fds[(*count)++] = received;
            else close(received);
        }
    }
    return got;
}

int cl_netlink_open(int protocol, uint32_t *port) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    if (fd < 0) return -1;
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    socklen_t length = sizeof address;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    *port = address.nl_pid;
    return fd;
}

ssize_t cl_netlink_send(int fd, const void *bytes, size_t length) {
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    return sendto(fd, bytes, length, MSG_NOSIGNAL, (struct sockaddr *)&kernel, sizeof kernel);
}

ssize_t cl_netlink_recv(int fd, void *bytes, size_t length, uint32_t *port, int flags) {
    struct sockaddr_nl sender = {0};
    socklen_t size = sizeof sender;
    ssize_t got = recvfrom(fd, bytes, length, flags | MSG_TRUNC, (struct sockaddr *)&sender, &size);
    *port = sender.nl_pid;
    return got;
}

int cl_accept(int fd) { return accept4(fd, NULL, NULL, SOCK_CLOEXEC); }

int cl_peer_credentials(int fd, int *pid, unsigned *uid, unsigned *gid) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) return -1;
    *pid = peer.pid;
    *uid = peer.uid;
    *gid = peer.gid;
    return 0;
}

int cl_pidfd_open(int pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }
