internal import Protos
internal import SwiftProtobuf

/// The descriptors of every proto that is served, by file and by symbol.
struct DescriptorIndex: Sendable {
    private struct File {
        let bytes: [UInt8]
        let imports: [String]
    }

    private var files: [String: File] = [:]
    private var fileOfSymbol: [String: String] = [:]

    /// Of the protos that this module is generated from. Made when reflection is first asked.
    static let shared = DescriptorIndex(serialized: decodeBase64(descriptorSetBase64))

    /// - Parameter serialized: a `google.protobuf.FileDescriptorSet`; one that is damaged is an empty one.
    init(serialized: [UInt8]) {
        guard let set = try? Google_Protobuf_FileDescriptorSet(serializedBytes: serialized) else { return }
        for file in set.file {
            guard let bytes: [UInt8] = try? file.serializedBytes() else { continue }
            files[file.name] = File(bytes: bytes, imports: file.dependency)
            add(file)
        }
    }

    /// The file and all that it imports, itself first; nil where there is no such file.
    func files(named name: String) -> [[UInt8]]? {
        guard files[name] != nil else { return nil }
        var found: [[UInt8]] = []
        var seen: Set<String> = []
        var waiting = [name]
        while let next = waiting.popLast() {
            guard seen.insert(next).inserted, let file = files[next] else { continue }
            found.append(file.bytes)
            waiting += file.imports
        }
        return found
    }

    /// The file that declares a service, method, message, field or enum, and all that it imports.
    func files(declaring symbol: String) -> [[UInt8]]? { fileOfSymbol[symbol].flatMap { files(named: $0) } }

    private mutating func add(_ file: Google_Protobuf_FileDescriptorProto) {
        let scope = file.package.isEmpty ? "" : file.package + "."
        for service in file.service {
            fileOfSymbol[scope + service.name] = file.name
            for method in service.method {
                fileOfSymbol["\(scope)\(service.name).\(method.name)"] = file.name
            }
        }
        for message in file.messageType { add(message, scope, file.name) }
        for item in file.enumType { fileOfSymbol[scope + item.name] = file.name }
    }

    private mutating func add(_ message: Google_Protobuf_DescriptorProto, _ scope: String, _ file: String) {
        let name = scope + message.name
        fileOfSymbol[name] = file
        for field in message.field { fileOfSymbol["\(name).\(field.name)"] = file }
        for item in message.enumType { fileOfSymbol["\(name).\(item.name)"] = file }
        for nested in message.nestedType { add(nested, name + ".", file) }
    }
}

/// The bytes that base64 text stands for (RFC 4648 section 4); reading ends at the padding or at a foreign
/// character.
private func decodeBase64(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.utf8.count / 4 * 3)
    var bits: UInt32 = 0
    var count = 0
    for character in text.utf8 {
        let value: UInt8
        switch character {
        case 65...90: value = character - 65
        case 97...122: value = character - 71
        case 48...57: value = character + 4
        case 43: value = 62
        case 47: value = 63
        default: return bytes
        }
        bits = bits << 6 | UInt32(value)
        count += 6
        if count >= 8 {
            count -= 8
            bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
        }
    }
    return bytes
}
