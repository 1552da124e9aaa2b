internal import API
internal import BenchLab
internal import CBench
internal import Glibc
internal import Protos

/// Times attaches over gRPC, by the client that users get, and prints microseconds as one JSON object.
///
/// Runs where a rootless runtime runs: in the fabric's user and mount namespaces (`forge unshare`). The
/// making of namespaces is the runtime's work and stays outside of the timing.
@main
struct AttachBench {
    static func main() async {
        do {
            let options = try Options(Array(CommandLine.arguments.dropFirst()))
            let containers = try Containers()
            if options.action == .forget {
                containers.removeAll()
                print("{}")
                return
            }
            let client = try ForgeClient(socketPath: Containers.socket)
            // The first call connects.
            _ = try await client.getStatus(.init())
            let run = Run(options: options, containers: containers, client: client)
            switch options.action {
            case .attach: print(try await run.attaches())
            case .firstPacket: print(try await run.firstPackets())
            default: print(try await run.calls())
            }
            await client.close()
        } catch {
            let line = Array("attach-bench: \(error)\n".utf8)
            _ = unsafe line.withUnsafeBytes { unsafe write(2, $0.baseAddress, $0.count) }
            exit(1)
        }
    }
}

/// One series.
struct Run {
    let options: Options
    let containers: Containers
    let client: ForgeClient

    private static let port: UInt16 = 9000

    func attaches() async throws -> String {
        let names = (1...options.count).map { "\(options.prefix)-\($0)" }
        for name in names { try containers.make(name) }
        var times: [Double] = []
        for name in names { times.append(try await attach(name).microseconds) }
        if !options.keeps { try await release(names) }
        return json(["attach_us": times])
    }

    /// A call that reads what is in memory: what gRPC itself takes.
    func calls() async throws -> String {
        var request = Forge_Network_V1_GetVNetRequest()
        request.name = options.network
        var times: [Double] = []
        for _ in 1...options.count {
            let start = bench_now()
            _ = try await client.getVNet(request)
            times.append(Double(bench_now() - start) / 1000)
        }
        return json(["call_us": times])
    }

    /// Each new endpoint sends to one that listens, from the moment its attach is answered.
    func firstPackets() async throws -> String {
        let listener = "\(options.prefix)-listener"
        try containers.make(listener)
        let address = try address(of: try await attach(listener).endpoint)
        try check(unsafe bench_listen(containers.path(listener), options.family, Self.port), "listen")
        var times: [Double] = []
        var first: [Double] = []
        var names = [listener]
        for number in 1...options.count {
            let name = "\(options.prefix)-\(number)"
            names.append(name)
            try containers.make(name)
            var sock: Int32 = -1
            try check(
                unsafe bench_socket(containers.path(name), options.family, &sock), "open a socket in \(name)")
            let attached = try await attach(name)
            let arrival = unsafe bench_first_arrival(sock, options.family, address, Self.port, UInt32(number))
            guard arrival > 0 else { throw Problem("no packet of \(name) arrived within three seconds") }
            times.append(attached.microseconds)
            first.append(Double(arrival - attached.start) / 1000)
        }
        try await release(names)
        return json(["attach_us": times, "first_us": first])
    }

    private struct Attached {
        let start: Int64
        let microseconds: Double
        let endpoint: Forge_Network_V1_Endpoint
    }

    private func attach(_ name: String) async throws -> Attached {
        var request = Forge_Network_V1_AssignEndpointRequest()
        request.vnet = options.network
        request.containerID = name
        request.netnsPath = containers.path(name)
        request.name = name
        request.labels = options.labels
        let start = bench_now()
        let answer = try await client.assignEndpoint(request)
        let end = bench_now()
        return Attached(start: start, microseconds: Double(end - start) / 1000, endpoint: answer.endpoint)
    }

    private func release(_ names: [String]) async throws {
        for name in names {
            var request = Forge_Network_V1_ReleaseEndpointRequest()
            request.containerID = name
            _ = try await client.releaseEndpoint(request)
            containers.remove(name)
        }
    }

    private func address(of endpoint: Forge_Network_V1_Endpoint) throws -> String {
        let isV6 = options.family == 6
        guard let address = endpoint.addresses.first(where: { $0.address.contains(":") == isV6 }) else {
            throw Problem("endpoint \(endpoint.name) has no address of the family asked for")
        }
        return address.address
    }

    private func check(_ error: Int32, _ what: String) throws(Problem) {
        guard error == 0 else { throw Problem("cannot \(what): errno \(error)") }
    }
}
