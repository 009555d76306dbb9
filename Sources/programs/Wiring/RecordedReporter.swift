package import CommandOutput
import FlashEvents
package import Flashing
package import RunRecords

/// Gives what happens to each target's record, to the log and to the events, with what a record has to say of it.
package struct RecordedReporter: Sendable {
    private let recorders: [RunRecorder]
    private let reporter: RunReporter

    /// - Parameter recorders: one for each target, in the targets' order.
    package init(_ recorders: [RunRecorder], _ reporter: RunReporter) {
        (self.recorders, self.reporter) = (recorders, reporter)
    }

    /// - Parameter index: the target's place; nil: it is about all.
    package func report(_ index: Int?, _ event: FleetEvent) {
        for (place, recorder) in recorders.enumerated() where index == nil || index == place {
            let remarks =
                switch event {
                case .progress(let progress): recorder.report(progress)
                case .ended(let verdict): recorder.end(verdict)
                }
            for remark in remarks { reporter.report(place, .progress(remark)) }
        }
        reporter.report(index, event)
    }
}
