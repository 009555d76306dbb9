import CLibFuzzer
import Foundation
import ReaderFuzz

/// Feeds a reader with what libFuzzer makes of its coverage: `make fuzz-readers`.
///
///     reader-fuzzer READER FOLDER [LIBFUZZER'S OPTIONS…]
///
/// FOLDER gets the corpus; it begins with the reader's seeds. What is judged wrongly ends the process, and libFuzzer keeps
/// it in a file; given that file in place of options it is judged once more.
@main struct ReaderFuzzer {
    static func main() throws {
        let arguments = CommandLine.arguments
        guard arguments.count >= 3, let reader = FuzzedReader(rawValue: arguments[1]) else {
            let readers = FuzzedReader.allCases.map(\.rawValue).joined(separator: "|")
            FileHandle.standardError.write(Data("usage: reader-fuzzer \(readers) FOLDER [OPTION…]\n".utf8))
            exit(64)
        }
        let folder = URL(filePath: arguments[2])
        let corpus = folder.appending(path: "corpus")
        try FileManager.default.createDirectory(at: corpus, withIntermediateDirectories: true)
        for (number, seed) in reader.seeds.enumerated() {
            try Data(seed).write(to: corpus.appending(path: "seed-\(number)"))
        }
        let dictionary = folder.appending(path: "words")
        let words = reader.words.map { word in
            "\"" + word.utf8.map { "\\x" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() + "\"\n"
        }
        try Data(words.joined().utf8).write(to: dictionary)
        chosen = reader
        var options = ["reader-fuzzer", "-dict=\(dictionary.path)", "-artifact_prefix=\(folder.path)/"]
        let more = Array(arguments.dropFirst(3))
        if more.isEmpty || more.allSatisfy({ $0.hasPrefix("-") }) { options.append(corpus.path) }
        exit(run(options + more))
    }

    nonisolated(unsafe) static var chosen = FuzzedReader.packet

    private static func run(_ options: [String]) -> CInt {
        // For as long as the process lives.
        var pointers = unsafe options.map { unsafe strdup($0) } + [nil]
        var count = CInt(options.count)
        return unsafe pointers.withUnsafeMutableBufferPointer { buffer in
            var start = buffer.baseAddress
            return unsafe LLVMFuzzerRunDriver(&count, &start) { bytes, size in
                do throws(FuzzedReader.Wrong) {
                    try ReaderFuzzer.chosen.judge(Array(UnsafeBufferPointer(start: bytes, count: size)))
                } catch {
                    fatalError("\(ReaderFuzzer.chosen): \(error)")
                }
                return 0
            }
        }
    }
}
