import ArgumentParser
import RunRecords

/// Labels of a run, for programs and people who look for it later.
struct LabelOptions: ParsableArguments {
    @Option(
        name: .customLong("label"),
        help: ArgumentHelp(
            "A label for the run's record and the JSON events, as ci_job=4711; several times: up to \(RunLabel.most).",
            valueName: "key=value"),
        transform: { try parseLabel($0) })
    var labels: [RunLabel] = []

    func validate() throws {
        do throws(RunLabelError) {
            _ = try RunLabel.all(labels)
        } catch {
            throw ValidationError("--label: \(error)")
        }
    }

    /// By key; nil where there are none.
    var all: [String: String]? { (try? RunLabel.all(labels)) ?? nil }
}

/// `KEY=VALUE`; else wrong usage.
func parseLabel(_ text: String) throws -> RunLabel {
    do throws(RunLabelError) {
        return try RunLabel(text)
    } catch {
        throw ValidationError("--label: \(error)")
    }
}
