// swift-tools-version: 6.2
import PackageDescription

/// Every target of ours is built with the same strict settings.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

/// Code written by protoc keeps the rules that its generator follows.
let generated: [SwiftSetting] = [.swiftLanguageMode(.v6), .enableUpcomingFeature("InternalImportsByDefault")]

let log: Target.Dependency = .product(name: "Logging", package: "swift-log")
let grpc: [Target.Dependency] = [
    .product(name: "GRPCCore", package: "grpc-swift-2"),
    .product(name: "GRPCProtobuf", package: "grpc-swift-protobuf"),
    .product(name: "SwiftProtobuf", package: "swift-protobuf"),
]
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "network-manager",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "NetworkManager", targets: ["NetworkManager", "Model"]),
        .library(name: "ForgeAPI", targets: ["API", "Protos"]),
        .library(name: "ForgeKernel", targets: ["Sys", "Wire", "Netlink", "Namespaces"]),
        // For the nested package Fuzz only.
        .library(name: "FuzzTargets", targets: ["FuzzTargets"]),
        .executable(name: "forge", targets: ["forge"]),
        .executable(name: "forged", targets: ["forged"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/grpc/grpc-swift-2", from: "2.4.0"),
        .package(url: "https://github.com/grpc/grpc-swift-protobuf", from: "2.4.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
    ],
    targets: [
        // C: shims and constants; nothing else imports C.
        .target(name: "CLinux"),
        .target(name: "CHTTP2", linkerSettings: [.linkedLibrary("nghttp2")]),

        // L0
        .target(name: "Sys", dependencies: ["CLinux"], swiftSettings: strict),
        .target(name: "Wire", swiftSettings: strict),

        // L1
        .target(name: "Netlink", dependencies: ["CLinux", "Sys", "Wire"], swiftSettings: strict),
        .target(name: "Namespaces", dependencies: ["CLinux", "Sys"], swiftSettings: strict),

        // L2
        .target(
            name: "Model", dependencies: ["Wire", .product(name: "Yams", package: "Yams")],
            swiftSettings: strict),

        // L3
        .target(
            name: "Bridge", dependencies: ["Model", "Namespaces", "Netlink", "Sys", "Wire"],
            swiftSettings: strict),
        .target(name: "DNS", dependencies: ["Sys", "Wire"], swiftSettings: strict),
        .target(name: "Firewall", dependencies: ["Model", "Netlink", "Sys", "Wire"], swiftSettings: strict),
        .target(name: "NAT", dependencies: ["Model", "Netlink", "Sys", "Wire"], swiftSettings: strict),
        .target(
            name: "Forwarding", dependencies: ["CLinux", "Netlink", "Sys", "Wire"], swiftSettings: strict),
        .target(name: "VNet", dependencies: ["Model", "Wire"], swiftSettings: strict),
        .target(
            name: "Store", dependencies: ["Model", "Wire", .product(name: "GRDB", package: "GRDB.swift")],
            swiftSettings: strict),

        // L4
        .target(name: "Protos", dependencies: grpc, path: "Sources/Protos", swiftSettings: generated),
        .target(
            name: "API", dependencies: ["CHTTP2", "CLinux", "Model", "Protos", "Sys", "Wire", log] + grpc,
            swiftSettings: strict),

        // L5
        .target(
            name: "NetworkManager",
            dependencies: [
                "Bridge", "DNS", "Firewall", "Forwarding", "Model", "NAT", "Namespaces", "Netlink", "Store",
                "Sys", "VNet", "Wire", log,
            ],
            swiftSettings: strict),

        // What fuzzers and the tests that replay their corpora both run.
        .target(
            name: "FuzzTargets",
            dependencies: ["API", "DNS", "Firewall", "Forwarding", "Model", "Netlink", "Wire"],
            swiftSettings: strict),

        // X
        .executableTarget(
            name: "forge",
            dependencies: ["API", "CLinux", "DNS", "Model", "Namespaces", "Protos", "Sys", "Wire", arguments]
                + grpc,
            swiftSettings: strict),
        .executableTarget(
            name: "forged",
            dependencies: [
                "API", "CLinux", "DNS", "Forwarding", "Model", "Namespaces", "NetworkManager", "Sys", "Wire",
                log,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "APITests", dependencies: ["API", "FuzzTargets", "Model", "Protos", "Sys", "Wire"] + grpc,
            swiftSettings: strict),

        // Tests' support: puts every test process into private namespaces before main.
        .target(name: "CLab", dependencies: ["CLinux"], path: "Tests/Support/CLab"),
        .target(
            name: "LabSupport", dependencies: ["CLab", "CLinux", "Model", "Namespaces", "Sys", "Wire"],
            path: "Tests/Support/LabSupport", swiftSettings: strict),

        // A forwarder with a manager's side of its link.
        .target(
            name: "ForwardingSupport",
            dependencies: ["CLab", "CLinux", "Forwarding", "LabSupport", "Sys", "Wire"],
            path: "Tests/Support/ForwardingSupport", swiftSettings: strict),

        // Cases of policy as data, and the fabric that each describes.
        .target(
            name: "ConformanceSupport",
            dependencies: ["Model", "Wire", .product(name: "Yams", package: "Yams")],
            path: "Tests/Support/ConformanceSupport", swiftSettings: strict),

        // Tests: no privileges needed.
        .testTarget(
            name: "NetlinkTests", dependencies: ["FuzzTargets", "Netlink", "Sys", "Wire"],
            swiftSettings: strict),
        .testTarget(name: "WireTests", dependencies: ["Wire"], swiftSettings: strict),
        .testTarget(
            name: "ModelTests", dependencies: ["ConformanceSupport", "FuzzTargets", "Model", "Wire"],
            swiftSettings: strict),
        .testTarget(
            name: "BridgeTests", dependencies: ["Bridge", "Model", "Netlink", "Wire"], swiftSettings: strict),
        .testTarget(
            name: "FirewallTests",
            dependencies: ["ConformanceSupport", "Firewall", "FuzzTargets", "LabSupport", "Model", "Wire"],
            swiftSettings: strict),
        .testTarget(
            name: "DNSTests", dependencies: ["DNS", "FuzzTargets", "Sys", "Wire"], swiftSettings: strict),
        .testTarget(
            name: "NATTests", dependencies: ["Model", "NAT", "Netlink", "Wire"], swiftSettings: strict),
        .testTarget(
            name: "ForwardingTests",
            dependencies: [
                "Forwarding", "ForwardingSupport", "FuzzTargets", "LabSupport", "Namespaces", "Sys", "Wire",
            ],
            swiftSettings: strict),
        .testTarget(name: "VNetTests", dependencies: ["Model", "VNet", "Wire"], swiftSettings: strict),
        .testTarget(
            name: "StoreTests",
            dependencies: ["Model", "Store", "Wire", .product(name: "GRDB", package: "GRDB.swift")],
            swiftSettings: strict),

        .testTarget(
            name: "NamespacesTests", dependencies: ["CLab", "CLinux", "LabSupport", "Namespaces", "Sys"],
            swiftSettings: strict),

        // Tests that make network namespaces: as root, or in a user namespace of one's own.
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "Bridge", "ConformanceSupport", "DNS", "Firewall", "Forwarding", "ForwardingSupport",
                "LabSupport", "Model", "NAT", "Namespaces", "Netlink", "NetworkManager", "Sys", "Wire",
            ],
            swiftSettings: strict),

        // Tests against other programs.
        .testTarget(
            name: "InteropTests", dependencies: ["LabSupport", "Namespaces", "Protos", "Sys"],
            exclude: ["Python"],
            swiftSettings: strict),
    ]
)
