import PhotosUI
import SwiftUI

struct ContentView: View {
    @State private var classifier: Classifier?
    @State private var notice = ""
    @State private var status = "Loading the model and replaying its reference inputs…"
    @State private var picked: PhotosPickerItem?
    @State private var picture: UIImage?
    @State private var answer = ""

    var body: some View {
        ScrollView {
            VStack(alignment: .leading, spacing: 16) {
                Text(notice).bold()
                Text(status)
                PhotosPicker("Pick an X-ray", selection: $picked, matching: .images)
                    .buttonStyle(.borderedProminent)
                    .disabled(classifier == nil)
                if let picture {
                    Image(uiImage: picture).resizable().scaledToFit().frame(maxHeight: 320)
                        .accessibilityLabel("The picture that the answer is about")
                }
                Text(answer).font(.title3)
            }
            .padding()
        }
        .task { await open() }
        .onChange(of: picked) { _, item in
            guard let item else { return }
            Task { await classify(item) }
        }
    }

    private func open() async {
        do {
            // Not on the main thread: a model of 22 MB is read, hashed and set up.
            let opened = try await Task.detached { try Classifier() }.value
            let model = opened.model
            notice = model.notice
            if model.isTrainedOnPhantoms {
                notice += "\nTrained on synthetic images: its answers about X-rays mean nothing."
            }
            status = statusOf(model, try await opened.replayReferences())
            classifier = opened
        } catch {
            status = error.localizedDescription
        }
    }

    private func statusOf(_ model: Model, _ replay: Replay?) -> String {
        guard let replay else {
            return "\(model.file) has no reference outputs: whether this phone computes what was validated is not known"
        }
        let difference = String(format: "%.4f (limit %.2f)", replay.largestDifference, replay.limit)
        let verdict = replay.passed ? "computes what was validated" : "does NOT compute what was validated"
        return "\(model.file) \(verdict): \(replay.images) reference inputs, largest difference \(difference)"
    }

    private func classify(_ item: PhotosPickerItem) async {
        guard let classifier else { return }
        do {
            guard let content = try await item.loadTransferable(type: Data.self) else {
                throw Refusal("the picture cannot be loaded")
            }
            let model = classifier.model
            let pixels = try await Task.detached {
                resized(try readPicture(content), size: model.size, resize: model.resize)
            }.value
            let probabilities = try await classifier.classify(pixels)
            picture = UIImage(data: content)
            answer = answerOf(model, probabilities)
        } catch {
            picture = nil
            answer = error.localizedDescription
        }
    }

    private func answerOf(_ model: Model, _ probabilities: [Double]) -> String {
        let rows = zip(model.labels, probabilities).map { "\($0): \(String(format: "%.1f %%", 100 * $1))" }
        let decision = model.operatingPoint.map { [$0.decide(probabilities, labels: model.labels)] } ?? []
        return (decision + rows).joined(separator: "\n")
    }
}
