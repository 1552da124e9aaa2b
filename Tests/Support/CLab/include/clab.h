// Puts the test process into its lab before main: user namespaces can only be made while there is one thread.
#ifndef CLAB_H
#define CLAB_H

// For the addresses of LabSockets.
#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>

// Empty if the process is in its lab, else why not.
const char *clab_unavailable(void);
// Whether ids besides root's are mapped, so that tests can become another user.
int clab_has_other_users(void);
// Whether the process was started by the host's root.
int clab_started_as_root(void);

// Takes every capability from the calling thread, and from no other.
int clab_drop_capabilities(void);

// What a program does that has been taken over.
enum clab_deed {
    CLAB_READ_FILE,
    CLAB_WRITE_FILE,
    CLAB_MAKE_FILE,
    CLAB_LIST_DIRECTORY,
    CLAB_RUN_PROGRAM,
    CLAB_FORK,
    CLAB_THREAD,
    CLAB_UNIX_SOCKET,
    CLAB_INTERNET_SOCKET,
    CLAB_NETLINK_SOCKET,
    CLAB_TRACE,
    CLAB_READ_PARENT,
    CLAB_SIGNAL_PARENT,
    CLAB_USER_NAMESPACE,
    CLAB_MOUNT,
    CLAB_IO_URING,
    CLAB_KERNEL_PROGRAM,
    CLAB_RUN_MEMORY,
    CLAB_MAKE_RUNNABLE,
    CLAB_OTHER_NUMBERS,
    CLAB_SOCKET_FILTER,
    CLAB_CONTROL_DEVICE,
    CLAB_DUMPABLE,
    // What the proxy does itself.
    CLAB_ALLOCATE,
    CLAB_SPLICE,
    CLAB_ACCEPT,
};
// Has a child with a filter of system calls do that: `count` 0 is none. With `forbid_files` it gives up files first.
// Returns the signal that ended it, negative; 0 where all went well, or errno.
int clab_do(int deed, const struct sock_filter *program, int count, int forbid_files);

#endif
