/// Who is served a volume of which writes that were answered may be gone, before an operator has accepted that.
///
/// Such a volume is as after any power cut: every flushed write is there. A client that starts anew recovers from that,
/// as journaling file systems and databases do. A client that lived on, with the volume mounted, does not: it believes
/// in writes that no longer exist.
public enum AfterCrash: String, Sendable, Codable, CaseIterable {
    /// Clients of this machine where it was started anew meanwhile: they ended with it. Nobody else.
    case local
    /// Nobody.
    case refuse
    /// Everybody, as an ordinary disk would after a power cut.
    case serve
}
