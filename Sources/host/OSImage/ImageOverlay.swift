import Glibc
import Synchronization

/// What is changed of an image while its file stays as it is (law 4): blocks in memory that lie over the file.
package final class ImageOverlay: Sendable {
    /// Bytes of a block.
    static let blockSize: UInt64 = 4096
    /// Blocks at most: 64 MiB. A few text files and their file system's records take far less than 1 MiB.
    static let mostBlocks = 16384

    fileprivate struct State {
        var blocks: [UInt64: [UInt8]] = [:]
        /// Their numbers, in order.
        var numbers: [UInt64] = []

        /// Where the first block with this number or a later one is in the list.
        func index(of number: UInt64) -> Int {
            var (low, high) = (0, numbers.count)
            while low < high {
                let middle = (low + high) / 2
                if numbers[middle] < number { low = middle + 1 } else { high = middle }
            }
            return low
        }
    }
    private let state = Mutex(State())

    /// Nothing is changed.
    package init() {}

    /// Whether nothing is changed.
    package var isEmpty: Bool { state.withLock { $0.blocks.isEmpty } }

    /// The changes at one moment. It shares its blocks with the overlay, so it costs next to nothing.
    package struct Mark: Sendable {
        fileprivate let state: State
    }

    /// The changes as they are now, for ``restore(_:)``.
    package func mark() -> Mark { state.withLock { Mark(state: $0) } }

    /// Takes back everything that was changed since a mark was set.
    package func restore(_ mark: Mark) { state.withLock { $0 = mark.state } }

    /// Whether something was changed since a mark was set; a block that was written with what it held counts as changed
    /// only where it holds something else now.
    package func differs(from mark: Mark) -> Bool {
        state.withLock { state in
            state.numbers != mark.state.numbers || state.numbers.contains { state.blocks[$0] != mark.state.blocks[$0] }
        }
    }

    /// Takes all changes out: their offsets in the image, in order, and what is there.
    package func takeBlocks() -> [(offset: UInt64, bytes: [UInt8])] {
        state.withLock { state in
            defer { state = State() }
            return state.numbers.compactMap { number in
                state.blocks[number].map { (number * Self.blockSize, $0) }
            }
        }
    }

    /// The first changed block in a range of bytes, cut to it.
    func block(from start: UInt64, to end: UInt64) -> Range<UInt64>? {
        guard start < end else { return nil }
        return state.withLock { state in
            let index = state.index(of: start / Self.blockSize)
            guard index < state.numbers.count else { return nil }
            let number = state.numbers[index]
            let (first, next) = (max(start, number * Self.blockSize), min(end, (number + 1) * Self.blockSize))
            return first < next ? first..<next : nil
        }
    }

    /// Lays the changes over what was read from the file.
    func apply(to buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) {
        guard unsafe !buffer.isEmpty else { return }
        let end = offset + UInt64(buffer.count)
        state.withLock { state in
            var index = state.index(of: offset / Self.blockSize)
            while index < state.numbers.count, state.numbers[index] * Self.blockSize < end {
                let start = state.numbers[index] * Self.blockSize
                if let block = state.blocks[state.numbers[index]] {
                    let (from, to) = (max(start, offset), min(start + Self.blockSize, end))
                    unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[Int(from - offset)..<Int(to - offset)])
                        .copyBytes(from: block[Int(from - start)..<Int(to - start)])
                }
                index += 1
            }
        }
    }

    /// Changes bytes.
    ///
    /// - Parameters:
    ///   - bytes: what shall be there.
    ///   - offset: from the image's start.
    ///   - read: gives what is there now, changes included, of a block that is changed in part only.
    /// - Returns: false where there would be too many changes; nothing is changed then.
    func write(
        _ bytes: UnsafeRawBufferPointer, at offset: UInt64,
        read: (_ offset: UInt64) throws(OSImageError) -> [UInt8]
    ) throws(OSImageError) -> Bool {
        guard unsafe !bytes.isEmpty else { return true }
        let end = offset + UInt64(bytes.count)
        var changed: [UInt64: [UInt8]] = [:]
        for number in offset / Self.blockSize...(end - 1) / Self.blockSize {
            let start = number * Self.blockSize
            let (from, to) = (max(start, offset), min(start + Self.blockSize, end))
            let part = unsafe UnsafeRawBufferPointer(rebasing: bytes[Int(from - offset)..<Int(to - offset)])
            if UInt64(part.count) == Self.blockSize {
                changed[number] = unsafe Array(part)
            } else {
                var block = try read(start)
                unsafe block.replaceSubrange(Int(from - start)..<Int(to - start), with: part)
                changed[number] = block
            }
        }
        let blocks = changed
        return state.withLock { state in
            let new = blocks.keys.filter { state.blocks[$0] == nil }
            guard state.numbers.count + new.count <= Self.mostBlocks else { return false }
            for (number, block) in blocks { state.blocks[number] = block }
            if !new.isEmpty {
                state.numbers += new
                state.numbers.sort()
            }
            return true
        }
    }
}
