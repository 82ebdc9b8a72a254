extension [UInt8] {
    /// Appends a copy of the bytes, at memcpy's speed.
    public mutating func append(copying bytes: RawSpan) {
        bytes.withUnsafeBytes { append(contentsOf: $0) }
    }
}
