internal import Netlink
internal import Wire

/// The chains of `bridge forge`: a port may send only from its endpoint's own MAC and addresses, in frames,
/// ARP and neighbour discovery alike. Everything else is dropped and counted by port.
struct SpoofingChains {
    private(set) var chains: [NftChain] = []
    private(set) var rules: [NftRule] = []

    private let table = KernelLayout.spoofingTable

    init() {
        // NF_BR_PRE_ROUTING, before connection tracking sees the packet.
        chains.append(
            NftChain(
                table: table, name: "prerouting", hook: NftHook(number: 0, priority: -300, type: "filter"),
                policy: .accept))
        chain("prerouting", new: false) {
            [
                $0.rule(
                    "not one of our ports",
                    .port(.r(0))
                        + [
                            .lookup(set: KernelLayout.guardedPorts.name, key: .r(0), inverted: true),
                            .verdict(.accept),
                        ]),
                $0.rule(
                    "source MAC",
                    .port(.r(0)) + [
                        .payload(base: .link, offset: 6, length: 6, .r(4)),
                        .lookup(set: KernelLayout.portMACs.name, key: .r(0), inverted: true),
                        .verdict(.goto("spoof")),
                    ]),
                $0.rule(nil, .etherType(0x0800) + [.verdict(.goto("ip4"))]),
                $0.rule(nil, .etherType(0x86dd) + [.verdict(.goto("ip6"))]),
                $0.rule(nil, .etherType(0x0806) + [.verdict(.goto("arp"))]),
                $0.rule("no other protocol", .verdict(.goto("spoof"))),
            ]
        }
        chain("spoof") {
            [
                $0.rule(
                    nil,
                    .port(.r(0)) + [
                        .dynset(
                            set: KernelLayout.spoofed.name, operation: .update, key: .r(0),
                            expressions: [.counter])
                    ])
            ] + $0.toldSpoofed + [$0.rule(nil, .verdict(.drop))]
        }
        chain("ip4") {
            [
                $0.rule(
                    "source address",
                    .port(.r(0)) + [
                        .payload(base: .network, offset: 12, length: 4, .r(4)),
                        .lookup(set: KernelLayout.portAddresses(.v4).name, key: .r(0)), .verdict(.accept),
                    ]),
                $0.rule(nil, .verdict(.goto("spoof"))),
            ]
        }
        // RFC 826: hardware type 1, protocol 0x0800, lengths 6 and 4; sender's hardware and protocol address
        // at 8 and 14.
        chain("arp") {
            [
                $0.rule(
                    "Ethernet and IPv4 only",
                    [
                        .payload(base: .network, offset: 0, length: 6, .r(0)),
                        .cmp(.neq, .r(0), [0, 1, 8, 0, 6, 4]), .verdict(.goto("spoof")),
                    ]),
                $0.rule(
                    "sender's MAC",
                    .port(.r(0)) + [
                        .payload(base: .network, offset: 8, length: 6, .r(4)),
                        .lookup(set: KernelLayout.portMACs.name, key: .r(0), inverted: true),
                        .verdict(.goto("spoof")),
                    ]),
                $0.rule(
                    "sender's address",
                    .port(.r(0)) + [
                        .payload(base: .network, offset: 14, length: 4, .r(4)),
                        .lookup(set: KernelLayout.portAddresses(.v4).name, key: .r(0)), .verdict(.accept),
                    ]),
                // RFC 5227 section 1.1: a probe claims nothing.
                $0.rule(
                    "probe",
                    [
                        .payload(base: .network, offset: 14, length: 4, .r(0)),
                        .cmp(.eq, .r(0), [0, 0, 0, 0]), .verdict(.accept),
                    ]),
                $0.rule(nil, .verdict(.goto("spoof"))),
            ]
        }
        chain("ip6") {
            [
                $0.rule(
                    "source address",
                    .port(.r(0)) + [
                        .payload(base: .network, offset: 8, length: 16, .r(4)),
                        .lookup(set: KernelLayout.portAddresses(.v6).name, key: .r(0), inverted: true),
                        .verdict(.goto("ip6_unspecified")),
                    ]),
                $0.rule("not ICMPv6", [.meta(.l4proto, .r(0)), .cmp(.neq, .r(0), [58]), .verdict(.accept)]),
                $0.rule("advertisement", .icmpType(136) + [.verdict(.goto("advertisement"))]),
                // RFC 4861: routers advertise and redirect; an endpoint is no router.
                $0.rule("router advertisement", .icmpType(134) + [.verdict(.goto("spoof"))]),
                $0.rule("redirect", .icmpType(137) + [.verdict(.goto("spoof"))]),
                $0.rule(nil, .verdict(.accept)),
            ]
        }
        // From "::" only what RFC 4862 section 5.4 and RFC 3810 section 5.2.13 send before there is an
        // address.
        chain("ip6_unspecified") {
            [
                $0.rule(
                    nil,
                    [
                        .payload(base: .network, offset: 8, length: 16, .r(0)),
                        .cmp(.neq, .r(0), [UInt8](repeating: 0, count: 16)), .verdict(.goto("spoof")),
                    ]),
                $0.rule(nil, [.meta(.l4proto, .r(0)), .cmp(.neq, .r(0), [58]), .verdict(.goto("spoof"))]),
                $0.rule("duplicate address detection", .icmpType(135) + [.verdict(.accept)]),
                $0.rule("multicast listener report", .icmpType(143) + [.verdict(.accept)]),
                $0.rule(nil, .verdict(.goto("spoof"))),
            ]
        }
        // RFC 4861 section 4.4: the target address follows type, code, checksum and flags.
        chain("advertisement") {
            [
                $0.rule(
                    "its own address",
                    .port(.r(0)) + [
                        .payload(base: .transport, offset: 8, length: 16, .r(4)),
                        .lookup(set: KernelLayout.portAddresses(.v6).name, key: .r(0)), .verdict(.accept),
                    ]),
                $0.rule(nil, .verdict(.goto("spoof"))),
            ]
        }
    }

    private mutating func chain(_ name: String, new: Bool = true, _ build: (RuleBuilder) -> [NftRule]) {
        if new { chains.append(NftChain(table: table, name: name)) }
        rules += build(RuleBuilder(table: table, chain: name))
    }
}

extension [NftExpression] {
    /// The port's name: four registers.
    fileprivate static func port(_ register: NftRegister) -> Self { [.meta(.iifname, register)] }

    fileprivate static func etherType(_ type: UInt16) -> Self {
        [.meta(.protocol, .r(0)), .cmp(.eq, .r(0), [UInt8(type >> 8), UInt8(type & 0xff)])]
    }

    fileprivate static func icmpType(_ type: UInt8) -> Self {
        [.payload(base: .transport, offset: 0, length: 1, .r(0)), .cmp(.eq, .r(0), [type])]
    }
}
