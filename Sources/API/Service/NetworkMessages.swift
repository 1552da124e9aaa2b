internal import Model
internal import Protos
internal import SwiftProtobuf
internal import Wire

extension Forge_Network_V1_VNet {
    init(_ network: Network) {
        self.init()
        id = network.id
        name = network.name
        subnets = network.subnets.map(\.description)
        gateways = IPFamily.allCases.compactMap { network.gateway($0)?.description }
        isolation = .init(network.isolation)
        defaultVerdict = network.defaultVerdict == .deny ? .deny : .allow
        mtu = UInt32(clamping: network.mtu)
        labels = network.labels
        bridge = network.bridgeName
        nat = network.nat
        if let settings = network.dns {
            dns = .with {
                $0.refusal = settings.refusal == .nxdomain ? .nxdomain : .refused
                $0.upstreams = settings.upstreams.map(\.description)
            }
        }
    }
}

extension Forge_Network_V1_SetupBridgeResponse {
    init(_ network: Network) {
        self.init()
        bridge = network.bridgeName
        addresses = IPFamily.allCases.compactMap { family in
            guard let subnet = network.subnet(family), let gateway = network.gateway(family) else {
                return nil
            }
            return "\(gateway)/\(subnet.prefixLength)"
        }
        mtu = UInt32(clamping: network.mtu)
    }
}

extension NetworkRequest {
    init(_ message: Forge_Network_V1_CreateVNetRequest) throws(ModelError) {
        try Name.check(message.name, field: "name")
        try Bounds.check("subnet", count: message.subnets.count, atMost: Bounds.subnets)
        try LabelSyntax.check(message.labels, field: "label")
        var subnets: [CIDR] = []
        for text in message.subnets {
            subnets.append(try parse("subnet", text) { text throws(ParseError) in try CIDR(text) })
        }
        guard message.mtu <= 65_535 else { throw .invalid("mtu", "\(message.mtu)", "must be at most 65535") }
        self.init(
            name: message.name, subnets: subnets, isolation: try IsolationLevel(message.isolation),
            defaultVerdict: try DefaultVerdict(message.defaultVerdict),
            mtu: message.mtu == 0 ? nil : Int(message.mtu), labels: message.labels, nat: message.nat,
            dns: message.hasDns ? try DNSSettings(message.dns) : nil)
    }
}

extension DNSSettings {
    fileprivate init(_ message: Forge_Network_V1_DNSSettings) throws(ModelError) {
        let refusal: DNSRefusal
        switch message.refusal {
        case .unspecified, .nxdomain: refusal = .nxdomain
        case .refused: refusal = .refused
        case .UNRECOGNIZED(let number):
            throw .invalid("dns refusal", "\(number)", "is neither nxdomain nor refused")
        }
        try Bounds.check("dns upstream", count: message.upstreams.count, atMost: DNSSettings.upstreamLimit)
        var upstreams: [DNSUpstream] = []
        for text in message.upstreams {
            upstreams.append(
                try parse("dns upstream", text) { text throws(ParseError) in try DNSUpstream(text) })
        }
        self.init(refusal: refusal, upstreams: upstreams)
    }
}

extension IsolationLevel {
    fileprivate init(_ message: Forge_Network_V1_IsolationLevel) throws(ModelError) {
        switch message {
        case .unspecified, .peerOnly: self = .peerOnly
        case .full: self = .full
        case .meshOnly: self = .meshOnly
        case .none: self = .none
        case .UNRECOGNIZED(let number): throw .invalid("isolation", "\(number)", "is not an isolation level")
        }
    }
}

extension Forge_Network_V1_IsolationLevel {
    fileprivate init(_ level: IsolationLevel) {
        switch level {
        case .full: self = .full
        case .peerOnly: self = .peerOnly
        case .meshOnly: self = .meshOnly
        case .none: self = .none
        }
    }
}

extension DefaultVerdict {
    fileprivate init(_ message: Forge_Network_V1_DefaultVerdict) throws(ModelError) {
        switch message {
        case .unspecified, .deny: self = .deny
        case .allow: self = .allow
        case .UNRECOGNIZED(let number):
            throw .invalid("default verdict", "\(number)", "is neither deny nor allow")
        }
    }
}
