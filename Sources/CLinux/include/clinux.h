// What Glibc's Swift overlay does not show: system calls without a wrapper, variadic calls and flags.
// Everything here returns -1 with errno set on failure, as the call beneath does.
#ifndef CLINUX_H
#define CLINUX_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cl_process.h"

// errno is a macro over a call; strerror_r has two shapes.
int cl_errno(void);
void cl_strerror(int code, char *room, size_t length);

// setns(2) and unshare(2) with their flags.
enum {
    CL_NEWNS = 0x00020000,
    CL_NEWUSER = 0x10000000,
    CL_NEWNET = 0x40000000,
};
int cl_setns(int fd, int kind);
int cl_unshare(int flags);

// open(2) is variadic.
int cl_open(const char *path, int flags, unsigned mode);
int cl_dup(int fd);
int cl_openat(int directory, const char *path, int flags, unsigned mode);

// ioctl_ns(2): CLONE_NEW* of the namespace, and a descriptor of the user namespace that owns it.
int cl_ns_type(int fd);
int cl_ns_owner(int fd);

// sendmsg(2) and recvmsg(2) with descriptors (SCM_RIGHTS). At most CL_MAX_FDS at a time.
// `count` is in/out on receipt: room in, received out. Received descriptors are close-on-exec.
enum { CL_MAX_FDS = 64 };
ssize_t cl_send_fds(int fd, const void *bytes, size_t length, const int *fds, int count, int flags);
ssize_t cl_recv_fds(int fd, void *bytes, size_t length, int *fds, int *count, int flags);

// Netlink: a datagram to the kernel, a datagram back with the sender's port (0 is the kernel) and
// whether it was truncated (the full length is returned then).
int cl_netlink_open(int protocol, uint32_t *port);
ssize_t cl_netlink_send(int fd, const void *bytes, size_t length);
ssize_t cl_netlink_recv(int fd, void *bytes, size_t length, uint32_t *port, int flags);

// accept4(2) with SOCK_CLOEXEC.
int cl_accept(int fd);

// SO_PEERCRED as numbers of the caller's user namespace.
int cl_peer_credentials(int fd, int *pid, unsigned *uid, unsigned *gid);

int cl_pidfd_open(int pid);

#endif
