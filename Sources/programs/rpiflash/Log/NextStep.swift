/// Tells a person at a terminal what to do next; programs and logs are not bothered.
func suggest(_ command: String) {
    guard Console.shared.isTerminal else { return }
    Console.shared.line("next: \(command)")
}
