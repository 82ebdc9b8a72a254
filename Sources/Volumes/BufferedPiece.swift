import BlockMap
import StoreCore

/// What a write buffer holds for a range of blocks.
enum BufferedPiece: IntervalValue, Equatable {
    case zero
    /// Consecutive slots of the buffer, one a block.
    case slots(first: Int)

    func advanced(by blocks: UInt64) -> BufferedPiece {
        switch self {
        case .zero: .zero
        case .slots(let first): .slots(first: first + Int(blocks))
        }
    }
}
