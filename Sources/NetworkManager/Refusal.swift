internal import Firewall
internal import Model

extension FirewallError {
    /// The error as the caller's where it is about what was asked for: it would take more elements of the
    /// kernel's sets than there should be.
    func refusing(_ field: String, _ value: String) -> any Error {
        code == .tooLarge ? ModelError.exhausted(field, value, context) : self
    }
}
