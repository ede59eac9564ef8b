package edge.cxr

import android.content.res.AssetManager
import edge.cxr.bundle.Model
import edge.cxr.bundle.Replay
import edge.cxr.bundle.readManifest
import edge.cxr.bundle.readReferences
import edge.cxr.bundle.replay
import edge.cxr.bundle.requireHash
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter

private const val THREADS = 2

/**
 * The int8 artifact of the bundle among the app's assets, on LiteRT. For one thread.
 *
 * By LiteRT's Interpreter: its CompiledModel takes no uint8 from Kotlin.
 */
class Classifier private constructor(val model: Model, private val interpreter: Interpreter) : AutoCloseable {
    /** The probabilities of the labels, for size x size grey values. */
    fun classify(pixels: ByteArray): List<Double> {
        val probabilities = arrayOf(FloatArray(model.labels.size))
        interpreter.runSignature(mapOf("image" to direct(pixels)), mapOf("probabilities" to probabilities))
        return probabilities[0].map(Float::toDouble)
    }

    /** Null for an artifact without reference outputs. */
    fun replayReferences(assets: AssetManager): Replay? {
        val reference = model.reference ?: return null
        val content = assets.read("reference.npz")
        requireHash(content, reference.inputsSha256, "reference.npz")
        return replay(reference, readReferences(content, model.size), ::classify)
    }

    override fun close() = interpreter.close()

    companion object {
        /** Throws [IllegalArgumentException] for a model that is not the one that the manifest describes. */
        fun open(assets: AssetManager): Classifier {
            val model = readManifest(assets.read("manifest.json").decodeToString(), "tflite")
            val content = assets.read(model.file)
            requireHash(content, model.sha256, model.file)
            // The bytes that were hashed are the bytes that run.
            return Classifier(model, Interpreter(direct(content), Interpreter.Options().setNumThreads(THREADS)))
        }
    }
}

private fun AssetManager.read(file: String): ByteArray = open(file).use { it.readBytes() }

private fun direct(content: ByteArray): ByteBuffer {
    val buffer = ByteBuffer.allocateDirect(content.size).order(ByteOrder.nativeOrder())
    buffer.put(content).rewind()
    return buffer
}
