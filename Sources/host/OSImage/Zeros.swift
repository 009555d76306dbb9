import Glibc

/// Whether all bytes are 0: a buffer whose first byte is 0 and that equals itself one byte on.
package func isZero(_ buffer: UnsafeRawBufferPointer) -> Bool {
    guard let start = buffer.baseAddress, buffer.count > 0 else { return true }
    return unsafe start.load(as: UInt8.self) == 0 && memcmp(start, start + 1, buffer.count - 1) == 0
}
