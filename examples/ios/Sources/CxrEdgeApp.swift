import SwiftUI

@main
struct CxrEdgeApp: App {
    var body: some Scene {
        WindowGroup { ContentView() }
    }
}
