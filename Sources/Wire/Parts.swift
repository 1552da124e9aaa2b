extension Array {
    /// The elements in parts of so many at most, and whether each is the last. Nothing is one part, too.
    package func parts(of most: Int) -> [(part: [Element], isLast: Bool)] {
        guard count > most else { return [(self, true)] }
        return stride(from: 0, to: count, by: most).map { start in
            let end = Swift.min(start + most, count)
            return (Array(self[start..<end]), end == count)
        }
    }
}
