import ArgumentParser

/// A length of time: `45`, `45s`, `500ms`, `2m`, `1h`, `90d`.
package struct TimeOption: ExpressibleByArgument {
    package let duration: Duration

    package init(_ duration: Duration) { self.duration = duration }

    package init?(argument: String) {
        let digits = argument.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int64(digits), number <= 1_000_000_000 else { return nil }
        switch argument[digits.endIndex...] {
        case "", "s": duration = .seconds(number)
        case "ms": duration = .milliseconds(number)
        case "m", "min": duration = .seconds(number * 60)
        case "h": duration = .seconds(number * 3600)
        case "d": duration = .seconds(number * 86400)
        default: return nil
        }
    }

    package var defaultValueDescription: String {
        let milliseconds = duration.components.attoseconds / 1_000_000_000_000_000
        return milliseconds == 0
            ? "\(duration.components.seconds)s" : "\(duration.components.seconds * 1000 + milliseconds)ms"
    }
}
