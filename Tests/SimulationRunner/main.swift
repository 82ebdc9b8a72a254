import CrashEnumeration
import Glibc

// Hash seeds come from the kernel before the first line of this program: it starts itself again without them.
if getenv("SWIFT_DETERMINISTIC_HASHING") == nil {
    setenv("SWIFT_DETERMINISTIC_HASHING", "1", 1)
    execv("/proc/self/exe", CommandLine.unsafeArgv)
    perror("cannot start again")
    exit(1)
}
do {
    let words = CommandLine.arguments.dropFirst()
    let code: Int32
    if words.first == "--enumerate" {
        code = try EnumerationCommand(Array(words.dropFirst())).run() ? 0 : 1
    } else {
        code = try Arguments(words).run()
    }
    fflush(nil)
    exit(code)
} catch {
    print("\(error)")
    fflush(nil)
    exit(2)
}
