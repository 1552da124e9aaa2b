import ConformanceSupport
import Foundation
import Model
import Testing
import Wire

/// Kubernetes' expectations of `NetworkPolicy` and `ClusterNetworkPolicy`, read from files as they are.
@Suite struct `Policy conformance` {
    @Test func `the cases are there`() {
        guard !ConformanceSuite.isPresent else { return }
        let message = "no cases in \(ConformanceSuite.folder.path)"
        if ProcessInfo.processInfo.environment["CI"] == "true" {
            Issue.record("\(message); in CI this is a failure")
        } else {
            FileHandle.standardError.write(Data("SKIPPED policy conformance: \(message)\n".utf8))
        }
    }

    @Test(
        .enabled(if: ConformanceSuite.isPresent, "needs ../shared/conformance"),
        arguments: ConformanceSuite.files, IPFamily.allCases)
    func `every case is judged as it should be`(_ file: String, _ family: IPFamily) throws {
        let suite = try ConformanceSuite(file)
        #expect(suite.cases.count > 50)
        for one in suite.cases {
            var world = try ConformanceWorld(suite, family)
            for step in one.steps {
                do {
                    let questions = try world.perform(step)
                    guard !questions.isEmpty else { continue }
                    let set = PolicySet(world.policies.values, members: world.members)
                    for question in questions {
                        let decision = set.evaluate(question.flow)
                        #expect(
                            decision.isAllowed == question.isAllowed,
                            "\(one.id) over \(family): \(question.text): \(decision)")
                    }
                } catch { Issue.record("\(one.id): \(error)") }
            }
        }
    }
}
