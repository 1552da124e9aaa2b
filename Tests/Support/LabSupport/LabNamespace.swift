internal import CLinux
package import Namespaces
internal import Sys
package import Testing

/// A network namespace made for a test, such as a container's: nothing lives in it, sockets are opened
/// inside.
package struct LabNamespace: ~Copyable {
    package let namespace: NetworkNamespace
    private let home: HomeNamespace

    /// Makes one, with lo up.
    package init(sourceLocation: SourceLocation = #_sourceLocation) throws {
        try Lab.requirePrivileges(sourceLocation: sourceLocation)
        let home = try HomeNamespace()
        let namespace = try home.makeNamespace()
        try home.inside(namespace.descriptor) { try LabSockets.bringLoopbackUp() }
        self.init(namespace, home)
    }

    private init(_ namespace: consuming NetworkNamespace, _ home: HomeNamespace) {
        self.namespace = namespace
        self.home = home
    }

    /// A path by which other processes find it while this test runs.
    package var path: String { "/proc/\(LabSockets.ownPID)/fd/\(namespace.descriptor.rawValue)" }

    /// Runs a closure inside; sockets that it opens stay there.
    package borrowing func inside<R: ~Copyable>(_ body: () throws -> R) throws -> R {
        try home.inside(namespace.descriptor, body)
    }

    /// A plan whose child is in this namespace.
    package borrowing func plan(_ arguments: [String]) -> ProcessPlan {
        var plan = ProcessPlan(arguments)
        plan.add(.join(namespace.descriptor.rawValue, .network))
        return plan
    }

    /// Runs a program inside, to its end.
    package borrowing func run(_ arguments: String..., timeoutSeconds: Double = 10) throws -> ProgramResult {
        try plan(arguments).run(timeoutSeconds: timeoutSeconds)
    }
}

/// Runs clean-ups in the opposite order of their registration, whatever happens.
///
///     try withCleanup { cleanup in
///         let server = try start()
///         cleanup.add { server.stop() }
///     }
package struct Cleanup: ~Copyable {
    private var actions: [() -> Void] = []

    package mutating func add(_ action: @escaping () -> Void) { actions.append(action) }

    fileprivate mutating func run() {
        while let action = actions.popLast() { action() }
    }
}

/// Gives `body` a place to register clean-ups, which run when it is done.
package func withCleanup<R>(_ body: (inout Cleanup) throws -> R) rethrows -> R {
    var cleanup = Cleanup()
    defer { cleanup.run() }
    return try body(&cleanup)
}

/// Signals to processes that a test started indirectly.
package enum ProcessSignal {
    package static func send(_ signal: Int32, to pid: Int32) { _ = kill(pid, signal) }
}
