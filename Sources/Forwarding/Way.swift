internal import CLinux
internal import Sys

/// A pipe's two ends, which belong to the pool that it came from.
struct Pipe {
    let read: Int32
    let write: Int32
}

/// Pipes to splice through. A connection has one only while bytes are under way.
struct PipePool: ~Copyable {
    /// Bytes that are moved at once, and that a pipe should hold. The more, the fewer packets and calls for as much;
    /// but a user may have 64 MiB in all pipes (pipe-user-pages-soft), and those beyond are small.
    static let size = 512 << 10
    /// Empty ones that are kept.
    private static let spare = 32

    private var free: [Pipe] = []

    deinit { for pipe in free { PipePool.close(pipe) } }

    mutating func take() -> Pipe? {
        if let pipe = free.popLast() { return pipe }
        var ends: [Int32] = [-1, -1]
        guard unsafe cl_buffer_pipe(&ends, Int32(Self.size)) == 0 else { return nil }
        return Pipe(read: ends[0], write: ends[1])
    }

    /// Takes back a pipe that is empty.
    mutating func give(_ pipe: Pipe) {
        if free.count < Self.spare { free.append(pipe) } else { PipePool.close(pipe) }
    }

    /// The end of a pipe that may not be empty.
    static func close(_ pipe: Pipe) {
        _ = CLinux.close(pipe.read)
        _ = CLinux.close(pipe.write)
    }
}

/// One way of a connection: bytes from one socket to another, within the kernel (splice(2)).
///
/// The pipe is filled only when it is empty. So a socket that gives nothing has nothing, and a receiver that is
/// slow keeps its sender waiting.
struct Way {
    enum Progress {
        /// For one of the sockets.
        case waiting
        /// There may be more, but others have a turn first.
        case unfinished
        /// All has been passed on, and so has the end.
        case done
        case broken
    }

    /// Pipes full that are moved in one turn.
    private static let turn = 8

    /// What is known of the sockets; an attempt that fails clears it, an event sets it.
    var canRead = false
    var canWrite = false
    /// The end is in sight: it goes along with the last bytes, in one packet.
    var isEnding = false
    /// What was read already, or stands in its place: goes first.
    var prefix: ArraySlice<UInt8> = []
    private var hasEnded = false
    private var isDone = false
    private var pipe: Pipe?
    private var held = 0

    mutating func move(from source: Int32, to sink: Int32, _ pipes: inout PipePool, _ moved: inout UInt64)
        -> Progress
    {
        if isDone { return .done }
        if !prefix.isEmpty {
            guard sendPrefix(to: sink, &moved) else { return .broken }
            if !prefix.isEmpty { return .waiting }
        }
        for _ in 0..<Self.turn {
            if held == 0, canRead, !hasEnded {
                guard let pipe = pipe ?? pipes.take() else { return .broken }
                self.pipe = pipe
                let got = cl_splice(source, pipe.write, PipePool.size, 0)
                if got > 0 {
                    held = got
                } else if got == 0 {
                    hasEnded = true
                } else {
                    switch Errno.current {
                    case .again: canRead = false
                    case .interrupted: continue
                    default: return .broken
                    }
                }
            }
            if held > 0, let pipe {
                guard canWrite else { return .waiting }
                let sent = cl_splice(pipe.read, sink, held, isEnding ? 1 : 0)
                if sent > 0 {
                    held -= sent
                    moved &+= UInt64(sent)
                } else if sent == 0 {
                    return .broken
                } else {
                    switch Errno.current {
                    case .again:
                        canWrite = false
                        return .waiting
                    case .interrupted: break
                    default: return .broken
                    }
                }
                continue
            }
            rest(&pipes)
            if hasEnded {
                // RFC 9293 section 3.6: a side that has closed may still be sent to.
                _ = shutdown(sink, Int32(SHUT_WR))
                isDone = true
                return .done
            }
            if !canRead { return .waiting }
        }
        return .unfinished
    }

    /// - Returns: false where the sink takes nothing any more.
    private mutating func sendPrefix(to sink: Int32, _ moved: inout UInt64) -> Bool {
        while canWrite, !prefix.isEmpty {
            let sent = unsafe prefix.withUnsafeBytes {
                unsafe CLinux.write(sink, $0.baseAddress, $0.count)
            }
            if sent >= 0 {
                prefix = prefix.dropFirst(sent)
                moved &+= UInt64(sent)
            } else {
                switch Errno.current {
                case .again: canWrite = false
                case .interrupted: continue
                default: return false
                }
            }
        }
        return true
    }

    /// Gives an empty pipe back.
    private mutating func rest(_ pipes: inout PipePool) {
        guard held == 0, let pipe else { return }
        pipes.give(pipe)
        self.pipe = nil
    }

    /// Gives up what is under way.
    mutating func end(_ pipes: inout PipePool) {
        rest(&pipes)
        if let pipe { PipePool.close(pipe) }
        pipe = nil
        held = 0
    }
}
