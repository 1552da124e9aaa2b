import GRPCCore
import Model
import Protos
import SwiftProtobuf
import Testing

@testable import API

@Suite struct ErrorTests {
    @Test func `tells of a name however long it is`() async throws {
        try await RunningServer.with { running in
            try await running.client { client in
                // One character to Swift, 60,001 bytes, each of which takes three on the way.
                let name = "e" + String(repeating: "\u{301}", count: 30_000)
                let error = await #expect(throws: ForgeError.self) {
                    try await client.getVNet(.with { $0.name = name })
                }
                #expect(error?.code == .invalidArgument || error?.code == .notFound)
            }
        }
    }

    @Test(arguments: [
        (ModelError.invalid("mtu", "5", "too small"), RPCError.Code.invalidArgument),
        (.ambiguous("network", "a", ["ab", "ac"]), .invalidArgument),
        (.notFound("network", "x"), .notFound),
        (.exists("network", "x", "is there"), .alreadyExists),
        (.precondition("network", "x", "has endpoints"), .failedPrecondition),
        (.exhausted("subnet", "10.0.0.0/30", "is full"), .resourceExhausted),
    ])
    func `gives each kind of error a status code of its own`(error: ModelError, code: RPCError.Code) {
        #expect(RPCError(error).code == code)
        #expect(RPCError(error).message == error.description)
    }

    @Test func `keeps control characters out of messages`() {
        let error = RPCError(.notFound("network", "a\n\u{1b}[2Jb"))
        #expect(error.message == "no such network: \"a  [2Jb\"")
    }

    @Test func `says what else went wrong as an internal error`() async throws {
        struct Trouble: Error, CustomStringConvertible { let description = "disk full" }
        try await RunningServer.with { running in
            await running.fabric.fail(with: Trouble())
            try await running.client { client in
                await #expect(throws: ForgeError(.failed, "disk full")) {
                    try await client.getStatus(.init())
                }
            }
        }
    }

    @Test func `refuses a network that has endpoints unless forced`() async throws {
        try await RunningServer.with { running in
            try await running.client { client in
                _ = try await client.createVNet(.with { $0.name = "lan" })
                _ = try await client.assignEndpoint(
                    .with {
                        $0.vnet = "lan"
                        $0.containerID = "c"
                        $0.pid = 1
                    })
                await #expect(throws: ForgeError(.failedPrecondition, "network \"lan\": has endpoints")) {
                    try await client.deleteVNet(.with { $0.name = "lan" })
                }
            }
        }
    }

    @Test(
        arguments: [
            Spoiled("subnet \"10.0.0.1/24\": host bits are set; the network is 10.0.0.0/24") {
                $0.subnets = ["10.0.0.1/24"]
            },
            Spoiled("name \"No\": must be a DNS label") { $0.name = "No" },
            Spoiled("isolation \"9\": is not an isolation level") { $0.isolation = .UNRECOGNIZED(9) },
            Spoiled("mtu \"70000\": must be at most 65535") { $0.mtu = 70_000 },
            Spoiled("subnet \"17\": at most 16 are taken") {
                $0.subnets = .init(repeating: "10.0.0.0/24", count: 17)
            },
            Spoiled("dns upstream \"192.0.2.53:0\": ports are 1 to 65535") {
                $0.dns.upstreams = ["192.0.2.53:0"]
            },
            Spoiled("dns upstream \"9\": at most 8 are taken") {
                $0.dns.upstreams = .init(repeating: "192.0.2.53", count: 9)
            },
            Spoiled("dns refusal \"7\": is neither") { $0.dns.refusal = .UNRECOGNIZED(7) },
        ] as [Spoiled<Forge_Network_V1_CreateVNetRequest>])
    func `names the field and the value of a bad network`(
        spoiled: Spoiled<Forge_Network_V1_CreateVNetRequest>
    ) {
        var request = Forge_Network_V1_CreateVNetRequest.with { $0.name = "lan" }
        spoiled.change(&request)
        expectInvalid(spoiled.message) { try NetworkRequest(request) }
    }

    @Test(
        arguments: [
            Spoiled("network \"\": is required") { $0.vnet = "" },
            Spoiled("network \"a b\": must be at most 512 printable ASCII characters") { $0.vnet = "a b" },
            Spoiled("container id \"\": must be 1 to 128") { $0.containerID = "" },
            Spoiled("netns \"\": a namespace path or a pid is required") { $0.source = nil },
            Spoiled("pid \"0\": must be the id of a process") { $0.pid = 0 },
            Spoiled("netns \"x\": must be an absolute path") { $0.netnsPath = "x" },
            Spoiled("is not a path") { $0.netnsPath = "/x\0y" },
            Spoiled("ip \"10.1\": expected four numbers") { $0.addresses = ["10.1"] },
            Spoiled("mac \"x\": expected six") { $0.mac = "x" },
            Spoiled("label \"a b\": a label key is") { $0.labels = ["a b": "c"] },
            Spoiled("alias \"A\": must be a DNS label") { $0.aliases = ["A"] },
            Spoiled("alias \"33\": at most 32 are taken") { $0.aliases = .init(repeating: "a", count: 33) },
        ] as [Spoiled<Forge_Network_V1_AssignEndpointRequest>])
    func `names the field and the value of a bad endpoint`(
        spoiled: Spoiled<Forge_Network_V1_AssignEndpointRequest>
    ) {
        var request = Forge_Network_V1_AssignEndpointRequest.with {
            $0.vnet = "lan"
            $0.containerID = "c"
            $0.pid = 1
        }
        spoiled.change(&request)
        expectInvalid(spoiled.message) { try EndpointRequest(request) }
    }

    @Test(arguments: [
        (Forge_Network_V1_Protocol.tcp, 0, "port \"0\""), (.icmp, 8, "port \"8\": ICMP has no ports"),
        (.tcp, 65_536, "port \"65536\""), (.UNRECOGNIZED(77), 1, "protocol \"77\""),
    ])
    func `names the field and the value of a bad question`(
        transport: Forge_Network_V1_Protocol, port: UInt32, message: String
    ) {
        expectInvalid(message) {
            try FlowQuery(
                .with {
                    $0.from = "a"
                    $0.to = "b"
                    $0.protocol = transport
                    $0.port = port
                })
        }
    }
}

/// Expects `ModelError.invalid` whose line contains `message`.
func expectInvalid(
    _ message: String, sourceLocation: SourceLocation = #_sourceLocation, _ work: () throws -> some Any
) {
    let error = #expect(throws: ModelError.self, sourceLocation: sourceLocation) { _ = try work() }
    guard let error else { return }
    guard case .invalid = error else {
        Issue.record("\(error) is of another kind", sourceLocation: sourceLocation)
        return
    }
    #expect(error.description.contains(message), sourceLocation: sourceLocation)
}

/// A message with one thing wrong, and what is said about it.
struct Spoiled<Value>: Sendable {
    let message: String
    let change: @Sendable (inout Value) -> Void

    init(_ message: String, _ change: @escaping @Sendable (inout Value) -> Void) {
        self.message = message
        self.change = change
    }
}
