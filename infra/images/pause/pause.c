/*
 * The process that owns a pod's namespaces. It does nothing, ends politely on SIGTERM and SIGINT, and reaps what other containers of the
 * pod leave behind when they share its process ids. No libc: about one kilobyte on disk, a few pages in memory.
 *
 * The signals are blocked and waited for instead of handled: process 1 of a namespace never loses a blocked signal, and no handler needs a
 * return trampoline. See build.sh for the command and for where the bytes go.
 */
#define SYS_RT_SIGPROCMASK 14
#define SYS_WAIT4 61
#define SYS_RT_SIGTIMEDWAIT 128
#define SYS_EXIT_GROUP 231

enum { INTERRUPT = 2, TERMINATE = 15, CHILD = 17, BLOCK = 0, NO_HANG = 1, MASK_BYTES = 8 };

static inline long kernel(long number, long a, const void *b, long c, long d)
{
    long result;
    register long fourth __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
}

__attribute__((noreturn, used, force_align_arg_pointer)) void _start(void)
{
    unsigned long awaited = 1ul << (INTERRUPT - 1) | 1ul << (TERMINATE - 1) | 1ul << (CHILD - 1);
    kernel(SYS_RT_SIGPROCMASK, BLOCK, &awaited, 0, MASK_BYTES);
    for (;;) {
        long signal = kernel(SYS_RT_SIGTIMEDWAIT, (long)&awaited, 0, 0, MASK_BYTES);
        if (signal == INTERRUPT || signal == TERMINATE)
            kernel(SYS_EXIT_GROUP, 0, 0, 0, 0);
        while (kernel(SYS_WAIT4, -1, 0, NO_HANG, 0) > 0)
            ;
    }
}
