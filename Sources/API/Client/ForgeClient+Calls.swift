internal import GRPCCore
public import Protos

/// Each call of the service `forge.network.v1.NetworkManager`.
extension ForgeClient {
    /// Makes a network.
    public func createVNet(
        _ request: Forge_Network_V1_CreateVNetRequest
    ) async throws(ForgeError) -> Forge_Network_V1_CreateVNetResponse {
        try await unrepeatable { stub, options in try await stub.createVNet(request, options: options) }
    }

    /// Removes a network and, by force, its endpoints.
    public func deleteVNet(
        _ request: Forge_Network_V1_DeleteVNetRequest
    ) async throws(ForgeError) -> Forge_Network_V1_DeleteVNetResponse {
        try await unrepeatable { stub, options in try await stub.deleteVNet(request, options: options) }
    }

    /// A network by name, id or unambiguous id prefix.
    public func getVNet(
        _ request: Forge_Network_V1_GetVNetRequest
    ) async throws(ForgeError) -> Forge_Network_V1_GetVNetResponse {
        try await repeatable { stub, options in try await stub.getVNet(request, options: options) }
    }

    /// One page of networks.
    public func listVNets(
        _ request: Forge_Network_V1_ListVNetsRequest
    ) async throws(ForgeError) -> Forge_Network_V1_ListVNetsResponse {
        try await repeatable { stub, options in try await stub.listVNets(request, options: options) }
    }

    /// Ensures that a network's bridge is in the kernel and up.
    public func setupBridge(
        _ request: Forge_Network_V1_SetupBridgeRequest
    ) async throws(ForgeError) -> Forge_Network_V1_SetupBridgeResponse {
        try await repeatable { stub, options in try await stub.setupBridge(request, options: options) }
    }

    /// Attaches a container to a network; policy is in force when the answer comes.
    public func assignEndpoint(
        _ request: Forge_Network_V1_AssignEndpointRequest
    ) async throws(ForgeError) -> Forge_Network_V1_AssignEndpointResponse {
        try await repeatable { stub, options in try await stub.assignEndpoint(request, options: options) }
    }

    /// Detaches a container; what is already gone is no error.
    public func releaseEndpoint(
        _ request: Forge_Network_V1_ReleaseEndpointRequest
    ) async throws(ForgeError) -> Forge_Network_V1_ReleaseEndpointResponse {
        try await repeatable { stub, options in try await stub.releaseEndpoint(request, options: options) }
    }

    /// An endpoint by name, `network/name`, container id, id or unambiguous id prefix.
    public func getEndpoint(
        _ request: Forge_Network_V1_GetEndpointRequest
    ) async throws(ForgeError) -> Forge_Network_V1_GetEndpointResponse {
        try await repeatable { stub, options in try await stub.getEndpoint(request, options: options) }
    }

    /// One page of endpoints.
    public func listEndpoints(
        _ request: Forge_Network_V1_ListEndpointsRequest
    ) async throws(ForgeError) -> Forge_Network_V1_ListEndpointsResponse {
        try await repeatable { stub, options in try await stub.listEndpoints(request, options: options) }
    }

    /// Leads ports of the host to an endpoint: all of them, or none.
    public func publishPorts(
        _ request: Forge_Network_V1_PublishPortsRequest
    ) async throws(ForgeError) -> Forge_Network_V1_PublishPortsResponse {
        try await repeatable { stub, options in try await stub.publishPorts(request, options: options) }
    }

    /// Ends that.
    public func unpublishPorts(
        _ request: Forge_Network_V1_UnpublishPortsRequest
    ) async throws(ForgeError) -> Forge_Network_V1_UnpublishPortsResponse {
        try await unrepeatable { stub, options in try await stub.unpublishPorts(request, options: options) }
    }

    /// Changes a network's labels.
    public func relabelVNet(
        _ request: Forge_Network_V1_RelabelVNetRequest
    ) async throws(ForgeError) -> Forge_Network_V1_RelabelVNetResponse {
        try await repeatable { stub, options in try await stub.relabelVNet(request, options: options) }
    }

    /// Changes an endpoint's labels.
    public func relabelEndpoint(
        _ request: Forge_Network_V1_RelabelEndpointRequest
    ) async throws(ForgeError) -> Forge_Network_V1_RelabelEndpointResponse {
        try await repeatable { stub, options in try await stub.relabelEndpoint(request, options: options) }
    }

    /// Cuts an endpoint off; it is cut when the answer comes.
    public func quarantineEndpoint(
        _ request: Forge_Network_V1_QuarantineEndpointRequest
    ) async throws(ForgeError) -> Forge_Network_V1_QuarantineEndpointResponse {
        try await repeatable { stub, options in try await stub.quarantineEndpoint(request, options: options) }
    }

    /// Ends a quarantine.
    public func unquarantineEndpoint(
        _ request: Forge_Network_V1_UnquarantineEndpointRequest
    ) async throws(ForgeError) -> Forge_Network_V1_UnquarantineEndpointResponse {
        try await unrepeatable { stub, options in
            try await stub.unquarantineEndpoint(request, options: options)
        }
    }

    /// Creates or replaces policies; they are in force when the answer comes.
    public func applyFirewall(
        _ request: Forge_Network_V1_ApplyFirewallRequest
    ) async throws(ForgeError) -> Forge_Network_V1_ApplyFirewallResponse {
        try await repeatable { stub, options in try await stub.applyFirewall(request, options: options) }
    }

    /// Removes a policy.
    public func deletePolicy(
        _ request: Forge_Network_V1_DeletePolicyRequest
    ) async throws(ForgeError) -> Forge_Network_V1_DeletePolicyResponse {
        try await unrepeatable { stub, options in try await stub.deletePolicy(request, options: options) }
    }

    /// A policy by name.
    public func getPolicy(
        _ request: Forge_Network_V1_GetPolicyRequest
    ) async throws(ForgeError) -> Forge_Network_V1_GetPolicyResponse {
        try await repeatable { stub, options in try await stub.getPolicy(request, options: options) }
    }

    /// One page of policies.
    public func listPolicies(
        _ request: Forge_Network_V1_ListPoliciesRequest
    ) async throws(ForgeError) -> Forge_Network_V1_ListPoliciesResponse {
        try await repeatable { stub, options in try await stub.listPolicies(request, options: options) }
    }

    /// What policy decides on a flow, and why, without sending a packet.
    public func explain(
        _ request: Forge_Network_V1_ExplainRequest
    ) async throws(ForgeError) -> Forge_Network_V1_ExplainResponse {
        try await repeatable { stub, options in try await stub.explain(request, options: options) }
    }

    /// One page of endpoints' counters.
    public func getStatistics(
        _ request: Forge_Network_V1_GetStatisticsRequest
    ) async throws(ForgeError) -> Forge_Network_V1_GetStatisticsResponse {
        try await repeatable { stub, options in try await stub.getStatistics(request, options: options) }
    }

    /// Flows as they happen, each given to `onEvent` in turn; returns when the fabric ends the stream.
    ///
    /// What `onEvent` throws ends the stream, and comes out as `ForgeError` of code `failed`.
    public func watchFlows(
        _ request: Forge_Network_V1_WatchFlowsRequest,
        onEvent: @escaping @Sendable (Forge_Network_V1_FlowEvent) async throws -> Void
    ) async throws(ForgeError) {
        try await unrepeatable { stub, options in
            try await stub.watchFlows(request, options: options) { response in
                for try await event in response.messages { try await onEvent(event) }
            }
        }
    }

    /// What the fabric says of itself.
    public func getStatus(
        _ request: Forge_Network_V1_GetStatusRequest
    ) async throws(ForgeError) -> Forge_Network_V1_GetStatusResponse {
        try await repeatable { stub, options in try await stub.getStatus(request, options: options) }
    }
}
