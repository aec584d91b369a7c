/* Runs a program and writes down, in order, what it does to the files below one directory: what was written, and what was synced.
 *
 *   recorder ROOT LOG [--fail KIND NAME NTH ERRNO once|ever AFTER] -- PROGRAM ARGUMENT...
 *
 * By ptrace, so that system calls are seen however they are made: a preloaded library would miss those that go past libc (rustix
 * makes its own). A call that changes files and is not known here ends the run: the record is complete, or there is none.
 *
 * Calls that count are made one at a time: a call that was begun ends before another thread's begins. So the record has one order,
 * and each prefix of it is a moment at which the machine could have stopped. `sync_file_range` syncs nothing here.
 *
 * --fail lets the NTH call of a KIND on a file whose path ends in NAME fail without being made, counted from when a call on a
 * file whose path ends in AFTER was made. `ever`: and every later call that needs room, on whatever file but acks, as on a full disk.
 *
 * One entry of the log, in the machine's byte order, followed by name, other name and data:
 *   u32 kind, u32 length of name, u32 length of other, u32 zero, u64 length of data, u64 offset, u64 length
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

enum kind { NONE, CREATE, MKDIR, WRITE, TRUNCATE, ALLOCATE, RENAME, UNLINK, RMDIR, LINK, SYNC, SYNC_ALL, FAULT };
static const char *const KINDS[] = { "none", "create", "mkdir", "write", "truncate", "allocate", "rename", "unlink", "rmdir", "link", "sync", "sync_all" };

#define PATH 4096

/* A call, from its entry to its exit. */
struct call {
    enum kind kind;
    char name[PATH], other[PATH];
    uint64_t offset, length;
    unsigned char *data;
    int fd;          /* Where what was written is only known afterwards. */
    int position;    /* The offset is the file's position. */
    int existed, truncates;
};

static char root[PATH];
static size_t root_length;
static FILE *record;
static pid_t program;
static int code;
static struct { int kind; const char *name, *after; long nth; int error, ever, armed, struck; } fault;

__attribute__((noreturn)) static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("recorder: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    /* PTRACE_O_EXITKILL ends the program too. */
    exit(125);
}

static int below(const char *path) {
    return strncmp(path, root, root_length) == 0 && path[root_length] == '/';
}

static int ends_in(const char *path, const char *end) {
    size_t length = strlen(path), wanted = strlen(end);
    return length >= wanted && strcmp(path + length - wanted, end) == 0;
}

static int acks(const char *path) { return ends_in(path, "/acks"); }

static void memory(pid_t thread, uint64_t address, void *into, size_t length) {
    struct iovec local = { into, length }, remote = { (void *)(uintptr_t)address, length };
    if (length > 0 && process_vm_readv(thread, &local, 1, &remote, 1, 0) != (ssize_t)length) die("memory of %d cannot be read: %s", thread, strerror(errno));
}

static void text(pid_t thread, uint64_t address, char *into) {
    for (size_t at = 0; at < PATH; at++) {
        memory(thread, address + at, into + at, 1);
        if (into[at] == 0) return;
    }
    die("a path is too long");
}

/* The path of an open file; false where it has none below the root. */
static int of_fd(pid_t thread, int fd, char *into) {
    char link[64];
    snprintf(link, sizeof link, "/proc/%d/fd/%d", thread, fd);
    ssize_t length = readlink(link, into, PATH - 1);
    into[length < 0 ? 0 : length] = 0;
    /* The root itself can be synced too. */
    return length > 0 && (below(into) || strcmp(into, root) == 0) && !ends_in(into, " (deleted)");
}

/* A path that was handed over; false where it is not below the root. */
static int of_path(pid_t thread, int directory, uint64_t address, char *into) {
    char given[PATH], base[PATH], link[64];
    text(thread, address, given);
    if (given[0] == '/') {
        strcpy(into, given);
    } else {
        if (directory == AT_FDCWD) snprintf(link, sizeof link, "/proc/%d/cwd", thread);
        else snprintf(link, sizeof link, "/proc/%d/fd/%d", thread, directory);
        ssize_t length = readlink(link, base, PATH - 1);
        if (length < 0) return 0;
        base[length] = 0;
        if (snprintf(into, PATH, "%s/%s", base, given) >= PATH) die("a path is too long");
    }
    if (below(into) && (strstr(into, "/../") || strstr(into, "/./") || strstr(into, "//"))) die("a path that is not plain: %s", into);
    return below(into);
}

static uint64_t position(pid_t thread, int fd) {
    char name[64];
    unsigned long long position = 0;
    snprintf(name, sizeof name, "/proc/%d/fdinfo/%d", thread, fd);
    FILE *file = fopen(name, "r");
    if (!file || fscanf(file, "pos: %llu", &position) != 1) die("the position of a file is not known");
    fclose(file);
    return position;
}

static void put(enum kind kind, const char *name, const char *other, const void *data, uint64_t size, uint64_t offset, uint64_t length) {
    uint32_t head[4] = { kind, strlen(name), strlen(other), 0 };
    uint64_t numbers[3] = { size, offset, length };
    fwrite(head, sizeof head, 1, record);
    fwrite(numbers, sizeof numbers, 1, record);
    fwrite(name, head[1], 1, record);
    fwrite(other, head[2], 1, record);
    if (size > 0) fwrite(data, size, 1, record);
    if (ferror(record)) die("the record cannot be written");
}

static void gather(pid_t thread, uint64_t address, uint64_t count, struct call *call) {
    if (count > 1024) die("a vector is too long");
    struct iovec parts[1024];
    memory(thread, address, parts, count * sizeof *parts);
    for (uint64_t part = 0; part < count; part++) call->length += parts[part].iov_len;
    call->data = malloc(call->length + 1);
    uint64_t at = 0;
    for (uint64_t part = 0; part < count; part++) {
        memory(thread, (uintptr_t)parts[part].iov_base, call->data + at, parts[part].iov_len);
        at += parts[part].iov_len;
    }
}

static int opens(pid_t thread, int directory, uint64_t path, uint64_t flags, struct call *call) {
    if (!(flags & (O_CREAT | O_TRUNC | O_DSYNC)) && (flags & O_TMPFILE) != O_TMPFILE) return 0;
    if (!of_path(thread, directory, path, call->name)) return 0;
    if ((flags & O_TMPFILE) == O_TMPFILE) die("a file without a name");
    if (flags & O_DSYNC && flags & (O_WRONLY | O_RDWR)) die("a file whose every write is synced");
    struct stat found;
    call->existed = lstat(call->name, &found) == 0;
    call->truncates = (flags & O_TRUNC) != 0;
    call->kind = call->existed ? TRUNCATE : CREATE;
    return !call->existed || call->truncates;
}

static int names(enum kind kind, pid_t thread, int directory, uint64_t path, struct call *call) {
    return call->kind = kind, of_path(thread, directory, path, call->name);
}

static int moves(enum kind kind, pid_t thread, int from, uint64_t path, int to, uint64_t other, uint64_t flags, struct call *call) {
    call->kind = kind;
    int one = of_path(thread, from, path, call->name), two = of_path(thread, to, other, call->other);
    if (one != two) die("a file moves out of the directory, or into it: %s, %s", call->name, call->other);
    if (one && kind == RENAME && flags & ~1u) die("files change places");
    return one;
}

static int on_fd(enum kind kind, pid_t thread, int fd, struct call *call) {
    return call->kind = kind, call->fd = fd, of_fd(thread, fd, call->name);
}

static int writes(pid_t thread, int fd, struct call *call) { return on_fd(WRITE, thread, fd, call); }

/* What a call will do to files below the root; false where nothing. */
static int enters(pid_t thread, uint64_t number, const uint64_t *a, struct call *call) {
    char path[PATH];
    uint64_t offset;
    switch (number) {
#ifdef SYS_open
    case SYS_open: return opens(thread, AT_FDCWD, a[0], a[1], call);
    case SYS_creat: return opens(thread, AT_FDCWD, a[0], O_CREAT | O_WRONLY | O_TRUNC, call);
    case SYS_rename: return moves(RENAME, thread, AT_FDCWD, a[0], AT_FDCWD, a[1], 0, call);
    case SYS_unlink: return names(UNLINK, thread, AT_FDCWD, a[0], call);
    case SYS_rmdir: return names(RMDIR, thread, AT_FDCWD, a[0], call);
    case SYS_mkdir: return names(MKDIR, thread, AT_FDCWD, a[0], call);
    case SYS_link: return moves(LINK, thread, AT_FDCWD, a[0], AT_FDCWD, a[1], 0, call);
    case SYS_symlink:
        if (of_path(thread, AT_FDCWD, a[1], path)) die("a symbolic link: %s", path);
        return 0;
#endif
#ifdef SYS_renameat
    case SYS_renameat: return moves(RENAME, thread, a[0], a[1], a[2], a[3], 0, call);
#endif
    case SYS_openat: return opens(thread, a[0], a[1], a[2], call);
    case SYS_openat2:
        memory(thread, a[2], &offset, sizeof offset);
        return opens(thread, a[0], a[1], offset, call);
    case SYS_renameat2: return moves(RENAME, thread, a[0], a[1], a[2], a[3], a[4], call);
    case SYS_unlinkat: return names(a[2] & AT_REMOVEDIR ? RMDIR : UNLINK, thread, a[0], a[1], call);
    case SYS_mkdirat: return names(MKDIR, thread, a[0], a[1], call);
    case SYS_linkat: return moves(LINK, thread, a[0], a[1], a[2], a[3], a[4], call);
    case SYS_symlinkat:
        if (of_path(thread, a[1], a[2], path)) die("a symbolic link: %s", path);
        return 0;
    case SYS_truncate: call->length = a[1]; return names(TRUNCATE, thread, AT_FDCWD, a[0], call);
    case SYS_ftruncate: call->length = a[1]; return on_fd(TRUNCATE, thread, a[0], call);
    case SYS_fallocate:
        call->offset = a[2], call->length = a[3];
        if (!on_fd(ALLOCATE, thread, a[0], call)) return 0;
        /* 1 is FALLOC_FL_KEEP_SIZE, which changes nothing that is read back. */
        if (a[1] > 1) die("a hole is made in %s", call->name);
        return a[1] == 0;
    case SYS_write:
    case SYS_pwrite64:
        if (!writes(thread, a[0], call)) return 0;
        call->length = a[2], call->offset = a[3], call->position = number == SYS_write;
        call->data = malloc(call->length + 1);
        memory(thread, a[1], call->data, call->length);
        return 1;
    case SYS_pwritev2:
        if (!writes(thread, a[0], call)) return 0;
        if (a[5]) die("a write with flags");
        /* fall through */
    case SYS_writev:
    case SYS_pwritev:
        if (!writes(thread, a[0], call)) return 0;
        call->offset = a[3], call->position = number == SYS_writev || a[3] == UINT64_MAX;
        gather(thread, a[1], a[2], call);
        return 1;
    case SYS_copy_file_range:
        if (!writes(thread, a[2], call)) return 0;
        call->position = a[3] == 0;
        if (a[3]) memory(thread, a[3], &call->offset, sizeof call->offset);
        return 1;
    case SYS_sendfile: call->position = 1; return writes(thread, a[0], call);
    case SYS_fsync:
    case SYS_fdatasync: return on_fd(SYNC, thread, a[0], call);
    case SYS_sync:
    case SYS_syncfs:
        call->kind = SYNC_ALL;
        strcpy(call->name, root);
        return 1;
    case SYS_mmap:
        if (a[2] & PROT_WRITE && a[3] & MAP_SHARED && !(a[3] & MAP_ANONYMOUS) && of_fd(thread, a[4], path)) die("%s is mapped", path);
        return 0;
    case SYS_splice:
        if (of_fd(thread, a[2], path)) die("something is spliced into %s", path);
        return 0;
    case SYS_ioctl:
        /* FICLONE, FICLONERANGE, FIDEDUPERANGE. */
        if ((a[1] == 0x40049409 || a[1] == 0x4020940d || a[1] == 0xc0189436) && of_fd(thread, a[0], path)) die("%s is cloned into", path);
        return 0;
    case SYS_mknodat:
    case SYS_open_by_handle_at:
    case SYS_io_uring_setup:
    case SYS_io_submit: die("system call %llu is not recorded", (unsigned long long)number);
    default: return 0;
    }
}

/* Writes down what a call did. */
static void exits(pid_t thread, int64_t result, struct call *call) {
    if (result < 0) return;
    if (fault.after && (ends_in(call->name, fault.after) || ends_in(call->other, fault.after))) fault.armed = 1;
    switch (call->kind) {
    case WRITE:
        if (result == 0) return;
        if (call->position) call->offset = position(thread, call->fd) - result;
        if (!call->data) {
            call->data = malloc(result);
            int file = open(call->name, O_RDONLY | O_CLOEXEC);
            if (file < 0 || pread(file, call->data, result, call->offset) != result) die("%s cannot be read back", call->name);
            close(file);
        }
        put(WRITE, call->name, "", call->data, result, call->offset, result);
        return;
    case NONE: return;
    default: put(call->kind, call->name, call->other, NULL, 0, call->offset, call->length);
    }
}

static int is_to_fail(const struct call *call) {
    int needs_room = call->kind == CREATE || call->kind == MKDIR || call->kind == WRITE || call->kind == ALLOCATE;
    if (fault.struck) return fault.ever && needs_room && !acks(call->name);
    if (!fault.armed || (int)call->kind != fault.kind || acks(call->name) || !ends_in(call->name, fault.name)) return 0;
    if (--fault.nth > 0) return 0;
    fault.struck = 1;
    put(FAULT, call->name, "", NULL, 0, 0, 0);
    return 1;
}

/* Lets a call that was entered not be made, and then answers it. Nonzero where that is not possible. */
#if defined(__x86_64__)
static long prevent(pid_t thread) { return ptrace(PTRACE_POKEUSER, thread, offsetof(struct user_regs_struct, orig_rax), -1L); }
static long answer(pid_t thread, long value) { return ptrace(PTRACE_POKEUSER, thread, offsetof(struct user_regs_struct, rax), value); }
#elif defined(__aarch64__)
static long prevent(pid_t thread) {
    int none = -1;
    struct iovec part = { &none, sizeof none };
    return ptrace(PTRACE_SETREGSET, thread, NT_ARM_SYSTEM_CALL, &part);
}

static long answer(pid_t thread, long value) {
    struct user_regs_struct registers;
    struct iovec part = { &registers, sizeof registers };
    if (ptrace(PTRACE_GETREGSET, thread, NT_PRSTATUS, &part)) return -1;
    registers.regs[0] = value;
    return ptrace(PTRACE_SETREGSET, thread, NT_PRSTATUS, &part);
}
#else
#error "calls of this machine cannot be made to fail"
#endif

static int info(pid_t thread, struct __ptrace_syscall_info *into) {
    return ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof *into, into) > 0;
}

static void ended(pid_t thread, int status) {
    if (thread == program) code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Handles a stop at the entry of a call; makes those that count from beginning to end. */
static void entry(pid_t thread) {
    static struct call call;
    struct __ptrace_syscall_info stop;
    if (!info(thread, &stop) || stop.op != PTRACE_SYSCALL_INFO_ENTRY) return;
    memset(&call, 0, sizeof call);
    uint64_t a[6];
    memcpy(a, stop.entry.args, sizeof a);
    if (!enters(thread, stop.entry.nr, a, &call)) return;
    int fails = is_to_fail(&call);
    if (fails && prevent(thread)) die("a call cannot be prevented");
    int status;
    if (ptrace(PTRACE_SYSCALL, thread, 0, 0) || waitpid(thread, &status, __WALL) != thread) return;
    /* Where the program ends meanwhile, the call has not ended, and nobody can tell what it did. */
    if (!WIFSTOPPED(status)) ended(thread, status);
    else if (!info(thread, &stop) || stop.op != PTRACE_SYSCALL_INFO_EXIT) die("a call did not end: %s", KINDS[call.kind]);
    else if (!fails) exits(thread, stop.exit.rval, &call);
    else if (answer(thread, -fault.error)) die("a call cannot be answered");
    free(call.data);
}

static void follow(void) {
    int status;
    for (pid_t thread; (thread = waitpid(-1, &status, __WALL)) > 0;) {
        if (!WIFSTOPPED(status)) { ended(thread, status); continue; }
        int signal = WSTOPSIG(status), event = status >> 16;
        if (signal == (SIGTRAP | 0x80)) {
            entry(thread);
            signal = 0;
        } else if (event || signal == SIGSTOP || signal == SIGTRAP) signal = 0;
        ptrace(PTRACE_SYSCALL, thread, 0, signal);
    }
}

int main(int count, char **arguments) {
    int at = 3;
    if (count < 5 || !realpath(arguments[1], root)) die("usage: recorder ROOT LOG [--fail KIND NAME NTH ERRNO once|ever AFTER] -- PROGRAM...");
    root_length = strlen(root);
    record = fopen(arguments[2], "wbe");
    if (!record) die("%s: %s", arguments[2], strerror(errno));
    if (strcmp(arguments[at], "--fail") == 0) {
        for (fault.kind = SYNC_ALL; fault.kind > NONE && strcmp(arguments[at + 1], KINDS[fault.kind]); fault.kind--) {}
        fault.name = arguments[at + 2], fault.nth = atol(arguments[at + 3]), fault.error = atoi(arguments[at + 4]);
        fault.ever = strcmp(arguments[at + 5], "ever") == 0, fault.after = arguments[at + 6];
        if (fault.kind == NONE || fault.error <= 0) die("no such fault");
        at += 7;
    } else {
        fault.kind = -1;
    }
    program = fork();
    if (program == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execvp(arguments[at + 1], arguments + at + 1);
        _exit(127);
    }
    int status;
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    if (waitpid(program, &status, __WALL) != program || ptrace(PTRACE_SETOPTIONS, program, 0, options)) die("the program cannot be followed: %s", strerror(errno));
    ptrace(PTRACE_SYSCALL, program, 0, 0);
    follow();
    if (fclose(record)) die("the record cannot be written");
    return code;
}
