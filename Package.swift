// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

/// A target of ours and its tests in Tests/<name>Tests. Dependencies are named where they are imported.
func target(_ name: String, _ dependencies: [Target.Dependency], tests: [Target.Dependency] = []) -> [Target] {
    [
        .target(name: name, dependencies: dependencies, swiftSettings: settings),
        .testTarget(
            name: "\(name)Tests", dependencies: [.byName(name: name)] + dependencies + tests, swiftSettings: settings),
    ]
}

/// A C library of the system; Sources/C/<name> holds its module map and typed shims. One target of ours imports it.
func library(_ name: String, pkgConfig: String, apt: String) -> Target {
    .systemLibrary(name: name, path: "Sources/C/\(name)", pkgConfig: pkgConfig, providers: [.apt([apt])])
}

let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let flyingFox: [Target.Dependency] = [
    .product(name: "FlyingFox", package: "FlyingFox"), .product(name: "FlyingSocks", package: "FlyingFox"),
]

/// Set by `scripts/fuzz`: the harnesses of Tests/FuzzingTests become a program with a fuzzer; nothing else is built.
let isFuzzing = Context.environment["ZEROFS_FUZZ"] != nil
let fuzzed: [Target.Dependency] = [
    "StoreCore", "Codec", "ObjectStorage", "S3", "SegmentLog", "BlockMap", "Journal", "Cache", "Snapshots", "Cleaner",
    "Volumes", "NBD", "TLS", "CLibSSL", "Control", "CLI", logging,
]
let fuzzing: [Target] =
    isFuzzing
    ? [
        .executableTarget(
            name: "zerofs-fuzz", dependencies: fuzzed, path: "Tests/FuzzingTests",
            exclude: ["Replay", "corpus", "regressions"], swiftSettings: settings)
    ]
    : [
        .testTarget(
            name: "FuzzingTests", dependencies: fuzzed, exclude: ["Driver", "corpus", "regressions"],
            swiftSettings: settings)
    ]

/// A program; for the fuzzer a library, whose entry point must not be in the way of the fuzzer's.
func program(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    let renamed: SwiftSetting = .unsafeFlags(["-Xfrontend", "-entry-point-function-name", "-Xfrontend", "\(name)_main"])
    return isFuzzing
        ? .target(name: name, dependencies: dependencies, swiftSettings: settings + [renamed])
        : .executableTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

let package = Package(
    name: "zerofs",
    products: isFuzzing
        ? []
        : [
            .executable(name: "zerofs", targets: ["CLI"]),
            .executable(name: "zerofs-sim", targets: ["SimulationRunner"]),
        ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
        .package(url: "https://github.com/CoreOffice/XMLCoder", from: "0.18.2"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
        .package(url: "https://github.com/swhitty/FlyingFox", from: "0.27.1"),
    ],
    targets: [
        [
            library("COpenSSL", pkgConfig: "libcrypto", apt: "libssl-dev"),
            library("CLibSSL", pkgConfig: "libssl", apt: "libssl-dev"),
            library("CZstd", pkgConfig: "libzstd", apt: "libzstd-dev"),
            library("CXXHash", pkgConfig: "libxxhash", apt: "libxxhash-dev"),
            library("CCurl", pkgConfig: "libcurl", apt: "libcurl4-openssl-dev"),
        ],
        target("StoreCore", []),
        target("Codec", ["StoreCore", "COpenSSL", "CZstd", "CXXHash"]),
        target("Journal", ["StoreCore", "Codec"]),
        target("NBD", ["StoreCore"]),
        target("TLS", ["StoreCore", "Codec", "NBD", "CLibSSL", logging]),
        target("ObjectStorage", ["StoreCore"], tests: ["StoreConformance"]),
        target(
            "S3", ["StoreCore", "ObjectStorage", "Codec", "CCurl", "XMLCoder"], tests: ["StoreConformance"]),
        target("SegmentLog", ["StoreCore", "Codec", "ObjectStorage"], tests: ["Uploader"]),
        target("Cache", ["StoreCore", "Codec", "ObjectStorage", "SegmentLog"]),
        target("Uploader", ["StoreCore", "ObjectStorage"]),
        target("BlockMap", ["StoreCore", "Codec", "ObjectStorage", "SegmentLog"]),
        target("Snapshots", ["StoreCore", "Codec", "ObjectStorage", "BlockMap"]),
        target("Cleaner", ["StoreCore", "Codec", "ObjectStorage", "SegmentLog", "BlockMap", "Snapshots", "Cache"]),
        target(
            "Volumes",
            [
                "StoreCore", "Codec", "ObjectStorage", "SegmentLog", "BlockMap", "Uploader", "Journal", "Cache",
                "Snapshots",
                "Cleaner", logging,
            ]),
        target("Control", ["StoreCore", "ObjectStorage", "Cleaner", "Volumes", "NBD", logging] + flyingFox),
        [
            program(
                "CLI",
                [
                    "StoreCore", "Codec", "ObjectStorage", "S3", "Cleaner", "Volumes", "NBD", "TLS", "Control",
                    "TOMLKit", logging,
                    argumentParser,
                ]),
            .testTarget(
                name: "CLITests",
                dependencies: [
                    "CLI", "StoreCore", "Codec", "ObjectStorage", "S3", "Cleaner", "Volumes", "NBD", "TLS", "Control",
                    logging, argumentParser,
                ], swiftSettings: settings),
            .target(
                name: "StoreConformance", dependencies: ["StoreCore", "ObjectStorage"], path: "Tests/StoreConformance",
                swiftSettings: settings),
            .target(name: "CSimulationExecutor", path: "Tests/C/CSimulationExecutor"),
            // Replaces the process's threads by such as take turns, for the same program alone.
            .target(name: "CSimulationThreads", path: "Tests/C/CSimulationThreads"),
            // Replaces the process's random source: nothing but the simulator may link it.
            .target(name: "CSimulationRandom", path: "Tests/C/CSimulationRandom"),
            .target(
                name: "Simulation",
                dependencies: [
                    "CSimulationExecutor", "CSimulationThreads", "StoreCore", "Codec", "ObjectStorage", "BlockMap",
                    "Cleaner", "Snapshots", "Volumes", "NBD", logging,
                ], path: "Tests/Simulation", swiftSettings: settings),
            // Runs zerofs-sim as a program: a test process must not link it, nor share its executor.
            .testTarget(name: "SimulationTests", dependencies: ["StoreCore"], swiftSettings: settings),
            .target(
                name: "CrashEnumeration",
                dependencies: [
                    "CSimulationRandom", "Simulation", "StoreCore", "Codec", "ObjectStorage", "BlockMap", "Cleaner",
                    "Volumes", logging,
                ], path: "Tests/CrashEnumeration", swiftSettings: settings),
            .executableTarget(
                name: "SimulationRunner",
                dependencies: ["Simulation", "CrashEnumeration", "CSimulationRandom", "StoreCore"],
                path: "Tests/SimulationRunner", swiftSettings: settings),
        ], fuzzing,
    ].flatMap(\.self)
)
