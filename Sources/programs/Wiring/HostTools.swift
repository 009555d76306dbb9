package import HostTools
import LinuxHost

/// mtools and the like. What they make must not depend on the day.
package func hostTools() -> ToolRunner { ToolRunner(path: environmentValue("PATH"), sourceDate: .standard) }
