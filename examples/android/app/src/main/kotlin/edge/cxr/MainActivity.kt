package edge.cxr

import android.net.Uri
import android.os.Bundle
import android.view.View
import android.widget.ImageView
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.PickVisualMediaRequest
import androidx.activity.result.contract.ActivityResultContracts.PickVisualMedia
import edge.cxr.bundle.Model
import edge.cxr.bundle.Replay
import edge.cxr.imaging.resized
import java.util.concurrent.Executors

class MainActivity : ComponentActivity() {
    /** All calls to LiteRT run on this thread. */
    private val worker = Executors.newSingleThreadExecutor()
    private var classifier: Classifier? = null
    private val picker = registerForActivityResult(PickVisualMedia()) { uri -> uri?.let(::classify) }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        findViewById<View>(R.id.pick).setOnClickListener {
            picker.launch(PickVisualMediaRequest(PickVisualMedia.ImageOnly))
        }
        show(R.id.status, getString(R.string.loading))
        inBackground(R.id.status) {
            val opened = Classifier.open(assets)
            classifier = opened
            val replay = opened.replayReferences(assets)
            runOnUiThread {
                show(R.id.notice, noticeOf(opened.model))
                show(R.id.status, statusOf(opened.model, replay))
                findViewById<View>(R.id.pick).isEnabled = true
            }
        }
    }

    private fun classify(uri: Uri) =
        inBackground(R.id.answer) {
            val (model, run) = checkNotNull(classifier).let { it.model to it::classify }
            val picture = readPicture(contentResolver, uri)
            val probabilities = run(resized(picture.grey, model.size, model.resize))
            runOnUiThread {
                findViewById<ImageView>(R.id.picture).setImageBitmap(picture.bitmap)
                show(R.id.answer, answerOf(model, probabilities))
            }
        }

    private fun noticeOf(model: Model) =
        if (model.isTrainedOnPhantoms) "${model.notice}\n${getString(R.string.phantoms)}" else model.notice

    private fun statusOf(model: Model, replay: Replay?): String {
        if (replay == null) return getString(R.string.not_replayed, model.file)
        val text = if (replay.passed) R.string.validated else R.string.not_validated
        return getString(text, model.file, replay.images, replay.largestDifference, replay.limit)
    }

    private fun answerOf(model: Model, probabilities: List<Double>): String {
        val decision = model.operatingPoint?.decide(probabilities, model.labels)
        val rows = model.labels.zip(probabilities) { label, value -> "%s: %.1f %%".format(label, 100 * value) }
        return (listOfNotNull(decision) + rows).joinToString("\n")
    }

    /** Errors are shown in place of the result. */
    private fun inBackground(place: Int, work: () -> Unit) =
        worker.execute {
            try {
                work()
            } catch (error: Exception) {
                runOnUiThread { show(place, error.message ?: error.toString()) }
            }
        }

    private fun show(place: Int, text: String) {
        findViewById<TextView>(place).text = text
    }

    override fun onDestroy() {
        worker.execute { classifier?.close() }
        worker.shutdown()
        super.onDestroy()
    }
}
