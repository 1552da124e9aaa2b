internal import Model

/// One page of a listing in order of key; the token is the last key of the page before.
struct Page<Element> {
    let elements: [Element]
    /// Empty when there is no more.
    let nextToken: String

    static var defaultSize: Int { 1_000 }
    static var largestSize: Int { 5_000 }

    /// - Parameter key: unique and stable, so that what comes or goes between two calls moves nothing else.
    init(_ all: [Element], size: UInt32, token: String, key: (Element) -> String) {
        let limit = size == 0 ? Self.defaultSize : min(Int(size), Self.largestSize)
        let rest = all.map { (key: key($0), element: $0) }.filter { token.isEmpty || $0.key > token }
            .sorted { $0.key < $1.key }
        elements = rest.prefix(limit).map(\.element)
        nextToken = rest.count > limit ? rest[limit - 1].key : ""
    }
}
