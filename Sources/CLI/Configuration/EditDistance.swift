enum EditDistance {
    /// Nobody means a setting by a longer name.
    private static let charactersMax = 100

    /// Levenshtein's: insertions, deletions and replacements of a character.
    static func between(_ a: String, _ b: String) -> Int {
        let (a, b) = (Array(a), Array(b))
        var row = Array(0...b.count)
        for i in a.indices {
            var diagonal = row[0]
            row[0] = i + 1
            for j in b.indices {
                let above = row[j + 1]
                row[j + 1] = min(above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1))
                diagonal = above
            }
        }
        return row[b.count]
    }
    /// nil where nothing is near enough to be meant.
    static func nearest(to text: String, among known: [String]) -> String? {
        guard text.count <= charactersMax else { return nil }
        let best = known.map { ($0, between(text, $0)) }.min { $0.1 < $1.1 }
        guard let best, best.1 <= max(2, text.count / 3) else { return nil }
        return best.0
    }
}
