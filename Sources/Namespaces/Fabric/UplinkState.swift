/// A program that carries what leaves a rootless fabric to the host's sockets, the better one first.
package enum UplinkProgram: UInt8, Hashable, Sendable, CaseIterable, CustomStringConvertible {
    case pasta = 1
    case slirp4netns = 2

    package var description: String {
        switch self {
        case .pasta: "pasta"
        case .slirp4netns: "slirp4netns"
        }
    }
}

/// How the way out of a rootless fabric is doing.
package struct UplinkState: Hashable, Sendable {
    /// nil where none could be started.
    package var program: UplinkProgram?
    /// 0 where none runs now.
    package var pid: Int32
    /// Times that it was started again after it ended.
    package var restarts: UInt32
    /// Why there is no way out, in one line; empty while there is one.
    package var trouble: String

    package init(program: UplinkProgram? = nil, pid: Int32 = 0, restarts: UInt32 = 0, trouble: String = "") {
        self.program = program
        self.pid = pid
        self.restarts = restarts
        self.trouble = trouble
    }
}
