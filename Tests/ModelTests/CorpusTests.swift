import Foundation
import FuzzTargets
import Testing

/// Inputs that fuzzers found interesting, and those that once broke something.
struct CorpusTests {
    @Test(arguments: [FuzzTarget.policy])
    func `what fuzzers found is read or refused, and every promise is kept`(_ target: FuzzTarget) throws {
        let folder = URL(fileURLWithPath: #filePath).appendingPathComponent(
            "../../../Fuzz/Corpus/\(target.rawValue)")
        let files = try FileManager.default.contentsOfDirectory(
            at: folder.standardized, includingPropertiesForKeys: nil)
        #expect(files.count >= 20)
        for file in files {
            let violation = target.violation([UInt8](try Data(contentsOf: file)))
            #expect(violation == nil, "\(file.lastPathComponent)")
        }
    }
}
