import Codec
import ObjectStorage
import StoreCore

extension CatalogVersion {
    /// A page's payload before compression; a larger one is split in two.
    static let pageBytesMax = 64 << 10

    /// The same version with its tail in pages: only the pages that the tail touches are made anew, for this number.
    /// - Parameter all: the others too.
    func folded(with keys: KeyRing, all: Bool = false) throws(StorageError) -> (
        version: CatalogVersion, made: [SealedPage]
    ) {
        var version = self
        version.pages = []
        version.tail = []
        var made: [SealedPage] = []
        let hashes = tail.map(\.hash)
        for page in pages.isEmpty ? [.empty(.all)] : pages {
            guard all || hashes.contains(where: page.region.contains) else {
                version.pages.append(page)
                continue
            }
            for part in try parts(of: page.region, with: keys) {
                switch part {
                case .empty(let region): version.pages.append(.empty(region))
                case .page(let page):
                    version.pages.append(page.reference)
                    made.append(page)
                }
            }
        }
        return (version, made)
    }

    private enum Part {
        case empty(PageRegion)
        case page(SealedPage)
    }

    private func parts(of region: PageRegion, with keys: KeyRing) throws(StorageError) -> [Part] {
        let rows = state.rows(in: region)
        guard !rows.isEmpty else { return [.empty(region)] }
        let payload = CatalogPage.encoded(rows, region: region, number: number)
        guard payload.count > Self.pageBytesMax, rows.count > 1, region.depth < PageRegion.depthMax else {
            return [.page(try CatalogPage.seal(payload, region: region, number: number, keys: keys))]
        }
        var parts: [Part] = []
        for half in region.halves { parts += try self.parts(of: half, with: keys) }
        return parts
    }
}
