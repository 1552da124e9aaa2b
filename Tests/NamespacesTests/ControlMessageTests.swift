import Namespaces
import Sys
import Testing

@Suite struct ControlMessageTests {
    static let messages: [ControlMessage] = [
        .whoIs(id: 7), .peer(id: .max, errno: 0, uid: 1000, pid: 4242),
        .peer(id: 1, errno: 9, uid: 0, pid: -1), .ready,
        .failed(""), .failed("the database is of a newer version"), .needsProxy(true), .needsProxy(false),
        .proxy(pid: 4242, errno: 0), .proxy(pid: 0, errno: 12),
        .openPort(id: 7, HostPort(family: 6, high: .max, low: 1 << 40, port: 8080, isStream: true)),
        .openPort(id: 7, HostPort(family: 0, port: 65535, isStream: false)), .opened(id: 7, errno: 98),
        .uplink(wanted: true), .uplink(wanted: false), .askUplink(id: 9),
        .uplinkIs(id: 3, UplinkState()),
        .uplinkIs(id: .max, UplinkState(program: .slirp4netns, pid: 77, restarts: 2, trouble: "no route")),
    ]

    @Test(arguments: messages) func `reads what it wrote`(message: ControlMessage) {
        #expect(ControlMessage(message.encoded[...]) == message)
    }

    @Test func `takes nothing but whole messages of its kinds`() {
        for message in Self.messages where message != .failed("") {
            let bytes = message.encoded
            if case .failed = message { continue }
            if case .uplinkIs = message { continue }
            for length in 0..<bytes.count { #expect(ControlMessage(bytes[..<length]) == nil) }
            #expect(ControlMessage((bytes + [0])[...]) == nil)
        }
        for kind in UInt8.min ... .max where !(1...4).contains(kind) && kind != 17 {
            #expect(ControlMessage([kind, 0, 0, 0, 0][...]) == nil)
        }
        #expect(ControlMessage([16, 2][...]) == nil)
        let state = ControlMessage.uplinkIs(id: 1, UplinkState(program: .pasta)).encoded
        for length in 0..<state.count { #expect(ControlMessage(state[..<length]) == nil) }
        #expect(ControlMessage((state.dropLast() + [3])[...]) == nil)
    }

    @Test func `reads any bytes without harm`() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<10_000 {
            let bytes = (0..<Int.random(in: 0...40)).map { _ in UInt8.random(in: 0...5, using: &generator) }
            if let message = ControlMessage(bytes[...]) { #expect(message.encoded == bytes) }
        }
    }

    @Test func `cuts a long reason, so that it arrives`() throws {
        let ends = try ControlSocket.pair()
        let near = ControlSocket(Descriptor(owning: ends.0))
        let far = ControlSocket(Descriptor(owning: ends.1))
        try near.send(.failed(String(repeating: "x", count: 5000)))
        let received = try #require(try far.receive()?.message)
        #expect(received == .failed(String(repeating: "x", count: ControlMessage.limit - 1)))
    }

    @Test func `never waits, and tells the end from nothing yet`() throws {
        let ends = try ControlSocket.pair()
        let near = ControlSocket(Descriptor(owning: ends.0))
        do {
            let far = ControlSocket(Descriptor(owning: ends.1))
            let nothing = #expect(throws: SystemError.self) { _ = try near.receive() }
            #expect(nothing?.errno == .again)
            // A peer that does not read: some day the line is full.
            let full = #expect(throws: SystemError.self) { for _ in 0..<100_000 { try far.send(.ready) } }
            #expect(full?.errno == .again)
        }
        while try near.receive()?.message == .ready {}
        #expect(try near.receive() == nil)
    }

    @Test func `tells who is at the other end of a connection that is handed over`() throws {
        let ends = try ControlSocket.pair()
        let near = ControlSocket(Descriptor(owning: ends.0))
        let far = ControlSocket(Descriptor(owning: ends.1))
        try near.send(.whoIs(id: 1), with: near.descriptor.rawValue)
        guard let received = try far.receive() else { throw SystemError("receive", .brokenPipe) }
        #expect(received.message == .whoIs(id: 1))
        let own = try Peer(of: near.descriptor.rawValue)
        #expect(try Peer(of: received.passenger.rawValue) == own)
        #expect(throws: SystemError.self) { try Peer(of: -1) }
    }
}

@Suite struct FabricLockTests {
    @Test func `is held by one process, whose number the kernel tells`() throws {
        let directory = "/tmp/forge-lock-\(UInt64.random(in: 0 ... .max))"
        let paths = FabricPaths(runtimeDirectory: directory + "/run", stateDirectory: directory + "/state")
        try paths.createDirectories()
        defer { _ = try? ProcessPlan(["rm", "-rf", directory]).run(timeoutSeconds: 5) }
        #expect(try FabricLock.holder(paths) == nil)
        #expect(try FabricLock.holderHandle(paths) == nil)
        // Another process has to hold it. util-linux's flock would take another kind of lock.
        let script = """
            import fcntl, sys, time
            f = open(sys.argv[1], "r+")
            fcntl.lockf(f, fcntl.LOCK_EX)
            print("locked", flush=True)
            time.sleep(60)
            """
        _ = try Descriptor.open(paths.lock, 0o102, mode: 0o600)
        let pipe = try Pipe()
        var plan = ProcessPlan(["python3", "-c", script, paths.lock])
        plan.descriptors = [0, pipe.writer.rawValue, 2]
        let child = try plan.start()
        let reader = pipe.keepReader()
        try #require(try reader.read(upTo: 100).isEmpty == false, "python3 is needed here")
        #expect(try FabricLock.holder(paths) == child.pid)
        #expect(try FabricLock.take(paths) == nil)
        let holder = try FabricLock.holderHandle(paths)
        guard let holder else { throw SystemError("lock", .noProcess) }
        #expect(holder.pid == child.pid)
        #expect(try holder.waitForEnd(milliseconds: 0) == false)
        try holder.signal(9)
        #expect(try holder.waitForEnd(milliseconds: 5000))
        #expect(try FabricLock.holder(paths) == nil)
    }
}
