import Glibc

// Hash seeds come from the kernel before the first line of this program: it starts itself again without them.
if getenv("SWIFT_DETERMINISTIC_HASHING") == nil {
    setenv("SWIFT_DETERMINISTIC_HASHING", "1", 1)
    execv("/proc/self/exe", CommandLine.unsafeArgv)
    perror("cannot start again")
    exit(1)
}
do {
    let code = try Arguments(CommandLine.arguments.dropFirst()).run()
    fflush(nil)
    exit(code)
} catch {
    print("\(error)")
    fflush(nil)
    exit(2)
}
