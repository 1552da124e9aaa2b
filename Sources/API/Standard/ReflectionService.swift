internal import FoundationEssentials
internal import GRPCCore
internal import GRPCProtobuf
internal import Protos
internal import SwiftProtobuf

/// The standard service `grpc.reflection.v1.ServerReflection`.
struct ReflectionService: Grpc_Reflection_V1_ServerReflection.SimpleServiceProtocol {
    /// Full names.
    let services: [String]

    func serverReflectionInfo(
        request: RPCAsyncSequence<Grpc_Reflection_V1_ServerReflectionRequest, any Error>,
        response: RPCWriter<Grpc_Reflection_V1_ServerReflectionResponse>, context: ServerContext
    ) async throws {
        for try await question in request { try await response.write(answer(question)) }
    }

    func answer(
        _ question: Grpc_Reflection_V1_ServerReflectionRequest
    ) -> Grpc_Reflection_V1_ServerReflectionResponse {
        var response = Grpc_Reflection_V1_ServerReflectionResponse()
        response.validHost = question.host
        response.originalRequest = question
        func send(_ files: [[UInt8]]?, _ what: String) {
            guard let files else { return refuse(.notFound, "no such \(what)") }
            response.fileDescriptorResponse = .with { $0.fileDescriptorProto = files.map { .init($0) } }
        }
        func refuse(_ code: RPCError.Code, _ message: String) {
            response.errorResponse = .with {
                $0.errorCode = Int32(code.rawValue)
                $0.errorMessage = message
            }
        }
        switch question.messageRequest {
        case .fileByFilename(let name): send(DescriptorIndex.shared.files(named: name), "file")
        case .fileContainingSymbol(let name): send(DescriptorIndex.shared.files(declaring: name), "symbol")
        // Our protos are proto3, which has no extensions.
        case .fileContainingExtension: refuse(.notFound, "no such extension")
        case .allExtensionNumbersOfType(let name):
            guard DescriptorIndex.shared.files(declaring: name) != nil else {
                refuse(.notFound, "no such type")
                break
            }
            response.allExtensionNumbersResponse = .with { $0.baseTypeName = name }
        case .listServices:
            response.listServicesResponse = .with {
                $0.service = services.map { name in .with { $0.name = name } }
            }
        case nil: refuse(.invalidArgument, "the request asks for nothing")
        }
        return response
    }
}

/// Reflection under its older name, which many clients still ask first. Its messages are those of v1.
struct ReflectionAlphaService: RegistrableRPCService {
    static let descriptor = ServiceDescriptor(
        fullyQualifiedService: "grpc.reflection.v1alpha.ServerReflection")

    let service: ReflectionService

    func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
        router.registerHandler(
            forMethod: MethodDescriptor(
                service: Self.descriptor, method: "ServerReflectionInfo", type: .bidirectionalStreaming),
            deserializer: ProtobufDeserializer<Grpc_Reflection_V1_ServerReflectionRequest>(),
            serializer: ProtobufSerializer<Grpc_Reflection_V1_ServerReflectionResponse>(),
            handler: { request, context in
                try await service.serverReflectionInfo(request: request, context: context)
            })
    }
}
