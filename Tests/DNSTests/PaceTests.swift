import Testing

@testable import DNS

struct PaceTests {
    private func rests(_ reads: [(count: Int, at: UInt64)]) -> [Bool] {
        var pace = Pace()
        return reads.map { read in
            pace.read(read.count, at: read.at)
            return pace.takeRest()
        }
    }

    @Test func `there is a rest while the millisecond before was busy, and no batch is there already`() {
        let many = Pace.busy
        #expect(rests([(many, 7), (1, 8), (1, 8), (1, 9)]) == [false, true, true, false])
        #expect(rests([(many - 1, 7), (1, 8)]) == [false, false])
        #expect(rests([(many, 7), (1, 9)]) == [false, false])
        #expect(rests([(many, 7), (FairPass.few, 8), (2, 8), (2, 9)]) == [false, false, true, true])
    }

    @Test func `a rest is taken once`() {
        var pace = Pace()
        pace.read(Pace.busy, at: 1)
        pace.read(1, at: 2)
        let taken = [pace.takeRest(), pace.takeRest()]
        #expect(taken == [true, false])
    }
}
