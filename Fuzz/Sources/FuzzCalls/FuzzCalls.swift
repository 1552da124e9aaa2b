internal import FuzzTargets

/// libFuzzer calls this with every input it makes up; to trap is to report.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzCalls(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = unsafe Array(UnsafeBufferPointer(start: start, count: count))
    if let violation = FuzzTarget.calls.violation(bytes) { fatalError(violation) }
    return 0
}
