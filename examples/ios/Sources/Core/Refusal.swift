import Foundation

/// What this app does not take, with the reason.
struct Refusal: LocalizedError {
    let reason: String

    init(_ reason: String) {
        self.reason = reason
    }

    var errorDescription: String? { reason }
}
