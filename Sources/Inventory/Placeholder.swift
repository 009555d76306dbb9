// Filled in by the module's first change.
