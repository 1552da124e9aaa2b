internal import ArgumentParser
internal import DNS
internal import Namespaces
internal import Sys
internal import Wire

struct DNSCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dns", abstract: "Names of the fabric.", subcommands: [Query.self, NameStats.self])

    /// `forge dns query`
    struct Query: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ask the fabric's resolver, as the host.",
            discussion: """
                The host may know every name. Of an endpoint NAME.NETWORK is enough. Exit code 1: there is no such \
                name, or nothing of that type.
                """)

        @Argument(help: "A name such as web.shop, or an address to ask whose it is.")
        var name: String

        @Option(help: "A, AAAA, CNAME, MX, NS, PTR, SOA, SRV or TXT; both kinds of addresses if not given.")
        var type: String?

        @OptionGroup var listing: ListingOptions

        func run() throws {
            let socket = FabricPaths().nameSocket
            for (name, isLast) in try candidates() {
                let answers = try types.map { try ask(socket, HostQuestion(name, $0)) }
                let entries = answers.flatMap(\.entries)
                if let failed = answers.first(where: { $0.code != .noError && $0.code != .nameError }) {
                    throw Failure(
                        failed.code == .serverFailure
                            ? "\(self.name): no name server outside the fabric answers"
                            : "\(self.name): the resolver answers with code \(failed.code.rawValue)")
                }
                if !entries.isEmpty {
                    show(entries)
                    return
                }
                guard isLast else { continue }
                Console.complain(
                    answers.contains { $0.code == .noError }
                        ? "\(self.name): has no such record" : "\(self.name): there is no such name")
                throw ExitCode(1)
            }
        }

        private var address: IPAddress? { try? IPAddress(name) }

        private var types: [RecordType] {
            get throws {
                guard let type else { return address == nil ? [.a, .aaaa] : [.ptr] }
                guard let known = RecordType(type) else {
                    throw Failure(
                        "type \"\(type)\": must be one of \(RecordType.known.joined(separator: ", "))")
                }
                return [known]
            }
        }

        /// What the name may be short for, and then the name itself.
        private func candidates() throws -> [(DomainName, isLast: Bool)] {
            if let address { return [(try reverse(address), true)] }
            guard let whole = DomainName(name) else {
                throw Failure("name \"\(name)\": must be a domain name, labels of 63 characters at most")
            }
            guard let local = DomainName(name + ".forge.internal"), !name.hasSuffix(".") else {
                return [(whole, true)]
            }
            return [(local, false), (whole, true)]
        }

        /// RFC 1035 section 3.5, RFC 3596 section 2.5.
        private func reverse(_ address: IPAddress) throws -> DomainName {
            let labels: [String]
            switch address.family {
            case .v4: labels = address.bytes.reversed().map { "\($0)" } + ["in-addr", "arpa"]
            case .v6:
                labels =
                    address.bytes.reversed().flatMap {
                        [String($0 & 15, radix: 16), String($0 >> 4, radix: 16)]
                    } + ["ip6", "arpa"]
            }
            guard let name = DomainName(labels.joined(separator: ".")) else {
                throw Failure("name \"\(name)\": cannot be asked for")
            }
            return name
        }

        private func ask(_ path: String, _ question: HostQuestion) throws -> HostAnswer {
            do throws(SystemError) {
                let socket = try UnixSocket.connect(to: path)
                try socket.write(question.frame)
                let deadline = Deadline(seconds: 10)
                var received: [UInt8] = []
                while received.count < 2 || received.count < 2 + Int(received[0]) << 8 + Int(received[1]) {
                    guard try waitReadable([socket.rawValue], milliseconds: deadline.milliseconds)[0] else {
                        throw SystemError("receive", .again, "answer of the resolver")
                    }
                    let part = try socket.read(upTo: 65_537)
                    guard !part.isEmpty else { throw SystemError("receive", .brokenPipe, "answer") }
                    received += part
                }
                do throws(DecodeError) { return try HostAnswer(Array(received.dropFirst(2))) } catch {
                    throw SystemError("receive", .invalid, "\(error)")
                }
            } catch {
                guard [.noEntry, .connectionRefused].contains(error.errno) else { throw Failure("\(error)") }
                throw Failure(
                    "no network of a running fabric has names; make one with: forge network create --dns")
            }
        }

        private func show(_ entries: [HostAnswer.Entry]) {
            if listing.quiet {
                for entry in entries { Console.line(entry.data) }
                return
            }
            switch listing.format {
            case .table:
                Console.show(
                    Table.render(
                        entries,
                        [
                            Column("NAME") { $0.name }, Column("TTL") { "\($0.ttl)" },
                            Column("TYPE") { $0.type }, Column("DATA") { $0.data },
                        ]))
            case .json:
                let objects = entries.map { entry in
                    "{"
                        + [
                            "\"name\": \(Self.quoted(entry.name))", "\"ttl\": \(entry.ttl)",
                            "\"type\": \(Self.quoted(entry.type))", "\"data\": \(Self.quoted(entry.data))",
                        ].joined(separator: ", ") + "}"
                }
                Console.line("[" + objects.joined(separator: ",\n ") + "]")
            }
        }

        /// A name or data in master file format: printable ASCII.
        private static func quoted(_ text: String) -> String {
            let escaped = text.reduce(into: "") { result, character in
                if character == "\"" || character == "\\" { result += "\\" }
                result.append(character)
            }
            return "\"\(escaped)\""
        }
    }
}
