import Glibc

/// An argument whose bytes are no UTF-8. Such a file name is legal, but it would reach files as another one.
package struct ArgumentError: Error, Hashable, Sendable, CustomStringConvertible {
    /// 1 for the first.
    package let number: Int
    /// Its text; U+FFFD for each piece that is no UTF-8.
    package let text: String

    package var description: String {
        "argument \(number) ('\(text)') is not UTF-8; give the file a name that is, or a symbolic link with one"
    }

    /// Checks the arguments that this process was started with.
    ///
    /// - Throws: ``ArgumentError`` for the first that is not UTF-8.
    package static func check() throws(ArgumentError) {
        for number in 1..<max(1, Int(CommandLine.argc)) {
            guard let argument = unsafe CommandLine.unsafeArgv[number],
                unsafe String(validatingCString: argument) == nil
            else {
                continue
            }
            throw unsafe ArgumentError(number: number, text: String(cString: argument))
        }
    }
}
