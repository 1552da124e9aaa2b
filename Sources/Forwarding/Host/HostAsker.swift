internal import CLinux
internal import Sys

/// A connection of an endpoint at a gate, until it is known what host it asks for and whether it may have it.
final class HostAsker {
    let port: Publication
    let slot: Int
    let generation: UInt32
    /// The endpoint, and where it began the connection to.
    let client: Place
    let destination: Place
    /// In milliseconds of the forwarder's clock.
    let until: Int64
    private(set) var bytes: [UInt8] = []
    /// In how many pieces they came. Each is looked at from the first byte on: who sends them one by one is refused.
    private(set) var pieces = 0
    static let mostPieces = 256
    /// What it asks for, and the manager is asked.
    var request: HostRequest?
    var question: HostClaim?

    private var socket: Descriptor?

    init(
        _ port: Publication, slot: Int, generation: UInt32, socket: consuming Descriptor, client: Place,
        destination: Place, until: Int64
    ) {
        self.port = port
        self.slot = slot
        self.generation = generation
        self.client = client
        self.destination = destination
        self.until = until
        self.socket = consume socket
    }

    var number: Int32 { socket?.rawValue ?? -1 }
    var token: UInt64 { Token(.asker, slot: slot, generation: generation).number }

    func takeSocket() -> Descriptor? { socket.take() }

    /// Reads what is there, up to what a reader may need.
    /// - Returns: false at the end of the connection.
    func read() -> Bool {
        do throws(SystemError) {
            while bytes.count < HostReader.limit {
                let part = try socket?.read(upTo: min(HostReader.limit - bytes.count, 4096)) ?? []
                if part.isEmpty { return false }
                bytes += part
                pieces += 1
            }
        } catch { return error.errno == .again }
        return true
    }

    /// Says why nothing comes of it, in the words of its protocol.
    func refuse(_ refusal: HostRefusal) {
        let answer: [UInt8]
        switch bytes.first ?? 0 {
        // Alert, fatal, access_denied (RFC 8446 section 6.2).
        case ClientHello.recordType: answer = [21, 3, 3, 0, 2, 2, 49]
        case UInt8(ascii: "A")...UInt8(ascii: "Z"):
            let text = "forge: \(refusal.text)\n"
            answer = Array(
                """
                HTTP/1.1 403 Forbidden\r
                Content-Type: text/plain\r
                Content-Length: \(text.utf8.count)\r
                Connection: close\r
                \r
                \(text)
                """.utf8)
        default: answer = []
        }
        _ = unsafe answer.withUnsafeBytes { unsafe CLinux.write(number, $0.baseAddress, $0.count) }
    }
}

extension HostRefusal {
    /// For people.
    package var text: String {
        switch self {
        case .otherProtocol: "neither TLS nor HTTP/1, so that the host cannot be verified"
        case .malformed: "a request that names its host in no way that is certain"
        case .noHost: "the request names no host"
        case .encrypted: "the host is encrypted (ECH), so that it cannot be verified"
        case .tooLong: "the request names no host in time"
        case .notAllowed: "policy does not allow this host"
        case .undecided: "policy could not be asked for this host"
        }
    }
}
