package import Foundation
import Yams

/// The cases of `../shared/conformance`, beside the package.
package struct ConformanceSuite: Sendable {
    package let name: String
    package let cases: [ConformanceCase]
    /// Namespaces, nodes and pods that each case begins with.
    let namespaces: [JSONValue]
    let nodes: [JSONValue]
    let pods: [JSONValue]
    /// An IPv4 address for each pod, by `namespace/name`; empty where any will do.
    let addresses: [String: String]

    package static let folder = URL(fileURLWithPath: #filePath)
        .appendingPathComponent("../../../../../shared/conformance").standardized

    package static var isPresent: Bool { FileManager.default.fileExists(atPath: folder.path) }

    package static let files = ["netpol-cases.json", "tiers-cases.json", "cnp-cases.json"]

    package init(_ file: String) throws {
        let data = try Data(contentsOf: ConformanceSuite.folder.appendingPathComponent(file))
        let root = try JSONDecoder().decode(JSONValue.self, from: data)
        name = file
        namespaces = root["namespaces"].items
        nodes = root["nodes"].items
        pods = root["pods"].items
        addresses = root["reference_ips"].texts
        cases = try root["cases"].items.map { try ConformanceCase($0) }
    }
}

/// One case: what is done, and what is asked in between.
package struct ConformanceCase: Sendable, CustomStringConvertible {
    package let id: String
    package let steps: [Step]

    package var description: String { id }

    package enum Step: Sendable {
        /// Creates or replaces an object.
        case apply(JSONValue)
        case patch(kind: String, name: String, JSONValue)
        case delete(kind: String, namespace: String?, name: String)
        case relabel(kind: String, namespace: String?, name: String, [String: String])
        /// The whole matrix: what gets through, as entries that cover it, and how many cells there are.
        case matrix(allowed: [String], count: Int, total: Int)
        case probe(from: String, to: String, transport: String, port: Int, isAllowed: Bool)
    }

    init(_ value: JSONValue) throws {
        id = value["id"].text ?? ""
        var steps = try value["manifests"].items.flatMap { file in
            try ConformanceCase.manifest(file.text ?? "").map { Step.apply($0) }
        }
        for step in value["steps"].items { steps.append(ConformanceCase.step(step)) }
        let mutations = value["mutations"].items
        for (index, probe) in value["probes"].items.enumerated() {
            for mutation in mutations where mutation["before_probe"].number == index {
                steps.append(ConformanceCase.mutation(mutation))
            }
            steps.append(
                .probe(
                    from: probe["from"].text ?? "", to: probe["to"].text ?? "",
                    transport: probe["proto"].text ?? "", port: probe["port"].number ?? 0,
                    isAllowed: probe["expect"].text == "allow"))
        }
        self.steps = steps
    }

    private static func step(_ value: JSONValue) -> Step {
        let (kind, namespace) = (value["kind"].text ?? "", value["namespace"].text)
        let name = value["name"].text ?? ""
        switch value["action"].text {
        case "apply": return .apply(value["object"])
        case "delete": return .delete(kind: kind, namespace: namespace, name: name)
        case "relabel": return .relabel(kind: kind, namespace: namespace, name: name, value["labels"].texts)
        default:
            let probe = value["probe"]
            return .matrix(
                allowed: probe["allowed"].items.compactMap(\.text),
                count: probe["allowed_count"].number ?? -1,
                total: probe["total"].number ?? -1)
        }
    }

    private static func mutation(_ value: JSONValue) -> Step {
        let (kind, name) = (value["kind"].text ?? "", value["name"].text ?? "")
        return value["op"].text == "delete"
            ? .delete(kind: kind, namespace: value["namespace"].text, name: name)
            : .patch(kind: kind, name: name, value["patch"])
    }

    /// The objects of a YAML file.
    private static func manifest(_ file: String) throws -> [JSONValue] {
        let path = ConformanceSuite.folder.appendingPathComponent("manifests").appendingPathComponent(file)
        let text = try String(contentsOf: path, encoding: .utf8)
        return try text.components(separatedBy: "\n---\n").map {
            try YAMLDecoder().decode(JSONValue.self, from: $0)
        }
    }
}
