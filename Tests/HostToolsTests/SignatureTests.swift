import Foundation
import HostTools
import SystemPackage
import TestSupport
import Testing

/// What mkimage signs, or says that it signs.
struct SignatureTests {
    private let tools = ToolRunner(path: nil, sourceDate: .standard)

    @Test(.enabled(if: Parts.has(["/usr/bin/mkimage", "/usr/bin/dtc", "/usr/bin/openssl"])))
    func `an image that mkimage has left without one of its signatures is refused`() async throws {
        let folder = Parts.scratch("signatures")
        try FileManager.default.createDirectory(atPath: folder.string, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder.string) }
        let one = try await tools.makeSigningKey(in: folder)
        let other = try await tools.makeSigningKey(in: folder)
        let keys = try SigningKeys(in: folder)
        func sign() async throws -> [UInt8] {
            try await tools.signScript("true\n", keys: keys) { file in
                let signatures = [one, other].enumerated().map {
                    "signature-\($0 + 1) { algo = \"sha256,rsa2048\"; key-name-hint = \"\($1)\"; };"
                }
                return """
                    /dts-v1/; / { description = "x"; images { x { data = /incbin/("\(file)"); type = "script";
                    compression = "none"; hash-1 { algo = "sha256"; }; \(signatures.joined()) }; };
                    configurations { default = "x"; x { script = "x"; }; }; };

                    """
            }
        }
        #expect(try await sign().count > 1024)
        // mkimage ends with 0 where a key is not there.
        try FileManager.default.removeItem(atPath: folder.appending("\(other).key").string)
        let error = await #expect(throws: HostToolError.self) { try await sign() }
        #expect(error?.description.hasPrefix("mkimage failed (no signature): a key cannot be used") == true)
    }
}
