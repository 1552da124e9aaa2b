internal import GRPCCore
internal import Model
internal import Protos
internal import SwiftProtobuf

/// The service `forge.network.v1.NetworkManager`: checks messages, asks the fabric, words the answer.
struct NetworkManagerService: Forge_Network_V1_NetworkManager.SimpleServiceProtocol {
    let control: any FabricControl

    // MARK: Networks

    func createVNet(
        request: Forge_Network_V1_CreateVNetRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_CreateVNetResponse {
        try await answering {
            let network = try await control.createNetwork(NetworkRequest(request))
            return .with { $0.vnet = .init(network) }
        }
    }

    func deleteVNet(
        request: Forge_Network_V1_DeleteVNetRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_DeleteVNetResponse {
        try await answering {
            let name = try Bounds.reference(request.name, "network")
            let network = try await control.deleteNetwork(name, force: request.force)
            return .with { $0.vnet = .init(network) }
        }
    }

    func getVNet(
        request: Forge_Network_V1_GetVNetRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_GetVNetResponse {
        try await answering {
            let network = try await control.network(Bounds.reference(request.name, "network"))
            return .with { $0.vnet = .init(network) }
        }
    }

    func listVNets(
        request: Forge_Network_V1_ListVNetsRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_ListVNetsResponse {
        try await answering {
            let page = try await Page(
                control.networks(), size: request.pageSize, token: request.pageToken, key: \.id)
            return .with {
                $0.vnets = page.elements.map { .init($0) }
                $0.nextPageToken = page.nextToken
            }
        }
    }

    func setupBridge(
        request: Forge_Network_V1_SetupBridgeRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_SetupBridgeResponse {
        try await answering {
            .init(try await control.setUpBridge(network: Bounds.reference(request.vnet, "network")))
        }
    }

    // MARK: Endpoints

    func assignEndpoint(
        request: Forge_Network_V1_AssignEndpointRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_AssignEndpointResponse {
        try await answering {
            let member = try await control.assign(EndpointRequest(request))
            return .with { $0.endpoint = .init(member) }
        }
    }

    func releaseEndpoint(
        request: Forge_Network_V1_ReleaseEndpointRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_ReleaseEndpointResponse {
        try await answering {
            let released = try await control.release(
                containerID: Bounds.reference(request.containerID, "container id"),
                network: Bounds.optionalReference(request.vnet, "network"))
            return .with { $0.released = released.map { .init($0) } }
        }
    }

    func getEndpoint(
        request: Forge_Network_V1_GetEndpointRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_GetEndpointResponse {
        try await answering {
            let name = try Bounds.reference(request.name, "endpoint")
            let member = try await control.endpoint(name)
            let limits = try await control.limits(name)
            return .with {
                $0.endpoint = .init(member)
                if limits != EffectiveLimits() { $0.endpoint.limits = .init(limits) }
            }
        }
    }

    func listEndpoints(
        request: Forge_Network_V1_ListEndpointsRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_ListEndpointsResponse {
        try await answering {
            let all = try await control.endpoints(network: Bounds.optionalReference(request.vnet, "network"))
            let page = Page(all, size: request.pageSize, token: request.pageToken, key: \.endpoint.id)
            return .with {
                $0.endpoints = page.elements.map { .init($0) }
                $0.nextPageToken = page.nextToken
            }
        }
    }

    // MARK: Published ports

    func publishPorts(
        request: Forge_Network_V1_PublishPortsRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_PublishPortsResponse {
        try await answering {
            let ports = try PublishedPort.asked(request.ports)
            let member = try await control.publish(ports, to: Bounds.reference(request.name, "endpoint"))
            return .with { $0.endpoint = .init(member) }
        }
    }

    func unpublishPorts(
        request: Forge_Network_V1_UnpublishPortsRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_UnpublishPortsResponse {
        try await answering {
            let ports = try PublishedPort.asked(request.ports)
            let member = try await control.unpublish(ports, from: Bounds.reference(request.name, "endpoint"))
            return .with { $0.endpoint = .init(member) }
        }
    }

    // MARK: Labels and quarantine

    func relabelVNet(
        request: Forge_Network_V1_RelabelVNetRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_RelabelVNetResponse {
        try await answering {
            try Bounds.check("label", count: request.remove.count, atMost: LabelSyntax.limit)
            let network = try await control.relabel(
                network: Bounds.reference(request.name, "network"), set: request.set, remove: request.remove)
            return .with { $0.vnet = .init(network) }
        }
    }

    func relabelEndpoint(
        request: Forge_Network_V1_RelabelEndpointRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_RelabelEndpointResponse {
        try await answering {
            try Bounds.check("label", count: request.remove.count, atMost: LabelSyntax.limit)
            let member = try await control.relabel(
                endpoint: Bounds.reference(request.name, "endpoint"), set: request.set, remove: request.remove
            )
            return .with { $0.endpoint = .init(member) }
        }
    }

    func quarantineEndpoint(
        request: Forge_Network_V1_QuarantineEndpointRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_QuarantineEndpointResponse {
        try await answering {
            try Bounds.check("allow", count: request.allow.count, atMost: Quarantine.exceptionLimit)
            let member = try await control.quarantine(
                Bounds.reference(request.name, "endpoint"),
                for: request.milliseconds == 0
                    ? nil : .milliseconds(Int64(clamping: request.milliseconds)),
                allowing: request.allow.map { try QuarantineException($0) })
            return .with { $0.endpoint = .init(member) }
        }
    }

    func unquarantineEndpoint(
        request: Forge_Network_V1_UnquarantineEndpointRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_UnquarantineEndpointResponse {
        try await answering {
            let member = try await control.endQuarantine(Bounds.reference(request.name, "endpoint"))
            return .with { if let member { $0.endpoint = .init(member) } }
        }
    }

    // MARK: Policies

    func applyFirewall(
        request: Forge_Network_V1_ApplyFirewallRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_ApplyFirewallResponse {
        try await answering {
            try Bounds.check("policies", count: request.policies.count, atMost: Bounds.policies)
            var policies: [FirewallPolicy] = []
            for message in request.policies { policies.append(try FirewallPolicy(message)) }
            if !request.document.isEmpty {
                let file =
                    request.documentName.isEmpty
                    ? "policy" : String(request.documentName.prefix(Bounds.reference))
                policies += try PolicyDocument.parse(request.document, file: file)
            }
            guard !policies.isEmpty else {
                throw ModelError.invalid("policies", "", "there is none in the request")
            }
            let effect = request.dryRun ? try await control.preview(policies) : nil
            let changes = if let effect { effect.changes } else { try await control.apply(policies) }
            let warnings = request.dryRun ? [] : await control.warnings(policies)
            return .with {
                if let effect { $0.effect = .init(effect) }
                $0.warnings = warnings
                $0.applied = zip(policies, changes).map { policy, change in
                    .with {
                        $0.name = policy.name
                        $0.change = .init(change)
                    }
                }
            }
        }
    }

    func deletePolicy(
        request: Forge_Network_V1_DeletePolicyRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_DeletePolicyResponse {
        try await answering {
            let policy = try await control.deletePolicy(Bounds.reference(request.name, "policy"))
            return .with { $0.policy = .init(policy) }
        }
    }

    func getPolicy(
        request: Forge_Network_V1_GetPolicyRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_GetPolicyResponse {
        try await answering {
            let policy = try await control.policy(Bounds.reference(request.name, "policy"))
            return .with { $0.policy = .init(policy) }
        }
    }

    func listPolicies(
        request: Forge_Network_V1_ListPoliciesRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_ListPoliciesResponse {
        try await answering {
            let page = try await Page(
                control.policies(), size: request.pageSize, token: request.pageToken, key: \.name)
            return .with {
                $0.policies = page.elements.map { .init($0) }
                $0.nextPageToken = page.nextToken
            }
        }
    }

    func explain(
        request: Forge_Network_V1_ExplainRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_ExplainResponse {
        try await answering { .init(try await control.explain(FlowQuery(request))) }
    }

    // MARK: Sight

    func getStatistics(
        request: Forge_Network_V1_GetStatisticsRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_GetStatisticsResponse {
        try await answering {
            try Bounds.check("names", count: request.names.count, atMost: Bounds.names)
            for name in request.names { _ = try Bounds.reference(name, "endpoint") }
            let page = try await Page(
                control.statistics(request.names), size: request.pageSize, token: request.pageToken,
                key: \.member.endpoint.id)
            return .with {
                $0.statistics = page.elements.map { .init($0) }
                $0.nextPageToken = page.nextToken
            }
        }
    }

    func watchFlows(
        request: Forge_Network_V1_WatchFlowsRequest, response: RPCWriter<Forge_Network_V1_FlowEvent>,
        context: ServerContext
    ) async throws {
        try await answering {
            try await forward(control.watchFlows(FlowWatch(request)), to: response)
        }
    }

    func getStatus(
        request: Forge_Network_V1_GetStatusRequest, context: ServerContext
    ) async throws -> Forge_Network_V1_GetStatusResponse {
        try await answering { .init(try await control.status()) }
    }
}

extension Forge_Network_V1_AppliedPolicy.Change {
    fileprivate init(_ change: PolicyChange) {
        switch change {
        case .created: self = .created
        case .updated: self = .updated
        case .unchanged: self = .unchanged
        }
    }
}
