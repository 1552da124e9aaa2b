import Foundation
import FuzzTargets
import Testing

/// Inputs that fuzzers found interesting, and those that once broke something.
struct CorpusTests {
    @Test func `what fuzzers found is answered or refused, and every promise is kept`() throws {
        let folder = URL(fileURLWithPath: #filePath).appendingPathComponent(
            "../../../Fuzz/Corpus/\(FuzzTarget.calls.rawValue)")
        let files = try FileManager.default.contentsOfDirectory(
            at: folder.standardized, includingPropertiesForKeys: nil)
        #expect(files.count >= 5)
        for file in files {
            let violation = FuzzTarget.calls.violation([UInt8](try Data(contentsOf: file)))
            #expect(violation == nil, "\(file.lastPathComponent)")
        }
    }
}
