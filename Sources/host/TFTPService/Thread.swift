import CUnixSocket
import Glibc

/// A thread of the system's, for calls that wait: Swift's own threads are as many as there are cores.
enum Thread {
    /// Runs `body` in a thread of its own.
    ///
    /// - Returns: false where the system has none left; then `body` never runs.
    static func start(_ body: @escaping @Sendable () -> Void) -> Bool {
        final class Body: Sendable {
            let run: @Sendable () -> Void
            init(_ run: @escaping @Sendable () -> Void) { self.run = run }
        }
        var attributes = pthread_attr_t()
        unsafe pthread_attr_init(&attributes)
        unsafe pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        unsafe pthread_attr_setstacksize(&attributes, 256 << 10)
        var thread = pthread_t()
        let argument = unsafe Unmanaged.passRetained(Body(body)).toOpaque()
        let result = unsafe pthread_create(
            &thread, &attributes,
            { argument in
                if let argument = unsafe argument {
                    unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
                }
                return nil
            }, argument)
        unsafe pthread_attr_destroy(&attributes)
        if result != 0 { unsafe Unmanaged<Body>.fromOpaque(argument).release() }
        return result == 0
    }
}
