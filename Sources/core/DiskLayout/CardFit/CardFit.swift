/// Why an image does not fit a card.
package enum FitError: Error, Hashable, Sendable {
    /// The distance from boot to rootfs differs, so partition 3 would not start where the rootfs lands.
    case otherSpan(image: SectorCount, card: SectorCount)
    /// The boot partition is larger than the card's partition 2.
    case bootTooLarge(image: SectorCount, card: SectorCount)
    /// The rootfs is larger than the card's partition 3.
    case rootfsTooLarge(image: SectorCount, card: SectorCount)
}

extension FitError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .otherSpan(let image, let card):
            "image's rootfs starts \(image) behind its boot partition's start, the card's \(card); must be equal in parts: "
                + (image.isAligned
                    ? "flash it by plan, or make a card with rpiflash-gen recovery-image --from-image"
                    : "flash it by plan; no card can match it, as a card's partitions start at multiples of 4 MiB")
        case .bootTooLarge(let image, let card):
            """
            image's boot partition has \(image), the card's partition 2 has \(card); must be at most that: \
            make a card with rpiflash-gen recovery-image --from-image
            """
        case .rootfsTooLarge(let image, let card):
            "image's rootfs has \(image), the card's partition 3 has \(card); must be at most that: use a larger card"
        }
    }
}

extension CardLayout {
    /// Checks that the image can be laid down in parts: as one run from the start of partition 2, from the start of its
    /// boot partition on.
    ///
    /// - Throws: ``FitError``.
    package func checkFit(_ image: OSImageLayout) throws(FitError) {
        guard image.rootfsOffset == rootfsOffset else {
            throw .otherSpan(image: image.rootfsOffset, card: rootfsOffset)
        }
        guard image.rootfs.size <= rootfs.size else {
            throw .rootfsTooLarge(image: image.rootfs.size, card: rootfs.size)
        }
    }

    /// Checks that the image can be flashed by plan: each of its partitions fits the card's, wherever they start.
    ///
    /// - Throws: ``FitError``.
    package func checkPartitionsFit(_ image: OSImageLayout) throws(FitError) {
        guard image.boot.size <= boot.size else {
            throw .bootTooLarge(image: image.boot.size, card: boot.size)
        }
        guard image.rootfs.size <= rootfs.size else {
            throw .rootfsTooLarge(image: image.rootfs.size, card: rootfs.size)
        }
    }

    /// A card that fits `image`: the rootfs has the rest of the card, or just the image's rootfs where `cardSize` is nil.
    ///
    /// The boot partition has the image's span, from the start of its boot to the start of its rootfs, so that the card
    /// takes the image in parts too (``checkFit(_:)``). Where the span is not a multiple of 4 MiB, as no card can have it,
    /// it has the size of the image's boot partition, rounded up to 4 MiB: such a card takes the image by plan only.
    ///
    /// - Throws: ``LayoutError`` where the card is too small.
    package static func fitting(
        _ image: OSImageLayout, cardSize: ByteCount?, ubootSize: ByteCount, diskID: DiskID
    ) throws(LayoutError) -> CardLayout {
        let bootSize = (image.rootfsOffset.isAligned ? image.rootfsOffset : image.boot.size.roundedUp).byteCount
        let rootfsSize = image.rootfs.size.byteCount
        func layOut(_ size: ByteCount, _ rootfsSize: ByteCount?) throws(LayoutError) -> CardLayout {
            try CardLayout(
                cardSize: size, ubootSize: ubootSize, bootSize: bootSize, rootfsSize: rootfsSize, diskID: diskID)
        }
        guard let cardSize else {
            // The largest card first: the sum of the sizes is only formed where the parts are known to be sane.
            let widest = try layOut(SectorCount(UInt64(UInt32.max)).byteCount, rootfsSize)
            return try layOut(widest.rootfs.end.byteOffset, rootfsSize)
        }
        // To the end of the card, but for a rootfs that needs the last few sectors, which do not fill 4 MiB, too.
        if let card = try? layOut(cardSize, nil), card.rootfs.size >= image.rootfs.size { return card }
        return try layOut(cardSize, rootfsSize)
    }
}

extension SectorCount {
    /// Whether a card's partition behind one of this size starts where it may.
    fileprivate var isAligned: Bool { sectors % CardLayout.alignment.sectors == 0 }

    /// The next size at which that is so.
    fileprivate var roundedUp: SectorCount {
        let unit = CardLayout.alignment.sectors
        return SectorCount((sectors + unit - 1) / unit * unit)
    }
}
