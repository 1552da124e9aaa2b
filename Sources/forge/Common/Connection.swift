internal import API
internal import ArgumentParser
internal import Sys

/// The fabric of the user who calls.
enum Connection {
    /// Does the work with a client of the user's fabric.
    /// - Parameter starting: starts the fabric if it is not up; without it that is an error.
    static func with<Result: Sendable>(
        starting: Bool = false, _ work: (ForgeClient) async throws -> Result
    ) async throws -> Result {
        let paths = FabricPaths()
        do {
            if starting { try FabricLauncher.ensureRunning(paths) }
            try checkUp(paths)
            // The process ends with the command, and the connection with it.
            return try await work(try ForgeClient(socketPath: paths.socket))
        } catch let error as ExitCode {
            // What went wrong has been told already.
            throw error
        } catch {
            throw Failure(error)
        }
    }

    /// - Throws: `Failure` if nobody answers, rather than ask again and again as a client does.
    static func checkUp(_ paths: FabricPaths) throws {
        do throws(SystemError) {
            try paths.checkRuntimeDirectory()
            // Found out here, since a client would go on asking for a while.
            _ = try UnixSocket.connect(to: paths.socket)
        } catch {
            guard error.errno == .noEntry || error.errno == .connectionRefused else { throw error }
            throw Failure("no fabric is up (nobody answers at \(paths.socket)); start one with: forge up")
        }
    }
}
