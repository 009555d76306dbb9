package import Configuration

/// The sizes that a card is made from: `recovery_image/card.yaml`.
///
/// Keys, all optional: `card_size` (default 7800 MB), `disk_id` (0x52504946), `uboot_size` (64 MiB), `boot_size` (512 MiB),
/// `rootfs_size` (`rest`: to the end of the card).
package struct CardConfiguration: Sendable {
    /// The whole card.
    package let cardSize: ByteCount
    /// The card's signature.
    package let diskID: DiskID
    /// Partition 1.
    package let ubootSize: ByteCount
    /// Partition 2.
    package let bootSize: ByteCount
    /// Partition 3; nil: to the end of the card.
    package let rootfsSize: ByteCount?

    private let source: ConfigurationFile
    private static let keys = ["card_size", "disk_id", "uboot_size", "boot_size", "rootfs_size"]

    /// Reads a configuration; that the sizes go together is checked when the card is laid out.
    ///
    /// - Parameters:
    ///   - yaml: the file's text.
    ///   - file: its name, for messages.
    /// - Throws: ``ConfigurationError``.
    package init(yaml: String, file: String) throws(ConfigurationError) {
        let source = try ConfigurationFile(yaml: yaml, name: file, keys: Self.keys)
        func size(_ key: String, as name: String) throws(ConfigurationError) -> ByteCount? {
            guard let text = try source.scalar(key) else { return nil }
            do {
                return try ByteCount(parsing: text, as: name)
            } catch {
                throw source.error(key, "\(error)")
            }
        }
        cardSize = try size("card_size", as: "card size") ?? CardLayout.smallestCommonCard
        ubootSize = try size("uboot_size", as: "u-boot size") ?? .mebibytes(64)
        bootSize = try size("boot_size", as: "boot size") ?? .mebibytes(512)
        rootfsSize = try source.scalar("rootfs_size") == "rest" ? nil : size("rootfs_size", as: "rootfs size")
        if let text = try source.scalar("disk_id") {
            guard let id = DiskID(parsing: text) else {
                throw source.error("disk_id", "disk id is '\(text)'; must be 0x and eight hexadecimal digits, not 0")
            }
            diskID = id
        } else {
            diskID = CardLayout.defaultDiskID
        }
        self.source = source
    }

    /// Lays the card out.
    ///
    /// - Parameter cardSize: the whole card, in place of the file's.
    /// - Throws: ``ConfigurationError`` at the size that is wrong; without a place where `cardSize` is.
    package func layout(cardSize: ByteCount? = nil) throws(ConfigurationError) -> CardLayout {
        do {
            return try CardLayout(
                cardSize: cardSize ?? self.cardSize, ubootSize: ubootSize, bootSize: bootSize, rootfsSize: rootfsSize,
                diskID: diskID)
        } catch {
            let isGiven = error.key == "card_size" && cardSize != nil
            throw ConfigurationError(
                file: isGiven ? nil : source.name, position: isGiven ? nil : source.position(of: error.key),
                reason: "\(error)")
        }
    }

    /// Lays out a card that fits `image`: its boot size comes from the image, and its rootfs reaches to the end of
    /// the card, or is just the image's where neither `cardSize` nor the file leaves room for it. See
    /// ``CardLayout/fitting(_:cardSize:ubootSize:diskID:)`` for images that such a card takes by plan only.
    ///
    /// - Parameters:
    ///   - image: the OS image that the card must take.
    ///   - cardSize: the whole card; nil: the file's, or as large as the image needs where that is larger.
    /// - Throws: ``ConfigurationError``.
    package func layout(fitting image: OSImageLayout, cardSize: ByteCount? = nil) throws(ConfigurationError)
        -> CardLayout
    {
        do {
            let least = try CardLayout.fitting(image, cardSize: nil, ubootSize: ubootSize, diskID: diskID)
            let card = cardSize ?? max(self.cardSize, least.cardSize.byteCount)
            return try CardLayout.fitting(image, cardSize: card, ubootSize: ubootSize, diskID: diskID)
        } catch {
            let isOurs = error.key == "uboot_size"
            throw ConfigurationError(
                file: isOurs ? source.name : nil, position: isOurs ? source.position(of: error.key) : nil,
                reason: "\(error)")
        }
    }
}

extension DiskID {
    /// A signature as card.yaml gives it: 0x and eight hexadecimal digits, not 0; nil for any other text.
    package init?(parsing text: String) {
        let digits = text.dropFirst(2)
        guard text.hasPrefix("0x"), digits.count == 8, digits.allSatisfy(\.isHexDigit), digits.allSatisfy(\.isASCII),
            let value = UInt32(digits, radix: 16)
        else { return nil }
        self.init(value)
    }
}

extension LayoutError {
    /// The key of card.yaml that the error is about.
    fileprivate var key: String {
        switch self {
        case .notWholeSectors(let what, _), .empty(let what), .misaligned(let what, _):
            switch what {
            case "u-boot size": "uboot_size"
            case "boot size": "boot_size"
            case "rootfs size": "rootfs_size"
            default: "card_size"
            }
        case .cardTooSmall, .cardTooLarge: "card_size"
        }
    }
}
