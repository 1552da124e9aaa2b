// What a process gives up for good: system calls, files, limits.
// Everything here returns -1 with errno set on failure, as the call beneath does.
#ifndef CL_SANDBOX_H
#define CL_SANDBOX_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

// F_SETPIPE_SZ of fcntl(2) is hidden behind _GNU_SOURCE; the number of SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST is the
// same, and their headers cannot be had together.
enum { CL_SET_PIPE_SIZE = 1031, CL_ORIGINAL_DESTINATION = 80 };

// AUDIT_ARCH_* (linux/audit.h) of the machine that this is built for.
uint32_t cl_audit_arch(void);

// Filters the system calls of the calling thread, and of threads that it starts, by a program of seccomp(2). Nothing
// takes it away again. Sets no_new_privs, without which only root may do it.
int cl_filter_calls(const struct sock_filter *program, int count);

// Opens nothing from now on, makes and changes no file, and sends no signal to anybody outside, as far as the kernel
// has Landlock (landlock(7)): the calling thread, and threads that it starts. Descriptors that are open stay as they
// are. Returns Landlock's version, 0 where the kernel has none. Sets no_new_privs.
int cl_forbid_files(void);

enum cl_limit {
    CL_LIMIT_CORE,      // bytes of a core file
    CL_LIMIT_FILE_SIZE, // bytes of a file that is written to
    CL_LIMIT_PROCESSES, // processes and threads of the user, when one more is made
};
// Lowers a limit of the process for good. Past a file's size write(2) fails with EFBIG, and no signal is sent.
int cl_lower_limit(int limit, uint64_t most);

#endif
