internal import CLinux

extension Descriptor {
    /// Sets an integer socket option.
    package borrowing func setOption(_ level: Int32, _ name: Int32, _ value: Int32) throws(SystemError) {
        let number = rawValue
        var value = value
        try system("setsockopt", "option \(name)") {
            unsafe setsockopt(number, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
        }
    }

    /// Reads an integer socket option.
    package borrowing func option(_ level: Int32, _ name: Int32) throws(SystemError) -> Int32 {
        let number = rawValue
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        try system("getsockopt", "option \(name)") { unsafe getsockopt(number, level, name, &value, &length) }
        return value
    }
}
