import StoreCore

/// What the simulation writes: every sector of 512 bytes tells which write it came from and where it belongs, so that
/// a sector that is read says all about itself.
public enum Sector {
    public static let byteCount = 512
    /// Never written, or zeroed.
    public static let zero: UInt64 = 0
    /// Read, but nothing that was ever written there.
    public static let garbage = UInt64.max

    /// Fills sectors from `first` on with a write's tag, which is neither `zero` nor `garbage`.
    static func fill(_ buffer: IOBuffer, tag: UInt64, first: Int) {
        buffer.withMutableBytes { bytes in
            let words = bytes.bindMemory(to: UInt64.self)
            for sector in 0..<bytes.count / byteCount {
                for index in 0..<64 { words[sector * 64 + index] = word(tag, first + sector, index) }
            }
        }
    }
    /// The tags of what was read from sector `first` on.
    static func tags(_ buffer: IOBuffer, first: Int) -> [UInt64] {
        buffer.withBytes { bytes in
            let words = bytes.bindMemory(to: UInt64.self)
            return (0..<bytes.count / byteCount).map { sector in
                let tag = words[sector * 64]
                var isWhole = true
                for index in 0..<64 {
                    let expected = tag == zero ? 0 : word(tag, first + sector, index)
                    isWhole = isWhole && words[sector * 64 + index] == expected
                }
                return isWhole ? tag : garbage
            }
        }
    }
    /// Half of the tags give what compresses well.
    private static func word(_ tag: UInt64, _ sector: Int, _ index: Int) -> UInt64 {
        if index == 0 { return tag }
        if index == 1 { return UInt64(sector) }
        return tag & 1 == 0 ? tag : (tag &+ UInt64(index)) &* 0x9e37_79b9_7f4a_7c15
    }
}
