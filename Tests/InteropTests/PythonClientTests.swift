import Foundation
import LabSupport
import Namespaces
import Protos
import Sys
import Testing

/// The API as Python's grpcio sees it, against the real `forged`.
@Suite(.serialized, .enabled(if: Lab.isAvailable(), "needs a lab")) struct PythonClientTests {
    private static let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent()

    /// The interpreter that set-up makes.
    private static let python =
        ProcessInfo.processInfo.environment["FORGE_PYTHON"]
        ?? here.deletingLastPathComponent().deletingLastPathComponent()
        .appending(components: ".build", "venv", "bin", "python").path

    private static func hasPython(sourceLocation: SourceLocation = #_sourceLocation) -> Bool {
        if FileManager.default.isExecutableFile(atPath: python) { return true }
        Lab.missing(
            "there is no \(python) with grpcio: run scripts/setup --for test", sourceLocation: sourceLocation)
        return false
    }

    @Test(.enabled(if: hasPython()), arguments: FabricFixture.availableOwners)
    func `grpcio finds the services by reflection and uses them`(owner: FabricFixture.Owner) throws {
        let fabric = try FabricFixture(owner)
        try fabric.up()
        let descriptors = fabric.directory + "/descriptors"
        try #require(Data(base64Encoded: descriptorSetBase64)).write(to: URL(fileURLWithPath: descriptors))
        // As the lab's root, who may speak to anybody's fabric: the interpreter may be where only root can
        // look.
        let script = Self.here.appending(components: "Python", "client.py").path
        let result = try fabric.host.run(
            Self.python, script, fabric.paths.socket, descriptors, timeoutSeconds: 60)
        #expect(result.output == "ok\n", "\(result.errors)\n\(fabric.log)")
    }
}
