internal import Foundation

/// What the boot script does with the text files of a boot partition: one table, for both readers. Tests/BootCases/cases.json.
public struct BootCase: Decodable, Sendable, CustomStringConvertible {
    /// What the case is about; no two are the same.
    public let name: String
    /// U-Boot's `fdtfile`; empty where the machine has none.
    public let board: String
    /// Contents by path; a character is a byte.
    public let files: [String: Text]
    /// What is started.
    public let expected: Expected

    /// What is started, or why nothing is.
    public struct Expected: Decodable, Sendable {
        /// Why nothing is started; nil where a kernel is.
        public let state: String?
        /// The kernel's path as the boot script writes it.
        public let kernel: String?
        /// The initramfs's path, or none.
        public let initramfs: String?
        /// The device tree's path, which only the boot script chooses; nil where it does not matter.
        public let deviceTree: String?
        /// With `{root}` for what stands behind `root=`.
        public let bootargs: Text?
    }

    /// A text, or pieces of it: texts, and lists of a text and how often it stands there.
    public struct Text: Decodable, Sendable {
        /// All pieces in one.
        public let text: String

        /// - Throws: `DecodingError`.
        public init(from decoder: any Decoder) throws {
            let value = try decoder.singleValueContainer()
            if let text = try? value.decode(String.self) {
                self.text = text
            } else {
                text = try value.decode([Piece].self).map(\.text).joined()
            }
        }

        private struct Piece: Decodable {
            let text: String

            init(from decoder: any Decoder) throws {
                if let text = try? decoder.singleValueContainer().decode(String.self) {
                    self.text = text
                } else {
                    var list = try decoder.unkeyedContainer()
                    text = String(repeating: try list.decode(String.self), count: try list.decode(Int.self))
                }
            }
        }

        /// A byte for each character, U+0000 to U+00FF.
        public var bytes: [UInt8] { text.unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) } }
    }

    /// The name.
    public var description: String { name }

    /// All of the table.
    public static func all() throws -> [BootCase] {
        let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "BootCases/cases.json")
        return try JSONDecoder().decode([BootCase].self, from: Data(contentsOf: file))
    }
}
