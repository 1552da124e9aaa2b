internal import Firewall
internal import Logging
public import Model

extension NetworkManager {
    /// Flows as they happen: packets that were denied, each with its reason, and connections that were allowed.
    ///
    /// Equal ones of about a second are one event. A reader that is slow is told how many events it missed, and
    /// keeps nobody waiting. The stream ends when its reader drops it, or when the manager stops.
    /// - Throws: `ModelError.notFound` for a name that no endpoint has.
    public func watchFlows(_ watch: FlowWatch = FlowWatch()) async throws -> AsyncStream<FlowEvent> {
        var filter = FlowFilter(deniedOnly: watch.deniedOnly)
        if !watch.endpoints.isEmpty {
            filter.endpointIDs = Set(try watch.endpoints.map { try directory.endpoint(named: $0).id })
        }
        guard let flows else {
            throw ModelError.precondition("flows", "", missingFlows ?? "the manager has stopped")
        }
        tellShaped()
        if watch.includesRecent { await flows.settle() }
        let stream = flows.hub.watch(filter, recent: watch.includesRecent, follows: watch.follows)
        if watch.follows { followShaped() }
        return stream
    }

    /// What keeps flows from being watched, if anything does.
    private var missingFlows: String? { missingFeatures.first { $0.name == Self.flowFeature }?.explanation }

    private static var flowFeature: String { "flows" }

    func startFlows() {
        let earlier = earlierDenials()
        do {
            let monitor = try FlowMonitor(names: self, logger: log)
            monitor.hub.publish(earlier)
            flows = monitor
        } catch {
            log.error("flows cannot be watched", metadata: ["error": "\(error)"])
            missingFeatures.append(
                .init(
                    name: Self.flowFeature,
                    explanation: "\(error): what is denied is counted, but not described"))
        }
    }
}
