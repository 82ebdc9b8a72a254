public import ObjectStorage
import StoreCore

/// What gc asks of the catalog's own objects.
extension CatalogLog {
    /// The pages of every catalog number from `floor` on, sorted by key: what readers of these numbers need. A page
    /// that is not among them and whose number is not above `upTo` can never be named again.
    ///
    /// Reads each of these numbers (at most a few more than `CatalogEditor.catalogNumbersKept` under gc's own floors);
    /// one that is listed and cannot be read stops it.
    public func keptPages(from floor: UInt64) async throws -> (pages: [ObjectKey], upTo: UInt64) {
        var pages: Set<ObjectKey> = []
        let numbers = try await objects.numbers(from: floor)
        for number in numbers {
            guard let bytes = try await objects.read(number) else {
                throw objects.missing(number, StorageError(.notFound, "there is no object \(objects.key(number))"))
            }
            let object = try CatalogObject(opening: bytes, number: number, keys: keys)
            pages.formUnion(object.pages.filter { !$0.isEmpty }.map(\.key))
        }
        return (pages.sorted(), numbers.first ?? 0)
    }
}
