import ConformanceSupport
import Firewall
import LabSupport
import Testing
import Wire

/// Kubernetes' expectations of `NetworkPolicy` and `ClusterNetworkPolicy`, as packets through the kernel.
@Suite(.enabled(if: Lab.isAvailable())) struct ConformancePacketTests {
    @Test func `the conformance cases for packets are there`() {
        guard !ConformanceSuite.isPresent else { return }
        Lab.missing("no policy conformance cases beside the package, in ../shared/conformance")
    }

    @Test(
        .enabled(if: ConformanceSuite.isPresent, "needs ../shared/conformance"),
        arguments: ConformanceSuite.files, IPFamily.allCases)
    func `packets pass exactly where every conformance case expects it`(
        _ file: String, _ family: IPFamily
    ) throws {
        let suite = try ConformanceSuite(file)
        let field = try ConformanceField()
        var judged = (allowed: 0, denied: 0)
        for one in suite.cases {
            var world = try ConformanceWorld(suite, family)
            try field.follow(world)
            for step in one.steps {
                let questions = try world.perform(step)
                try field.follow(world)
                guard !questions.isEmpty else { continue }
                let passed = try field.probe(questions)
                for (index, question) in questions.enumerated() {
                    let outcome = field.judge(question.flow)
                    if passed.contains(index) != question.isAllowed || outcome.isDenial == question.isAllowed
                    {
                        Issue.record(
                            """
                            \(one.id) over \(family): \(question.text): allowed is \(question.isAllowed), \
                            passed is \(passed.contains(index)), the compiler says \(outcome)
                            """)
                    }
                    if question.isAllowed { judged.allowed += 1 } else { judged.denied += 1 }
                }
            }
        }
        #expect(try field.isAsItShouldBe(), "the kernel holds what it should")
        #expect(judged.allowed > 50)
        #expect(judged.denied > 50)
    }
}
