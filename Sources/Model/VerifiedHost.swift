/// Where the hosts that connections ask for are verified.
public enum VerifiedHost {
    /// The proxy's port on the gateway of a network with names. Outside the usual ranges of ports that systems
    /// choose by themselves.
    public static let port: UInt16 = 61_443
}
