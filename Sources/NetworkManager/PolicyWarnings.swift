internal import Firewall
public import Model

extension NetworkManager {
    /// More tell nobody anything.
    private static let warningLimit = 20

    /// What these policies, which have been applied, speak of that is not there: selectors that match no
    /// endpoint now and names of ports that no endpoint declares. One line each.
    public func warnings(_ policies: [FirewallPolicy]) -> [String] {
        firewall.compiler.warnings(policies, atMost: Self.warningLimit)
    }
}
