/// What labels may look like: as in Kubernetes, so that they carry over.
public enum LabelSyntax {
    /// Labels of one network or endpoint.
    public static let limit = 64

    /// - Throws: `ModelError.invalid` naming `field` and the key or value that is refused.
    public static func check(_ labels: Labels, field: @autoclosure () -> String) throws(ModelError) {
        guard labels.count <= limit else {
            throw .invalid(field(), "\(labels.count)", "at most \(limit) labels")
        }
        // Mostly all are plain. If not, the same one is named each time.
        if labels.allSatisfy({ isLabelName($0.key) && ($0.value.isEmpty || isLabelName($0.value)) }) {
            return
        }
        for (key, value) in labels.sorted(by: { $0.key < $1.key }) {
            try checkKey(key, field: field())
            guard value.isEmpty || isLabelName(value) else {
                throw .invalid(
                    "\(field()).\(key)", value,
                    "must be empty, or 1 to 63 letters, digits, '-', '_' and '.' with neither end a sign"
                )
            }
        }
    }

    /// - Throws: `ModelError.invalid` naming `field` and the key or value that is refused.
    static func check(_ requirement: LabelRequirement, field: @autoclosure () -> String) throws(ModelError) {
        let takesValues = requirement.condition == .isIn || requirement.condition == .isNotIn
        guard takesValues != requirement.values.isEmpty else {
            throw .invalid(
                "\(field()).\(requirement.key)", requirement.condition.rawValue,
                takesValues ? "needs values" : "takes no values")
        }
        guard requirement.values.count <= PolicyLimits.labelValues else {
            throw .invalid(
                "\(field()).\(requirement.key)", "\(requirement.values.count)",
                "at most \(PolicyLimits.labelValues) values")
        }
        try check([requirement.key: ""], field: field())
        for value in requirement.values.sorted() { try check([requirement.key: value], field: field()) }
    }

    /// Labels after some were set and others removed.
    ///
    /// - Throws: `ModelError.invalid` naming the key or value that is refused.
    public static func changed(_ labels: Labels, set: Labels, remove: [String]) throws(ModelError) -> Labels {
        guard !set.isEmpty || !remove.isEmpty else { throw .invalid("label", "", "none is given") }
        var labels = labels
        for key in remove {
            guard set[key] == nil else { throw .invalid("label", key, "is set and removed at once") }
            try check([key: ""], field: "label")
            labels[key] = nil
        }
        labels.merge(set) { $1 }
        try check(labels, field: "label")
        return labels
    }

    /// Reads `key=value`.
    public static func parse(_ text: String, field: String = "label") throws(ModelError) -> (
        key: String, value: String
    ) {
        guard let equals = text.firstIndex(of: "=") else { throw .invalid(field, text, "expected key=value") }
        let key = String(text[..<equals])
        let value = String(text[text.index(after: equals)...])
        try check([key: value], field: field)
        return (key, value)
    }

    private static func checkKey(_ key: String, field: String) throws(ModelError) {
        let parts = key.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        let hasPrefix = parts.count == 2
        let prefixHolds =
            !hasPrefix
            || parts[0].utf8.count <= 253
                && parts[0].split(separator: ".", omittingEmptySubsequences: false).allSatisfy { part in
                    (try? Name.check(String(part), field: field)) != nil
                }
        guard prefixHolds, let name = parts.last, isLabelName(name) else {
            throw .invalid(
                field, key,
                "a label key is 1 to 63 letters, digits, '-', '_' and '.', after an optional DNS name and '/'"
            )
        }
    }

    private static func isLabelName(_ text: some StringProtocol) -> Bool {
        var count = 0
        var last: UInt8?
        for byte in text.utf8 {
            let isSign = byte == 45 || byte == 46 || byte == 95
            guard isAlphanumeric(byte) || isSign && count > 0 else { return false }
            count += 1
            last = byte
        }
        return (1...63).contains(count) && last.map(isAlphanumeric) ?? false
    }
}

/// A runtime's name for a container, such as 64 hexadecimal digits or `web_1.old`.
public enum ContainerID {
    /// - Throws: `ModelError.invalid` naming `field` and the value.
    public static func check(_ id: String, field: @autoclosure () -> String) throws(ModelError) {
        guard (1...128).contains(id.utf8.count), id.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw .invalid(field(), id, "must be 1 to 128 printable ASCII characters without spaces")
        }
    }
}

private func isAlphanumeric(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
}
