import StoreCore

/// What verification found.
public struct VerifyReport: Codable, Hashable, Sendable {
    public struct ByteSpan: Codable, Hashable, Sendable {
        public var firstByte: UInt64
        public var byteCount: UInt64
        public init(firstByte: UInt64, byteCount: UInt64) {
            self.firstByte = firstByte
            self.byteCount = byteCount
        }
    }
    /// A volume or snapshot that refers to a damaged object.
    public struct Affected: Codable, Hashable, Sendable {
        /// `pg-prod` or `pg-prod@monday`.
        public var name: String
        /// What of it cannot be read, ascending; empty where nothing of it is, or where that cannot be told.
        public var ranges: [ByteSpan] = []
        /// Further ranges that the list has no room for.
        public var moreRanges: UInt64 = 0
        public init(name: String) { self.name = name }
    }
    public struct Damage: Codable, Hashable, Sendable {
        /// The object's key.
        public var object: String
        public var problem: String
        public var affected: [Affected] = []
        public var moreAffected: UInt64 = 0
        public init(object: String, problem: String) {
            self.object = object
            self.problem = problem
        }
    }

    public var deep: Bool
    public var objectsChecked: UInt64 = 0
    public var bytesChecked: UInt64 = 0
    public var damaged: [Damage] = []
    /// Further damaged objects that the list has no room for.
    public var moreDamaged: UInt64 = 0
    public var durationSeconds: Double = 0

    public init(deep: Bool) { self.deep = deep }
    public var isSound: Bool { damaged.isEmpty }
}

/// Damage as it is found; one entry for each object.
struct DamageLog: Sendable {
    private static let objectsMax = 10_000
    private static let affectedMax = 100
    private static let rangesMax = 100

    private(set) var damaged: [VerifyReport.Damage] = []
    private(set) var more: UInt64 = 0
    /// Something was missing: it may have been deleted rightly, while its place was looked up in an old version.
    private(set) var isMissingSomething = false
    private var numbers: [String: Int] = [:]

    mutating func noteMissing() { isMissingSomething = true }
    mutating func note(_ object: String, _ problem: String, affecting names: [String] = [], missing: Bool = false) {
        if missing { noteMissing() }
        guard let number = number(of: object, problem) else { return }
        for name in names { _ = affected(name, of: number) }
    }
    /// - Parameter bytes: of the volume or snapshot that cannot be read.
    mutating func note(_ object: String, _ problem: String, affecting name: String, _ bytes: VerifyReport.ByteSpan) {
        guard let number = number(of: object, problem), let index = affected(name, of: number) else { return }
        damaged[number].affected[index].add(bytes, max: Self.rangesMax)
    }

    private mutating func number(of object: String, _ problem: String) -> Int? {
        if let known = numbers[object] { return known }
        guard damaged.count < Self.objectsMax else {
            more += 1
            return nil
        }
        numbers[object] = damaged.count
        damaged.append(VerifyReport.Damage(object: object, problem: problem))
        return damaged.count - 1
    }
    private mutating func affected(_ name: String, of number: Int) -> Int? {
        if let known = damaged[number].affected.firstIndex(where: { $0.name == name }) { return known }
        guard damaged[number].affected.count < Self.affectedMax else {
            damaged[number].moreAffected += 1
            return nil
        }
        damaged[number].affected.append(VerifyReport.Affected(name: name))
        return damaged[number].affected.count - 1
    }
}

extension VerifyReport.Affected {
    /// Ranges come in ascending order; neighbours become one.
    fileprivate mutating func add(_ bytes: VerifyReport.ByteSpan, max: Int) {
        if let last = ranges.last, last.firstByte + last.byteCount == bytes.firstByte {
            ranges[ranges.count - 1].byteCount += bytes.byteCount
        } else if ranges.count < max {
            ranges.append(bytes)
        } else {
            moreRanges += 1
        }
    }
}

extension Error {
    /// Says that an object is not what it should be, or is not there: to be reported, and the rest goes on.
    var isDamage: Bool { [.corrupt, .notFound, .unsupported, .denied, .invalid].contains(storageCode) }
    /// It is there no more, rather than there and damaged.
    var isOfSomethingMissing: Bool {
        storageCode == .notFound || (self as? StorageError)?.cause?.storageCode == .notFound
    }
}
