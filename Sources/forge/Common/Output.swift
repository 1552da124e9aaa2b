internal import ArgumentParser
internal import FoundationEssentials
internal import SwiftProtobuf

enum Format: String, ExpressibleByArgument, CaseIterable {
    case table
    case json
}

/// How a listing is shown.
struct ListingOptions: ParsableArguments {
    @Option(help: "table or json; the fields of json are the API's.")
    var format = Format.table

    @Flag(name: .shortAndLong, help: "Only ids or names, one a line.")
    var quiet = false

    /// Shows rows in the way that was asked for.
    func show<Row: Message>(_ rows: [Row], _ columns: [Column<Row>], quietly name: (Row) -> String) throws {
        if quiet {
            for row in rows { Console.line(name(row)) }
        } else if format == .json {
            Console.line(try JSON.array(rows))
        } else {
            Console.show(Table.render(rows, columns))
        }
    }
}

/// One column of a table.
struct Column<Row> {
    let title: String
    let value: (Row) -> String

    init(_ title: String, _ value: @escaping (Row) -> String) {
        self.title = title
        self.value = value
    }
}

enum Table {
    /// Columns as wide as their widest value, three spaces apart.
    static func render<Row>(_ rows: [Row], _ columns: [Column<Row>]) -> String {
        let cells = [columns.map(\.title)] + rows.map { row in columns.map { $0.value(row) } }
        let widths = columns.indices.map { column in cells.map { $0[column].count }.max() ?? 0 }
        var text = ""
        for row in cells {
            var line = ""
            for (column, cell) in row.enumerated() {
                line += cell
                if column < row.count - 1 {
                    line += String(repeating: " ", count: widths[column] - cell.count + 3)
                }
            }
            while line.last == " " { line.removeLast() }
            text += line + "\n"
        }
        return text
    }
}

enum JSON {
    private static var options: JSONEncodingOptions {
        var options = JSONEncodingOptions()
        options.alwaysPrintInt64sAsNumbers = true
        options.useDeterministicOrdering = true
        return options
    }

    /// Indented, for people and for programs.
    static func object(_ message: some Message) throws -> String {
        indented(try message.jsonString(options: options))
    }

    /// On one line.
    static func compact(_ message: some Message) throws -> String { try message.jsonString(options: options) }

    static func array(_ messages: [some Message]) throws -> String { indented(try compactArray(messages)) }

    /// On one line.
    static func compactArray(_ messages: [some Message]) throws -> String {
        "[" + (try messages.map { try $0.jsonString(options: options) }).joined(separator: ",") + "]"
    }

    /// Breaks JSON into lines, two spaces deeper with each bracket.
    static func indented(_ json: String) -> String {
        var text: [UInt8] = []
        var depth = 0
        var inString = false
        var escaped = false
        var opened = false
        func breakLine() {
            text.append(UInt8(ascii: "\n"))
            text += Array(repeating: UInt8(ascii: " "), count: 2 * depth)
        }
        for byte in json.utf8 {
            if inString {
                text.append(byte)
                if escaped {
                    escaped = false
                } else if byte == UInt8(ascii: "\\") {
                    escaped = true
                } else if byte == UInt8(ascii: "\"") {
                    inString = false
                }
                continue
            }
            let closing = byte == UInt8(ascii: "}") || byte == UInt8(ascii: "]")
            if closing { depth -= 1 }
            // An empty pair stays together.
            if closing != opened { if closing || opened { breakLine() } }
            opened = false
            text.append(byte)
            switch byte {
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                opened = true
            case UInt8(ascii: ","): breakLine()
            case UInt8(ascii: ":"): text.append(UInt8(ascii: " "))
            case UInt8(ascii: "\""): inString = true
            default: break
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}

/// The first digits of an id, as docker shows them.
func short(_ id: String) -> String { String(id.prefix(12)) }

/// `a=1,b=2`, in order.
func text(_ labels: [String: String]) -> String {
    labels.sorted { $0.key < $1.key }.map { $0.value.isEmpty ? $0.key : "\($0.key)=\($0.value)" }.joined(
        separator: ",")
}
