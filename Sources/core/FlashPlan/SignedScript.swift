/// A script as a FIT image that keys have signed, as U-Boot's `source ADDRESS:NAME` takes it.
///
/// Source: U-Boot, doc/usage/fit/signature.rst. Only the script's text is signed, not its name: so each script says itself
/// what it is for. The script is named twice as what is run by default: `source ADDRESS` of 2025.01 asks the configuration,
/// that of 2023.01 the images.
package enum SignedScript {
    /// What mkimage makes the image of.
    ///
    /// - Parameters:
    ///   - file: the script's file, a plain name in mkimage's working folder.
    ///   - name: of the script, as in `source ADDRESS:NAME`.
    ///   - keys: names of the keys that sign it, at least one.
    package static func source(of file: String, name: String, keys: [String]) -> String {
        let signatures = keys.enumerated().map { index, key in
            "signature-\(index + 1) { algo = \"sha256,rsa2048\"; key-name-hint = \"\(key)\"; };"
        }
        return """
            /dts-v1/;
            / {
                description = "rpiflash \(name)";
                images {
                    default = "\(name)";
                    \(name) {
                        data = /incbin/("\(file)");
                        type = "script";
                        compression = "none";
                        hash-1 { algo = "sha256"; };
                        \(signatures.joined(separator: "\n            "))
                    };
                };
                configurations { default = "\(name)"; \(name) { script = "\(name)"; }; };
            };

            """
    }
}
