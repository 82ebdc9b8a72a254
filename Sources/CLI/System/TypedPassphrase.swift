import Codec
import Glibc
import StoreCore

/// A passphrase from the terminal, which does not show it.
enum TypedPassphrase {
    static func ask() throws(StorageError) -> Unlock {
        guard isatty(STDIN_FILENO) == 1 else {
            throw StorageError(.invalid, "give --new-passphrase-file or --new-key-file: there is no terminal to ask on")
        }
        let first = try line("new passphrase: ")
        let second = try line("once more: ")
        guard first.isSame(as: second) else { throw StorageError(.invalid, "the two differ: nothing was changed") }
        return first
    }

    /// Neither echo nor signals while it is typed, so that the terminal is always set back: control-C comes as a byte.
    private static func line(_ prompt: String) throws(StorageError) -> Unlock {
        var shown = termios()
        guard tcgetattr(STDIN_FILENO, &shown) == 0 else { throw systemError("ask on the terminal") }
        var hidden = shown
        hidden.c_lflag &= ~tcflag_t(ECHO | ISIG)
        guard tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden) == 0 else { throw systemError("ask on the terminal") }
        defer {
            tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown)
            Terminal.writeError("\n")
        }
        Terminal.writeError("zerofs: \(prompt)")
        var typed: [UInt8] = []
        typed.reserveCapacity(4096)
        defer { SecretMemory.wipe(&typed) }
        var byte: UInt8 = 0
        while read(STDIN_FILENO, &byte, 1) == 1, byte != UInt8(ascii: "\n") {
            guard byte != 3 else { throw StorageError(.cancelled, "stopped: nothing was changed") }
            guard typed.count < 4096 else { throw StorageError(.invalid, "the passphrase is too long") }
            typed.append(byte)
        }
        guard !typed.isEmpty else { throw StorageError(.invalid, "the passphrase is empty: nothing was changed") }
        return .passphrase(typed)
    }
}
