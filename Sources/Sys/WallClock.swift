internal import CLinux
internal import Glibc

/// Milliseconds since 1970 (CLOCK_REALTIME): for moments that outlive the process.
package func wallClockMilliseconds() -> Int64 {
    var now = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &now)
    return Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000
}

/// Keeps the calling thread waiting.
package func rest(microseconds: UInt32) { _ = usleep(microseconds) }
