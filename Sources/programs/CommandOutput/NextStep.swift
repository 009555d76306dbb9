/// Tells a person at a terminal what to do next; programs and logs are not bothered.
package func suggest(_ command: String) {
    guard Log.shared.isTerminal else { return }
    Log.shared.line("next: \(command)")
}
