// Processes: what has to happen between fork and exec, where Swift may not run.
#ifndef CL_PROCESS_H
#define CL_PROCESS_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

// A child in the making: arguments, environment, descriptors, and steps taken in order before exec.
// Everything is allocated before the fork; the child only makes system calls.
struct cl_plan;

struct cl_plan *cl_plan_new(void);
void cl_plan_free(struct cl_plan *plan);
// The file to run, if it is not the first argument.
int cl_plan_program(struct cl_plan *plan, const char *path);
// A plan without arguments takes its steps and exits with 0.
int cl_plan_argument(struct cl_plan *plan, const char *text);
// The child gets the parent's environment, or after this only what is added: "NAME=value".
void cl_plan_empty_environment(struct cl_plan *plan);
int cl_plan_variable(struct cl_plan *plan, const char *text);
// Becomes the child's next descriptor: the first 0, the second 1. All others are closed by exec.
int cl_plan_descriptor(struct cl_plan *plan, int fd);

enum cl_step_kind {
    CL_STEP_JOIN,          // setns(one, two)
    CL_STEP_UNSHARE,       // unshare(one)
    CL_STEP_MAP_OWN,       // the id before the last unshare appears as uid one, gid two; alone
    CL_STEP_WRITE,         // b into the existing file a
    CL_STEP_MOUNT,         // mount(a, b, c, flags one, d)
    CL_STEP_CHDIR,         // chdir(a)
    CL_STEP_SESSION,       // setsid()
    CL_STEP_DEATH_SIGNAL,  // signal one when the parent's thread ends
    CL_STEP_NO_PRIVILEGES, // no_new_privs: exec gains neither ids nor capabilities
    CL_STEP_BOUND,         // capability bounding set limited to the mask one
    CL_STEP_LOOPBACK,      // lo up
    CL_STEP_PAUSE,         // reports CL_REPORT_PAUSED and waits for a byte on the go pipe; its end ends the child
    CL_STEP_TAP,           // the TAP interface a, made anew where one is 1, else removed
    CL_STEP_CLOSE,         // every descriptor from 3 on, for a child that becomes no program
    CL_STEP_USER,          // groups cleared, gid two, uid one
    CL_STEP_JOIN_PATH,     // setns to the network namespace at a, whose device is one and whose inode is two
};
// `optional`: a failure is reported and the child goes on.
int cl_plan_step(struct cl_plan *plan, int kind, int optional, uint64_t one, uint64_t two, const char *a,
                 const char *b, const char *c, const char *d);

enum { CL_REPORT_FAILED = 1, CL_REPORT_SKIPPED = 2, CL_REPORT_PAUSED = 3 };
// What the child says: which step (its number, -1 is exec) and errno. The end of the stream is a successful exec.
struct cl_report {
    int32_t kind;
    int32_t step;
    int32_t code;
};

// Forks. On success the caller owns the read end of the reports and the write end of the go pipe.
pid_t cl_plan_start(struct cl_plan *plan, int *reports, int *go);

// waitpid; `status` becomes the exit code, or 128 + signal with `signal` set. Returns pid, 0 with `nohang` if alive.
pid_t cl_wait(pid_t pid, int nohang, int *status, int *signal);

// Blocks signals in this thread (and those it starts) and reads them one by one.
int cl_block_signals(const int *signals, int count);
int cl_signal_descriptor(const int *signals, int count);
// The next of `signals`, waited for; `from_process` is 1 when kill(2) sent it and not the kernel.
int cl_wait_signal(const int *signals, int count, int timeout_ms, int *from_process);
// A signalfd's next signal number, or -1.
int cl_read_signal(int fd);
int cl_pidfd_signal(int pidfd, int signal);
// Writing to a closed socket is an error to handle, not a reason to die.
void cl_ignore_broken_pipes(void);
// What ps shows for the calling thread; on the main thread for the process.
void cl_set_name(const char *name);
// prctl(PR_SET_DUMPABLE, 0): only who has CAP_SYS_PTRACE over the process may look into it from now on.
void cl_undumpable(void);

// POSIX record lock on a whole file: the kernel names its holder, so that nobody has to trust a pid in a file.
int cl_lock(int fd);
// 0 and *pid == 0 when nobody holds it.
int cl_lock_holder(int fd, pid_t *pid);

// Unix stream sockets by path. Listening sockets get mode 0600.
int cl_unix_listen(const char *path, int backlog);
int cl_unix_connect(const char *path, int waits);
int cl_seqpacket_pair(int fds[2]);
int cl_pipe(int fds[2]);

// Brings lo up in the calling thread's network namespace.
int cl_loopback_up(void);

// A TAP interface that is there without a program behind it, in the calling thread's network namespace. One of the
// name that is there already is removed; with `present` 0 that is all.
int cl_tap(const char *name, int present);

// Account name of a uid, and uid and gid of an account: 0 if found.
int cl_user_name(unsigned uid, char *room, size_t length);
int cl_user_ids(const char *name, unsigned *uid, unsigned *gid);

// Type of the file system that a descriptor's file is on (statfs f_type).
int64_t cl_filesystem_type(int fd);
enum { CL_NSFS_MAGIC = 0x6e736673 };
// O_PATH is hidden behind _GNU_SOURCE.
enum { CL_O_PATH = 010000000 };

#endif
