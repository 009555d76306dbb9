import CGPIOD
import Glibc

/// A requested GPIO line that holds a target in reset: open-drain, active low.
///
/// The line is only ever driven low or an input, never driven high (law 5). Whatever ends the value's life, the line is
/// made an input first and then given back, because Raspberry Pi kernels keep an output driven after its release.
package struct ResetLine: ~Copyable {
    private let handle: LineHandle

    /// Requests the line as an input.
    ///
    /// - Parameters:
    ///   - line: from ``findLine(_:)``.
    ///   - consumer: what other programs see as the line's user.
    /// - Throws: ``GPIOError/busy(line:consumer:)`` where someone has it.
    package init(_ line: LineDescription, consumer: String = "rpiflash") throws(GPIOError) {
        handle = try LineHandle(line, consumer: consumer)
    }

    /// Drives the line low: the target is held in reset.
    package mutating func assert() throws(GPIOError) {
        try handle.check("drive", unsafe cgpiod_line_assert(handle.raw))
    }

    /// Makes the line an input and gives it back: the target starts.
    package consuming func release() throws(GPIOError) {
        try handle.check("release", unsafe cgpiod_line_release(handle.raw))
    }
}

/// Owns the request; the clean-up that cannot fail.
@safe private struct LineHandle: ~Copyable {
    /// libgpiod v1 gives a chip's lines back when the chip is closed.
    let chip: ChipHandle
    let raw: OpaquePointer
    let place: String

    init(_ line: LineDescription, consumer: String) throws(GPIOError) {
        let chip = try ChipHandle(path: line.chip.path)
        guard let raw = unsafe cgpiod_line_request(chip.raw, line.offset, consumer) else {
            let code = errno
            if code == EBUSY {
                // Asked again: somebody may have taken it since it was found.
                let holder = try? chip.line(line.offset, of: line.chip).consumer
                throw .busy(line: line.place, consumer: holder ?? line.consumer)
            }
            throw .system(call: "request", line: line.place, code: code)
        }
        self.chip = chip
        unsafe self.raw = raw
        place = line.place
    }

    deinit {
        _ = unsafe cgpiod_line_release(raw)
        unsafe cgpiod_line_close(raw)
    }

    func check(_ call: String, _ result: Int32) throws(GPIOError) {
        // errno before anything else.
        let code = errno
        guard result == 0 else { throw .system(call: call, line: place, code: code) }
    }
}

/// Holds a target in reset for a while, then lets it go. Cancellation lets it go at once.
///
/// - Throws: ``GPIOError``, or `CancellationError`.
package func pulse(_ line: LineDescription, hold: Duration) async throws {
    var reset = try ResetLine(line)
    try reset.assert()
    // Whatever ends the sleep ends the line's owner, and that releases it.
    try await Task.sleep(for: hold)
    try reset.release()
}
