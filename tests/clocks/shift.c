/* Shift only the wall clock of a program: LD_PRELOAD=shift.so CLOCK_SHIFT_S=-86400 program

   Debian 12's libfaketime (0.9.10) cannot do it for Python 3.11 and later: with FAKETIME_DONT_FAKE_MONOTONIC=1,
   time.sleep fails with EINVAL; without it, a wait for a lock with a time-out does not end. Here the monotonic clock is
   not shifted, so that each wait takes its nominal time. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t shift_s(void) {
    static time_t read_s;
    static int is_read;
    if (!is_read) {
        const char *text = getenv("CLOCK_SHIFT_S");
        read_s = text ? (time_t)atoll(text) : 0;
        is_read = 1;
    }
    return read_s;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int result = (int)syscall(SYS_clock_gettime, clock, at);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI))
        at->tv_sec += shift_s();
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    int result = (int)syscall(SYS_gettimeofday, at, zone);
    if (result == 0 && at != NULL)
        at->tv_sec += shift_s();
    return result;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at != NULL)
        *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *at, int base) {
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, at) == 0 ? base : 0;
}
