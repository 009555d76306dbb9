package import ArgumentParser
package import RunRecords

/// Labels of a run, for programs and people who look for it later.
package struct LabelOptions: ParsableArguments {
    @Option(
        name: .customLong("label"),
        help: ArgumentHelp(
            "A label for the run's record and the JSON events, as ci_job=4711; several times: up to \(RunLabel.most).",
            valueName: "key=value"),
        transform: { try parseLabel($0) })
    package var labels: [RunLabel] = []

    package func validate() throws {
        do throws(RunLabelError) {
            _ = try RunLabel.all(labels)
        } catch {
            throw ValidationError("--label: \(error)")
        }
    }

    /// By key; nil where there are none.
    package var all: [String: String]? { (try? RunLabel.all(labels)) ?? nil }

    /// With nothing given.
    package init() {}
}

/// `KEY=VALUE`; else wrong usage.
package func parseLabel(_ text: String) throws -> RunLabel {
    do throws(RunLabelError) {
        return try RunLabel(text)
    } catch {
        throw ValidationError("--label: \(error)")
    }
}
