internal import API
internal import BenchLab
internal import CBench
internal import Glibc
internal import Protos

/// Times changes of policy over gRPC, and packets through policies, and prints figures as one JSON object.
///
/// Runs where a rootless runtime runs: in the fabric's user and mount namespaces (`forge unshare`).
///
///     policy-bench endpoints COUNT NETWORK   attaches endpoints labelled id=0, id=1, ...
///     policy-bench load POLICIES ENDPOINTS   applies policies that are spread over them
///     policy-bench change COUNT              changes one of those policies so often
///     policy-bench unload                    deletes every policy
///     policy-bench scale NETWORK N ...       round trips through N policy elements
///     policy-bench revoke COUNT NETWORK      cuts a stream so often
///     policy-bench quarantine COUNT          quarantines endpoints, and ends it
///     policy-bench denials COUNT RATE NETWORK    what is counted and told of packets that are denied
///     policy-bench evaluate POLICIES         evaluates by the pure function
@main
struct PolicyBench {
    static func main() async {
        do {
            print(try await run(Array(CommandLine.arguments.dropFirst())))
        } catch {
            let line = Array("policy-bench: \(error)\n".utf8)
            _ = unsafe line.withUnsafeBytes { unsafe write(2, $0.baseAddress, $0.count) }
            exit(1)
        }
    }

    private static func run(_ arguments: [String]) async throws -> String {
        guard let action = arguments.first else { throw Problem("usage: policy-bench ACTION ...") }
        func number(_ index: Int) throws(Problem) -> Int {
            guard arguments.indices.contains(index), let number = Int(arguments[index]), number > 0 else {
                throw Problem("\(action): argument \(index) must be a number from 1 on")
            }
            return number
        }
        func text(_ index: Int) throws(Problem) -> String {
            guard arguments.indices.contains(index) else {
                throw Problem("\(action): argument \(index) is missing")
            }
            return arguments[index]
        }
        if action == "evaluate" { return try Evaluation(policies: try number(1)).run() }
        let bench = Fabric(
            client: try ForgeClient(socketPath: Containers.socket), containers: try Containers())
        // The first call connects.
        _ = try await bench.client.getStatus(.init())
        let result: String
        switch action {
        case "endpoints": result = try await bench.attach(try number(1), try text(2))
        case "load": result = try await bench.load(try number(1), endpoints: try number(2))
        case "change": result = try await bench.change(try number(1))
        case "unload": result = try await bench.unload()
        case "scale":
            let sizes = try arguments.indices.dropFirst(2).map { try number($0) }
            result = try await bench.scale(try text(1), sizes)
        case "quarantine": result = try await bench.quarantine(try number(1))
        case "denials":
            result = try await bench.denials(try number(1), perSecond: try number(2), try text(3))
        case "revoke": result = try await bench.revoke(try number(1), try text(2))
        default: throw Problem("there is no action \(action)")
        }
        await bench.client.close()
        return result
    }
}

/// The fabric, and containers beside it.
struct Fabric {
    let client: ForgeClient
    let containers: Containers

    /// Policies of one request.
    static let batch = 250

    // MARK: Endpoints

    func attach(_ count: Int, _ network: String) async throws -> String {
        for index in 0..<count {
            _ = try await attach("policy-\(index)", network, ["id": "\(index)"])
        }
        return "{}"
    }

    /// - Returns: the endpoint's IPv4 address.
    func attach(_ name: String, _ network: String, _ labels: [String: String]) async throws -> String {
        try containers.make(name)
        var request = Forge_Network_V1_AssignEndpointRequest()
        request.vnet = network
        request.containerID = name
        request.netnsPath = containers.path(name)
        request.name = name
        request.labels = labels
        let endpoint = try await client.assignEndpoint(request).endpoint
        guard let address = endpoint.addresses.first(where: { !$0.address.contains(":") }) else {
            throw Problem("endpoint \(name) has no IPv4 address")
        }
        return address.address
    }

    func release(_ name: String) async throws {
        var request = Forge_Network_V1_ReleaseEndpointRequest()
        request.containerID = name
        _ = try await client.releaseEndpoint(request)
        containers.remove(name)
    }

    // MARK: Policies

    /// - Returns: the time that the call took, in microseconds.
    @discardableResult
    func apply(_ policies: [Forge_Network_V1_Policy]) async throws -> Double {
        var request = Forge_Network_V1_ApplyFirewallRequest()
        request.policies = policies
        let start = bench_now()
        _ = try await client.applyFirewall(request)
        return Double(bench_now() - start) / 1000
    }

    /// Policy number `index`: one endpoint accepts one port from another.
    private func everyday(_ index: Int, _ endpoints: Int, port: Int) -> Forge_Network_V1_Policy {
        let subject = index % endpoints
        let peer = (subject + 1 + index / endpoints) % endpoints
        var rule = Forge_Network_V1_Rule()
        var other = Forge_Network_V1_Peer()
        other.endpoints = .labelled("id", "\(peer)")
        rule.peers.peers = [other]
        rule.ports.ranges = [.single(.tcp, port)]
        var policy = Forge_Network_V1_Policy()
        policy.name = "load-\(index)"
        policy.selector = .labelled("id", "\(subject)")
        policy.directions = [.ingress]
        policy.ingress = [rule]
        return policy
    }

    /// Times applying policies over the endpoints that `endpoints` attached, in requests of some hundred. While some are
    /// answered the next are on their way.
    func load(_ count: Int, endpoints: Int) async throws -> String {
        let policies = (0..<count).map { everyday($0, endpoints, port: 1000 + $0 % 60000) }
        let requests = stride(from: 0, to: count, by: Self.batch).map {
            Array(policies[$0..<min($0 + Self.batch, count)])
        }
        let start = bench_now()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (number, request) in requests.enumerated() {
                if number >= 4 { try await group.next() }
                group.addTask { try await apply(request) }
            }
            try await group.waitForAll()
        }
        return json(["load_us": [Double(bench_now() - start) / 1000]])
    }

    /// Times changes of one policy of those that `load` applied: each opens another port.
    func change(_ count: Int) async throws -> String {
        var times: [Double] = []
        for round in 0..<count {
            // 1,000 endpoints, as the rows have it.
            times.append(try await apply([everyday(500, 1000, port: 100 + round % 800)]))
        }
        return json(["change_us": times])
    }

    func unload() async throws -> String {
        while true {
            var request = Forge_Network_V1_ListPoliciesRequest()
            request.pageSize = 1000
            let page = try await client.listPolicies(request).policies
            if page.isEmpty { return "{}" }
            for policy in page { try await delete(policy.name) }
        }
    }

    private func delete(_ name: String) async throws {
        var request = Forge_Network_V1_DeletePolicyRequest()
        request.name = name
        _ = try await client.deletePolicy(request)
    }

    // MARK: Packets

    private static let port: UInt16 = 9000

    /// Round trips between two endpoints whose rules, for addresses, make so many elements: half of them for what goes
    /// out and half for what comes in. Times are in nanoseconds.
    func scale(_ network: String, _ sizes: [Int]) async throws -> String {
        let server = try await attach("scale-server", network, ["scale": "yes"])
        let client = try await attach("scale-client", network, ["scale": "yes"])
        try check(unsafe bench_echo(containers.path("scale-server"), 4, Self.port), "listen")
        var fields: [String] = []
        for size in sizes {
            let policies = blocks(size / 2, [server, client])
            for policy in policies { try await apply([policy]) }
            for isFresh in [true, false] {
                var times = [Int64](repeating: 0, count: 3000)
                try check(
                    unsafe bench_round_trips(
                        containers.path("scale-client"), 4, server, Self.port, 3000, isFresh ? 1 : 0, &times),
                    "get round trips through \(size) elements")
                let kind = isFresh ? "new" : "established"
                fields.append("\"\(kind)_\(size)\":[\(times.map { "\($0)" }.joined(separator: ","))]")
            }
            // Listing them would take more than a message holds.
            for policy in policies { try await delete(policy.name) }
        }
        bench_stop()
        try await release("scale-server")
        try await release("scale-client")
        return "{\(fields.joined(separator: ","))}"
    }

    /// Policies with so many blocks in each direction, of which each is an interval of its own.
    private func blocks(_ count: Int, _ addresses: [String]) -> [Forge_Network_V1_Policy] {
        let perPolicy = 5_000
        // Every second address of 172.16.0.0/12, so that no two become one run.
        var cidrs = (0..<max(count - addresses.count, 0)).map { index -> String in
            let bits = 0xac10_0000 + 2 * index
            return "\(bits >> 24).\(bits >> 16 & 255).\(bits >> 8 & 255).\(bits & 255)/32"
        }
        cidrs += addresses.map { "\($0)/32" }
        return stride(from: 0, to: cidrs.count, by: perPolicy).map { start in
            var rule = Forge_Network_V1_Rule()
            rule.peers.peers = cidrs[start..<min(start + perPolicy, cidrs.count)].map { cidr in
                var peer = Forge_Network_V1_Peer()
                peer.block.cidr = cidr
                return peer
            }
            rule.ports.ranges = [.single(.udp, Int(Self.port))]
            var policy = Forge_Network_V1_Policy()
            policy.name = "scale-\(start)"
            policy.selector = .labelled("scale", "yes")
            policy.ingress = [rule]
            policy.egress = [rule]
            return policy
        }
    }

    /// Bytes of an established stream that pass after the call that forbids it has returned, for each of some streams;
    /// and how many had passed before.
    func revoke(_ count: Int, _ network: String) async throws -> String {
        let address = try await attach("revoke-server", network, ["revoke": "yes"])
        _ = try await attach("revoke-client", network, ["revoke": "yes"])
        func policy(_ port: Int) -> Forge_Network_V1_Policy {
            var rule = Forge_Network_V1_Rule()
            rule.ports.ranges = [.single(.tcp, port)]
            var policy = Forge_Network_V1_Policy()
            policy.name = "revoke"
            policy.selector = .labelled("revoke", "yes")
            policy.ingress = [rule]
            policy.egress = [rule]
            return policy
        }
        var before: [Double] = []
        var after: [Double] = []
        for round in 0..<count {
            let port = 20000 + round
            try await apply([policy(port)])
            try check(
                unsafe bench_stream(
                    containers.path("revoke-client"), containers.path("revoke-server"), 4, address,
                    UInt16(port)), "start a stream")
            usleep(100_000)
            try await apply([policy(1)])
            let passed = bench_stream_received()
            usleep(500_000)
            before.append(Double(passed))
            after.append(Double(bench_stream_received() - passed))
            bench_stop()
        }
        try await release("revoke-server")
        try await release("revoke-client")
        _ = try await unload()
        return json(["before_bytes": before, "after_bytes": after])
    }

    private func check(_ error: Int32, _ what: String) throws(Problem) {
        guard error == 0 else { throw Problem("cannot \(what): errno \(error)") }
    }
}

extension Forge_Network_V1_Selector {
    static func labelled(_ key: String, _ value: String) -> Self {
        var selector = Self()
        selector.matchLabels = [key: value]
        return selector
    }
}

extension Forge_Network_V1_PortRange {
    static func single(_ transport: Forge_Network_V1_Protocol, _ port: Int) -> Self {
        var range = Self()
        range.protocol = transport
        range.first = UInt32(port)
        return range
    }
}
