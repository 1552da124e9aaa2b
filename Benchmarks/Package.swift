// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that nothing here reaches those who depend on the library. `make bench` builds it.

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

let package = Package(
    name: "Benchmarks",
    platforms: [.macOS(.v15)],
    dependencies: [
        // Named, since a clone may have any directory's name.
        .package(name: "network-manager", path: "..")
    ],
    targets: [
        // What the kernel alone takes for one attach.
        .executableTarget(name: "floor"),
        // Short connections, and whom the server takes the client for.
        .executableTarget(name: "connections"),
        // New names, and what is sent to their addresses.
        .executableTarget(name: "lookups"),
        // Namespaces and first packets, on threads that Swift's runtime does not own.
        .target(name: "CBench"),
        // What the programs below have in common.
        .target(name: "BenchLab", dependencies: ["CBench"], swiftSettings: strict),
        // Attaches through the client that users get.
        .executableTarget(
            name: "attach-bench",
            dependencies: ["BenchLab", "CBench", .product(name: "ForgeAPI", package: "network-manager")],
            swiftSettings: strict),
        // Policies through the client that users get, and packets through them.
        .executableTarget(
            name: "policy-bench",
            dependencies: [
                "BenchLab", "CBench", .product(name: "ForgeAPI", package: "network-manager"),
                .product(name: "NetworkManager", package: "network-manager"),
                .product(name: "ForgeKernel", package: "network-manager"),
            ],
            swiftSettings: strict),
    ]
)
