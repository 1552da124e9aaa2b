import Foundation
package import Model
package import Wire

/// Networks for namespaces and endpoints for pods, as the steps of a case leave them.
///
/// Everything that is a policy goes through the reader of policy files. A pod of the host's network is an
/// address outside, and a peer that selects nodes is read as the blocks of their addresses.
package struct ConformanceWorld {
    /// What a probe asks, and what must come out.
    package struct Question {
        package let flow: Flow
        package let isAllowed: Bool
        package let text: String
    }

    private struct Pod {
        let namespace: String
        let name: String
        var labels: Labels
        let ports: [NamedPort]
        let isOnHost: Bool
        let address: IPAddress
        var path: String { "\(namespace)/\(name)" }
    }

    private let family: IPFamily
    private let suite: ConformanceSuite
    private var namespaces: [String: Labels] = [:]
    private var nodes: [String: (labels: Labels, address: String)] = [:]
    private var pods: [String: Pod] = [:]
    /// Policies as they were applied, by kind and name.
    private var objects: [String: JSONValue] = [:]
    package private(set) var policies: [PolicyID: FirewallPolicy] = [:]
    /// Namespaces, and the pods of each, in the order in which they came up: an address stays what it was.
    private var numbered: [String] = []
    private var addressed: [String: [String]] = [:]

    package init(_ suite: ConformanceSuite, _ family: IPFamily) throws {
        self.suite = suite
        self.family = family
        for namespace in suite.namespaces {
            numbered.append(namespace["name"].text ?? "")
            namespaces[namespace["name"].text ?? ""] = namespace["labels"].texts
        }
        for pod in suite.pods {
            let ports = pod["listens"].items.compactMap { port in
                ConformanceWorld.port(port["name"].text, port["port"].number, port["proto"].text)
            }
            try add(
                pod["namespace"].text ?? "", pod["name"].text ?? "", pod["labels"].texts, ports,
                isOnHost: pod["host_network"].isTrue)
        }
        for node in suite.nodes {
            nodes[node["name"].text ?? ""] = (
                node["labels"].texts, resolved(node["ip_placeholder"].text ?? "")
            )
        }
    }

    // MARK: What there is

    package var networks: [Network] { namespaces.keys.sorted().map(network) }

    private func network(_ namespace: String) -> Network {
        Network(
            id: identifier("network/\(namespace)"), name: namespace, subnets: [subnet(of: namespace)],
            isolation: .none, defaultVerdict: .allow, mtu: 1500, labels: namespaces[namespace] ?? [:])
    }

    /// The addresses of pods that are of the host's network.
    package var outside: [IPAddress] { pods.values.filter(\.isOnHost).map(\.address) }

    /// The endpoints: pods that are not of the host's network.
    package var members: [NetworkMember] {
        pods.values.sorted { $0.path < $1.path }.compactMap(member)
    }

    private func member(_ pod: Pod) -> NetworkMember? {
        guard !pod.isOnHost, namespaces[pod.namespace] != nil else { return nil }
        let network = network(pod.namespace)
        let host = UInt64(truncatingIfNeeded: pod.address.bits & 0xffff_ffff)
        return NetworkMember(
            Endpoint(
                id: identifier(pod.path), containerID: "container-\(pod.path)", networkID: network.id,
                name: pod.name, labels: pod.labels, addresses: [pod.address],
                mac: MACAddress(bits: 2 << 40 | host), interfaceName: "eth0",
                namespace: NamespaceReference(path: "/", device: 0, inode: 0), ports: pod.ports),
            in: network)
    }

    /// 64 hexadecimal digits that are a function of a name.
    private func identifier(_ name: String) -> String {
        // FNV-1a
        let hash = name.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) {
            ($0 ^ UInt64($1)) &* 0x100_0000_01b3
        }
        let digits = String(hash, radix: 16)
        return String(repeating: String(repeating: "0", count: 16 - digits.count) + digits, count: 4)
    }

    // MARK: Steps

    /// Does what a step says; what it asks is the answer.
    package mutating func perform(_ step: ConformanceCase.Step) throws -> [Question] {
        switch step {
        case .apply(let object): try apply(object)
        case .patch("Namespace", let name, let patch):
            let old = JSONValue.object((namespaces[name] ?? [:]).mapValues { .string($0) })
            namespaces[name] = old.merged(with: patch["metadata"]["labels"]).texts
        case .patch(let kind, let name, let patch):
            try apply((objects["\(kind) \(name)"] ?? .null).merged(with: patch))
        case .delete("Namespace", _, let name):
            namespaces[name] = nil
            pods = pods.filter { $0.value.namespace != name }
            policies = policies.filter { $0.key.namespace != name }
        case .delete("Pod", let namespace, let name): pods["\(namespace ?? "")/\(name)"] = nil
        case .delete(let kind, let namespace, let name):
            policies[
                kind == "NetworkPolicy"
                    ? .networkPolicy(name, in: namespace ?? "") : .clusterNetworkPolicy(name)] = nil
        case .relabel("Namespace", _, let name, let labels): namespaces[name] = labels
        case .relabel(_, let namespace, let name, let labels):
            pods["\(namespace ?? "")/\(name)"]?.labels = labels
        case .matrix(let allowed, let count, let total): return try matrix(allowed, count, total)
        case .probe(let from, let to, let transport, let port, let isAllowed):
            return [try question(sides, from, to, transport, port, isAllowed)]
        }
        return []
    }

    private mutating func apply(_ object: JSONValue) throws {
        let metadata = object["metadata"]
        let name = metadata["name"].text ?? ""
        switch object["kind"].text {
        case "Namespace": namespaces[name] = metadata["labels"].texts
        case "Node":
            nodes[name] = (
                metadata["labels"].texts,
                resolved(object["status"]["addresses"].items[0]["address"].text ?? "")
            )
        case "Pod":
            let ports = object["spec"]["containers"].items.flatMap { $0["ports"].items }.compactMap { port in
                ConformanceWorld.port(
                    port["name"].text, port["containerPort"].number, port["protocol"].text?.lowercased())
            }
            try add(
                metadata["namespace"].text ?? "", name, metadata["labels"].texts, ports,
                isOnHost: object["spec"]["hostNetwork"].isTrue)
        case let kind:
            objects["\(kind ?? "") \(name)"] = object
            let text = try JSONEncoder().encode(object.mapped(resolved, withoutNodes))
            for policy in try PolicyDocument.parse(String(decoding: text, as: UTF8.self), file: name) {
                policies[policy.id] = policy
            }
        }
    }

    private mutating func add(
        _ namespace: String, _ name: String, _ labels: Labels, _ ports: [NamedPort], isOnHost: Bool
    ) throws {
        let path = "\(namespace)/\(name)"
        if !numbered.contains(namespace) { numbered.append(namespace) }
        if !addressed[namespace, default: []].contains(path) {
            addressed[namespace, default: []].append(path)
        }
        let address = try IPAddress(resolved("{\(path)}"))
        pods[path] = Pod(
            namespace: namespace, name: name, labels: labels, ports: ports, isOnHost: isOnHost,
            address: address)
    }

    private static func port(_ name: String?, _ number: Int?, _ transport: String?) -> NamedPort? {
        guard let name, let number, let transport = transport.flatMap({ TransportProtocol(rawValue: $0) })
        else { return nil }
        return NamedPort(name, UInt16(number), transport)
    }

    // MARK: Probes

    private func matrix(_ allowed: [String], _ count: Int, _ total: Int) throws -> [Question] {
        let covers = Set(allowed)
        let names = pods.keys.sorted()
        let sides = sides
        func forms(_ name: String) -> [String] {
            [name, "\(pods[name]?.namespace ?? "")/*", "*"]
        }
        var cells: [Question] = []
        var allowedCells = 0
        var allCells = 0
        for from in names {
            for to in names {
                for (port, transport) in [(80, "tcp"), (81, "tcp"), (80, "udp"), (81, "udp")] {
                    let isAllowed = forms(from).contains { from in
                        forms(to).contains { to in
                            covers.contains("\(from)>\(to):*")
                                || covers.contains("\(from)>\(to):\(port)/\(transport)")
                        }
                    }
                    allCells += 1
                    if isAllowed { allowedCells += 1 }
                    if from != to { cells.append(try question(sides, from, to, transport, port, isAllowed)) }
                }
            }
        }
        guard allCells == total, allowedCells == count else {
            throw ConformanceError("\(allowedCells) of \(allCells) cells instead of \(count) of \(total)")
        }
        return cells
    }

    /// Every pod as the end of a flow.
    private var sides: [String: FlowSide] { pods.mapValues { FlowSide($0.address, member($0)) } }

    private func question(
        _ sides: [String: FlowSide], _ from: String, _ to: String, _ transport: String, _ port: Int,
        _ isAllowed: Bool
    ) throws -> Question {
        guard let source = sides[from], let destination = sides[to] else {
            throw ConformanceError("no pods \(from), \(to)")
        }
        return Question(
            flow: Flow(from: source, to: destination, try FlowTransport("\(port)/\(transport)")),
            isAllowed: isAllowed, text: "\(from) > \(to):\(port)/\(transport)")
    }

    // MARK: Placeholders

    /// `{ns/pod}` and `{cidrN ns/pod}` as an address and a block.
    private func resolved(_ text: String) -> String {
        if text == "0.0.0.0/0" { return family == .v4 ? text : "::/0" }
        guard text.hasPrefix("{"), let end = text.firstIndex(of: "}") else { return text }
        let rest = text[text.index(after: end)...]
        let words = text.dropFirst().prefix { $0 != "}" }.split(separator: " ")
        let address = address(of: String(words.last ?? ""))
        let suffix = words.count == 2 ? words[0].dropFirst("cidr".count) : rest.dropFirst()
        guard let bits = Int(suffix) else { return address.description }
        let block = CIDR(containing: address, prefixLength: bits + (family == .v4 ? 0 : 96))
        // As written: with the bits behind the prefix.
        return words.count == 2 ? block.description : "\(address)/\(block.prefixLength)"
    }

    private func address(of path: String) -> IPAddress {
        if let text = suite.addresses[path], let address = try? IPAddress(text) { return inFamily(address) }
        let namespace = String(path.prefix { $0 != "/" })
        let index = addressed[namespace]?.firstIndex(of: path) ?? addressed[namespace]?.count ?? 0
        return subnet(of: namespace).address(at: UInt128(10 + index)) ?? IPAddress(family, bits: 0)
    }

    /// 256 addresses in either family: those around the given addresses of the namespace's pods, or others.
    private func subnet(of namespace: String) -> CIDR {
        let pod = suite.addresses.keys.sorted().first { $0.hasPrefix(namespace + "/") }
        let given = pod.flatMap { suite.addresses[$0] }.flatMap { try? IPAddress($0) }
        let index = numbered.firstIndex(of: namespace) ?? numbered.count
        // 10.30.<index>.0
        let address = given ?? IPAddress(.v4, bits: 10 << 24 | 30 << 16 | UInt128(index) << 8)
        return CIDR(containing: inFamily(address), prefixLength: family.width - 8)
    }

    private func inFamily(_ address: IPAddress) -> IPAddress {
        family == .v4 ? address : IPAddress(.v6, bits: 0xfd00 << 112 | address.bits)
    }

    /// A list of peers in which those that select nodes have become blocks, and a list of rules without those
    /// that have no peer left then.
    private func withoutNodes(_ value: JSONValue) -> JSONValue {
        guard case .array(let items) = value else { return value }
        return .array(
            items.compactMap { item in
                guard case .object(var members) = item else { return item }
                if members["nodes"] != nil {
                    let wanted = item["nodes"]["matchLabels"].texts
                    let blocks = nodes.values.filter { node in
                        wanted.allSatisfy { node.labels[$0.key] == $0.value }
                    }.map { JSONValue.string("\($0.address)/\(family.width)") }
                    return blocks.isEmpty ? nil : .object(["networks": .array(blocks)])
                }
                members["name"] = nil
                let isEmptied = members["action"] != nil && (members["to"] ?? members["from"]) == .array([])
                return isEmptied ? nil : item
            })
    }
}

package struct ConformanceError: Error, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}
