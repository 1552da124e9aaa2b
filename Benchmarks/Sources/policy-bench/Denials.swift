internal import API
internal import BenchLab
internal import CBench
internal import Protos
internal import Synchronization

/// Quarantines, and what becomes of denials.
extension Fabric {
    /// Quarantines endpoints that `attach` made, one after the other, and ends each quarantine again.
    func quarantine(_ count: Int) async throws -> String {
        var times: [Double] = []
        for index in 0..<count {
            let name = "policy-\(index)"
            var request = Forge_Network_V1_QuarantineEndpointRequest()
            request.name = name
            let start = bench_now()
            _ = try await client.quarantineEndpoint(request)
            times.append(Double(bench_now() - start) / 1000)
            var release = Forge_Network_V1_UnquarantineEndpointRequest()
            release.name = name
            _ = try await client.unquarantineEndpoint(release)
        }
        return json(["quarantine_us": times])
    }

    /// Floods with packets that nobody allows, and adds up what is told of them.
    func denials(_ count: Int, perSecond: Int, _ network: String) async throws -> String {
        let address = try await attach("denials-server", network, [:])
        _ = try await attach("denials-client", network, [:])
        let sum = Mutex((told: UInt64(0), lost: UInt64(0)))
        var watch = Forge_Network_V1_WatchFlowsRequest()
        watch.deniedOnly = true
        watch.follow = true
        let watching = Task { [client, watch] in
            try? await client.watchFlows(watch) { event in
                sum.withLock { sum in
                    switch event.verdict {
                    case .deny: sum.told += event.count
                    case .lost, .missed: sum.lost += event.count
                    default: break
                    }
                }
            }
        }
        try await Task.sleep(for: .milliseconds(500))
        let start = bench_now()
        let path = containers.path("denials-client")
        let error = await Task.detached {
            unsafe bench_flood(path, 4, address, 9999, Int32(count), Int32(perSecond))
        }.value
        guard error == 0 else { throw Problem("cannot send: errno \(error)") }
        let seconds = Double(bench_now() - start) / 1e9
        // What is denied at the end of a second is told with the next.
        try await Task.sleep(for: .seconds(4))
        watching.cancel()
        var query = Forge_Network_V1_GetStatisticsRequest()
        query.names = ["denials-client"]
        let counted = try await client.getStatistics(query).statistics.first?.deniedPackets ?? 0
        let (told, lost) = sum.withLock { $0 }
        try await release("denials-server")
        try await release("denials-client")
        return json([
            "sent": [Double(count)], "seconds": [seconds], "counted": [Double(counted)],
            "told": [Double(told)], "lost": [Double(lost)],
        ])
    }
}
