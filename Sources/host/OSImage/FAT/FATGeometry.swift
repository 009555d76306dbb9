import DiskLayout

/// Where things are in a FAT filesystem, in sectors of 512 bytes. Source: Microsoft's FAT specification, 1.03 (fatgen103);
/// Linux, fs/fat/inode.c, where the two differ.
struct FATGeometry: FilesystemRecords {
    let kind: Filesystem
    /// Sectors before the first FAT.
    let reserved: UInt64
    /// Copies of the FAT, 1 or 2.
    let fats: UInt64
    /// Sectors of one FAT.
    let fatSectors: UInt64
    /// Sectors before cluster 2.
    let dataStart: UInt64
    let sectorsPerCluster: UInt64
    /// Clusters, numbered from 2.
    let clusters: UInt64
    /// All sectors of the filesystem.
    let total: UInt64
    /// The FAT's first byte must say so too.
    let media: UInt8
    /// Sectors of the top folder, right before cluster 2; 0 with FAT32, where it is a chain of clusters.
    let rootSectors: UInt64
    /// FAT32: the top folder's first cluster.
    let rootCluster: UInt32
    /// FAT32: where the number of free clusters stands; nil where there is none.
    let infoSector: UInt64?
    /// FAT32: the number of the only FAT that counts, where they are not mirrored; nil where all are the same.
    let activeFAT: UInt64?

    /// Bytes of a cluster.
    var clusterBytes: UInt64 { sectorsPerCluster * 512 }
    /// Bits of an entry.
    var entryBits: UInt64 { kind == .fat32 ? 32 : kind == .fat16 ? 16 : 12 }
    /// The first number that ends a chain, and the one before it: a bad cluster.
    var endOfChain: UInt32 { kind == .fat32 ? 0x0fff_fff8 : kind == .fat16 ? 0xfff8 : 0xff8 }
    /// Where a cluster starts, in bytes from the filesystem's start.
    func offset(of cluster: UInt32) -> UInt64 { (dataStart + (UInt64(cluster) - 2) * sectorsPerCluster) * 512 }
    /// Whether a number is that of a cluster.
    func holds(_ cluster: UInt32) -> Bool { cluster >= 2 && UInt64(cluster) < clusters + 2 }

    /// Looks at the first sector. Numbers that are not possible make it no FAT: any other content may stand there.
    static func probe(_ boot: [UInt8], sectors partition: UInt64) -> Probe<FATGeometry> {
        guard boot.count >= 512, boot[510] == 0x55, boot[511] == 0xaa,
            boot[0] == 0xe9 || (boot[0] == 0xeb && boot[2] == 0x90)
        else { return .absent }
        let bytesPerSector = boot.u16(11)
        guard [512, 1024, 2048, 4096].contains(bytesPerSector) else { return .absent }
        let scale = bytesPerSector / 512
        let (perCluster, reserved, fats, rootEntries) = (UInt64(boot[13]), boot.u16(14), UInt64(boot[16]), boot.u16(17))
        let media = boot[21]
        guard perCluster > 0, perCluster & (perCluster - 1) == 0, reserved > 0, fats > 0, media == 0xf0 || media >= 0xf8
        else { return .absent }
        let total = boot.u16(19) != 0 ? boot.u16(19) : boot.u32(32)
        let isFAT32 = boot.u16(22) == 0
        let fatSectors = isFAT32 ? boot.u32(36) : boot.u16(22)
        guard total > 0, fatSectors > 0 else { return .absent }
        // From here on it is meant to be a FAT. No product below exceeds 2^45.
        let guess: Filesystem = isFAT32 ? .fat32 : .fat16
        guard fats <= 2 else { return .doubtful(guess, "FAT filesystem has \(fats) FATs; must have 1 or 2") }
        guard total * scale <= partition else {
            return .doubtful(
                guess,
                "FAT filesystem has \(total * bytesPerSector) bytes, its partition \(partition * 512) bytes; must fit it"
            )
        }
        let rootSectors = (rootEntries * 32 + bytesPerSector - 1) / bytesPerSector
        let dataStart = reserved + fats * fatSectors + rootSectors
        guard dataStart < total else {
            return .doubtful(guess, "FAT filesystem's data starts at its sector \(dataStart) of \(total); is damaged")
        }
        let inData = (total - dataStart) / perCluster
        let kind: Filesystem = isFAT32 ? .fat32 : inData <= 4084 ? .fat12 : .fat16
        let bits: UInt64 = kind == .fat32 ? 32 : kind == .fat16 ? 16 : 12
        // As Linux: clusters without an entry cannot be used.
        let entries = fatSectors * bytesPerSector * 8 / bits
        guard entries > 2, inData > 0 else { return .doubtful(kind, "FAT filesystem has no clusters; is damaged") }
        let clusters = min(inData, entries - 2)
        guard clusters <= (kind == .fat32 ? 0x0fff_fff5 : kind == .fat16 ? 65524 : 4084) else {
            return .doubtful(kind, "FAT filesystem has \(clusters) clusters, more than its kind can have; is damaged")
        }
        if isFAT32, boot.u16(42) != 0 {
            return .doubtful(kind, "FAT32 filesystem has version \(boot.u16(42)); must have 0")
        }
        let info = isFAT32 ? boot.u16(48) : 0
        let flags = isFAT32 ? boot.u16(40) : 0
        return .found(
            FATGeometry(
                kind: kind, reserved: reserved * scale, fats: fats, fatSectors: fatSectors * scale,
                dataStart: dataStart * scale, sectorsPerCluster: perCluster * scale, clusters: clusters,
                total: total * scale, media: media, rootSectors: isFAT32 ? 0 : rootSectors * scale,
                rootCluster: isFAT32 ? UInt32(boot.u32(44) & 0x0fff_ffff) : 0,
                infoSector: info > 0 && info < reserved ? info * scale : nil,
                activeFAT: flags & 0x80 != 0 && fats > 1 ? flags & 0xf : nil))
    }

    /// The volume's serial number as /etc/fstab has it; nil where there is none.
    func volumeID(_ boot: [UInt8]) -> String? {
        let at = kind == .fat32 ? 66 : 38
        guard boot[at] == 0x28 || boot[at] == 0x29 else { return nil }
        let digits = String(boot.u32(at + 1), radix: 16, uppercase: true)
        let padded = String(repeating: "0", count: 8 - digits.utf8.count) + digits
        return "\(padded.prefix(4))-\(padded.suffix(4))"
    }

    /// Whether it was not unmounted. Source: Linux, fs/fat/inode.c, `fat_set_state`.
    func isDirty(_ boot: [UInt8]) -> Bool { boot[kind == .fat32 ? 65 : 37] & 1 != 0 }

    /// Adds what is in use: all before cluster 2, and each cluster that any FAT has an entry for that is not 'bad'.
    func collect(from area: PartitionArea, into collector: inout ExtentCollector) throws(UsageError) -> String? {
        let step: UInt64 = 96 << 10  // whole entries of 12, 16 and 32 bits
        let needed = kind == .fat12 ? ((clusters + 2) * 3 + 1) / 2 : (clusters + 2) * (kind == .fat16 ? 2 : 4)
        collector.add(0, dataStart)
        var (done, cluster) = (UInt64(0), UInt64(0))
        while done < needed {
            let count = min(step, needed - done)
            var copies: [[UInt8]] = []
            for number in 0..<fats {
                do {
                    copies.append(try area.bytes(at: (reserved + number * fatSectors) * 512 + done, count: count))
                } catch {
                    throw .image(error)
                }
            }
            // Entry 0 repeats the media byte: what does not start so is not a FAT.
            guard done > 0 || copies.allSatisfy({ $0[0] == media }) else {
                throw .doubtful("FAT starts with another byte than the filesystem's media byte \(media); is damaged")
            }
            let entries = min(clusters + 2 - cluster, count * 8 / (kind == .fat32 ? 32 : kind == .fat16 ? 16 : 12))
            add(copies, first: cluster, entries: Int(entries), to: &collector)
            cluster += entries
            done += count
        }
        do {
            return try noteOnTail(total * 512, of: area)
        } catch {
            throw .image(error)
        }
    }

    /// Adds the clusters of one stretch of the FAT, `first` being the number of its first entry.
    private func add(_ copies: [[UInt8]], first: UInt64, entries: Int, to collector: inout ExtentCollector) {
        var runStart: UInt64?
        func close(at cluster: UInt64) {
            guard let start = runStart else { return }
            collector.add(dataStart + (start - 2) * sectorsPerCluster, (cluster - start) * sectorsPerCluster)
            runStart = nil
        }
        let (one, other) = (copies[0], copies[copies.count - 1])
        // Most of a FAT is empty.
        let isEmpty = copies.allSatisfy { copy in
            unsafe copy.withUnsafeBytes { unsafe isZero($0) }
        }
        if isEmpty { return }
        for index in 0..<entries {
            let cluster = first + UInt64(index)
            if cluster >= 2, isUsed(one, index) || isUsed(other, index) {
                runStart = runStart ?? cluster
            } else {
                close(at: cluster)
            }
        }
        close(at: first + UInt64(entries))
    }

    private func isUsed(_ fat: [UInt8], _ index: Int) -> Bool {
        switch kind {
        case .fat12:
            let pair = fat.u16(index + index / 2)
            let entry = index % 2 == 0 ? pair & 0xfff : pair >> 4
            return entry != 0 && entry != 0xff7
        case .fat16:
            let entry = fat.u16(index * 2)
            return entry != 0 && entry != 0xfff7
        default:
            let entry = fat.u32(index * 4) & 0x0fff_ffff
            return entry != 0 && entry != 0x0fff_fff7
        }
    }
}
