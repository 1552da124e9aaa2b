public import Protos
internal import SwiftProtobuf

/// Whole listings, fetched page by page.
extension ForgeClient {
    public func allVNets() async throws(ForgeError) -> [Forge_Network_V1_VNet] {
        try await pages { token throws(ForgeError) in
            let page = try await listVNets(.with { $0.pageToken = token })
            return (page.vnets, page.nextPageToken)
        }
    }

    /// - Parameter vnet: only this network's; empty for all.
    public func allEndpoints(vnet: String = "") async throws(ForgeError) -> [Forge_Network_V1_Endpoint] {
        try await pages { token throws(ForgeError) in
            let page = try await listEndpoints(
                .with {
                    $0.vnet = vnet
                    $0.pageToken = token
                })
            return (page.endpoints, page.nextPageToken)
        }
    }

    public func allPolicies() async throws(ForgeError) -> [Forge_Network_V1_Policy] {
        try await pages { token throws(ForgeError) in
            let page = try await listPolicies(.with { $0.pageToken = token })
            return (page.policies, page.nextPageToken)
        }
    }

    /// - Parameter names: only these endpoints'; none for all.
    public func allStatistics(
        _ names: [String] = []
    ) async throws(ForgeError) -> [Forge_Network_V1_EndpointStatistics] {
        try await pages { token throws(ForgeError) in
            let page = try await getStatistics(
                .with {
                    $0.names = names
                    $0.pageToken = token
                })
            return (page.statistics, page.nextPageToken)
        }
    }

    private func pages<Element>(
        _ page: (String) async throws(ForgeError) -> ([Element], String)
    ) async throws(ForgeError) -> [Element] {
        var all: [Element] = []
        var token = ""
        repeat {
            let (elements, next) = try await page(token)
            all += elements
            token = next
        } while !token.isEmpty
        return all
    }
}
