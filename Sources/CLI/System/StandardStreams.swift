import Glibc
import StoreCore

/// Standard input and output as a client's stream. Whatever else the process writes to its standard output afterwards
/// goes to standard error: nothing but NBD may reach the client.
struct StandardStreams: Sendable {
    let input: Int32
    let output: Int32

    /// Once for the process. Throws `invalid` where nobody could be at the other end.
    static func take() throws(StorageError) -> StandardStreams {
        guard isatty(STDIN_FILENO) == 0, isatty(STDOUT_FILENO) == 0 else {
            throw StorageError(
                .invalid, "--stdio speaks NBD on standard input and output, not to a terminal: let a client start it")
        }
        // At 3 and above, so that a closed standard stream is not mistaken for the client's.
        let input = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
        let output = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
        guard input >= 0, output >= 0 else { throw systemError("use standard input and output for --stdio") }
        let nothing = open("/dev/null", O_RDONLY | O_CLOEXEC)
        guard nothing >= 0 else { throw systemError("open /dev/null") }
        defer { close(nothing) }
        guard dup2(nothing, STDIN_FILENO) >= 0, dup2(STDERR_FILENO, STDOUT_FILENO) >= 0 else {
            throw systemError("keep logs away from the client of --stdio")
        }
        return StandardStreams(input: input, output: output)
    }
}
