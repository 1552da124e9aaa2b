import Namespaces
import Sys
import Testing

@Suite struct SubordinateIDTests {
    @Test func `finds a user's ranges by name and by number`() {
        let text = """
            root:1000:10
            anna:100000:65536
            1001:300000:1000
            annabel:400000:65536
            """
        #expect(
            SubordinateIDs.parse(text, name: "anna", uid: 1001)
                == [IDRange(start: 100000, count: 65536), IDRange(start: 300000, count: 1000)])
        #expect(SubordinateIDs.parse(text, name: nil, uid: 7).isEmpty)
    }

    @Test(arguments: [
        "anna", "anna:1", "anna:x:5", "anna:5:x", "anna:5:0", "anna:0:5", "anna:-1:5", "anna:4294967295:2",
        "anna:1:2:3",
        ":1:2", "anna:99999999999:1", "# anna:1:2",
    ])
    func `passes over lines that make no sense`(line: String) {
        #expect(SubordinateIDs.parse(line, name: "anna", uid: 1001).isEmpty)
        #expect(
            SubordinateIDs.parse(line + "\nanna:9:9\n", name: "anna", uid: 1001) == [
                IDRange(start: 9, count: 9)
            ])
    }

    @Test func `takes no more ranges than newuidmap is given`() {
        let many = (1...100).map { "anna:\($0 * 1000):5" }.joined(separator: "\n")
        #expect(SubordinateIDs.parse(many, name: "anna", uid: 1).count == 16)
    }

    @Test func `needs both users and groups`() {
        let range = [IDRange(start: 1, count: 1)]
        #expect(SubordinateIDs(uids: range, gids: range).isUsable)
        #expect(!SubordinateIDs(uids: range, gids: []).isUsable)
        #expect(!SubordinateIDs.none.isUsable)
    }

    @Test func `maps the own id to root and the ranges behind it, without gaps`() {
        #expect(
            IDMaps.arguments(
                "newuidmap", pid: 42, own: 1000,
                [IDRange(start: 100000, count: 65536), IDRange(start: 300000, count: 10)])
                == ["newuidmap", "42", "0", "1000", "1", "1", "100000", "65536", "65537", "300000", "10"])
        // Ids inside have 32 bits as well.
        let all = IDRange(start: 1, count: .max - 1)
        #expect(IDMaps.arguments("newuidmap", pid: 1, own: 1, [all, all]).count == 8)
    }
}

@Suite struct UserNamespaceAdviceTests {
    private func advice(_ errno: Errno, _ settings: [String: String]) -> String? {
        UserNamespaceAdvice.sentence(for: errno) { settings[$0] }
    }

    @Test func `names the setting that forbids user namespaces`() {
        #expect(
            advice(.noSpace, ["user/max_user_namespaces": "0\n"])?.contains("user.max_user_namespaces is 0")
                == true)
        #expect(
            advice(.noSpace, ["user/max_net_namespaces": "0"])?.contains("user.max_net_namespaces is 0")
                == true)
        #expect(
            advice(.notPermitted, ["kernel/unprivileged_userns_clone": "0"])?
                .contains("kernel.unprivileged_userns_clone is 0") == true)
        #expect(
            advice(.access, ["kernel/apparmor_restrict_unprivileged_userns": "1"])?
                .contains("kernel.apparmor_restrict_unprivileged_userns to 0") == true)
    }

    @Test func `says what it can where no setting explains the refusal`() {
        #expect(advice(.notPermitted, [:])?.contains("not allowed here") == true)
        #expect(advice(.noSpace, ["user/max_user_namespaces": "100"])?.contains("too many") == true)
        #expect(advice(.noMemory, [:]) == nil)
    }
}

@Suite struct RestartPolicyTests {
    @Test func `answers the first early ends at once, then waits longer and longer, but not for ever`() {
        var policy = RestartPolicy()
        let delays = (0..<12).map { _ in policy.ended(after: .milliseconds(10)) }
        #expect(delays.prefix(3).allSatisfy { $0 == .zero })
        #expect(delays[3] == .milliseconds(100))
        #expect(delays[4] == .milliseconds(200))
        #expect(delays.last == .seconds(5))
        #expect(zip(delays, delays.dropFirst()).allSatisfy { $0 <= $1 })
    }

    @Test func `forgets early ends once a role has worked`() {
        var policy = RestartPolicy()
        for _ in 0..<10 { _ = policy.ended(after: .zero) }
        #expect(policy.ended(after: .seconds(1)) == .zero)
        #expect(policy.ended(after: .zero) == .zero)
    }

    @Test func `knows which ids a map has`() {
        let map = "         0       1000          1\n     65534     300000          2\n"
        #expect([0, 65534, 65535].allSatisfy { IDMaps.maps(map, $0) })
        #expect([1, 1000, 65533, 65536, .max].allSatisfy { !IDMaps.maps(map, $0) })
        #expect(IDMaps.maps("0 0 4294967295\n", 4_294_967_294))
        #expect(!IDMaps.maps("", 0))
    }
}
