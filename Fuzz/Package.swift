// swift-tools-version: 6.2
import PackageDescription

// Fuzzers of whatever reads bytes from outside; `Fuzz/run` builds and starts them. A package of its own, so that nothing here
// reaches those who depend on the library.
//
// Each is a static library, since libFuzzer brings its own main().

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

let fuzzers = [
    "FuzzNetlink", "FuzzAddress", "FuzzPolicy", "FuzzCompiler", "FuzzNames", "FuzzHosts", "FuzzCalls",
]

let package = Package(
    name: "Fuzz",
    platforms: [.macOS(.v15)],
    products: fuzzers.map { .library(name: $0, type: .static, targets: [$0]) },
    dependencies: [
        // Named, since a clone may have any directory's name.
        .package(name: "network-manager", path: "..")
    ],
    targets: fuzzers.map {
        .target(
            name: $0, dependencies: [.product(name: "FuzzTargets", package: "network-manager")],
            swiftSettings: strict)
    }
)
