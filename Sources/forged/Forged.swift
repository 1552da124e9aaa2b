internal import CLinux
internal import Namespaces
internal import Sys

/// Picks the role.
enum Forged {
    static func main(_ arguments: [String]) -> Int32 {
        cl_ignore_broken_pipes()
        // Whatever file is made from here on is the owner's alone.
        umask(0o077)
        do throws(SystemError) { try Descriptor.requireRoom(for: 16) } catch {
            complain("\(error)")
            return ExitCode.failure
        }
        do {
            switch try Options.parse(arguments) {
            case .help:
                print(Options.usage)
                return 0
            case .version:
                print("forged \(FabricVersion.text)")
                return 0
            case .anchor(let options): return Anchor.run(options)
            case .host(let options): return ManagerRole.runOnHost(options)
            case .proxy(let hasLifeline): return ProxyRole.run(hasLifeline: hasLifeline)
            case .manager(let options): return ManagerRole.runUnderAnchor(options)
            }
        } catch {
            complain("\(error)")
            return ExitCode.usage
        }
    }
}

/// sysexits.h, as far as it is used.
enum ExitCode {
    static let failure: Int32 = 1
    static let usage: Int32 = 64
}

/// One line for a person, on standard error.
func complain(_ text: String) {
    let line = Array("forged: \(text.split(separator: "\n").joined(separator: "; "))\n".utf8)
    // Where standard error is gone there is nobody to tell.
    _ = unsafe line.withUnsafeBytes { unsafe write(2, $0.baseAddress, $0.count) }
}

/// A reason not to go on, in one line.
struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
