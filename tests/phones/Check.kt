/** Runs the Android example's own code on a folder of cases, for tests/test_phones.py. */

import edge.cxr.bundle.readManifest
import edge.cxr.bundle.readReferences
import edge.cxr.bundle.replay
import edge.cxr.bundle.requireHash
import edge.cxr.imaging.Grey
import edge.cxr.imaging.Resize
import edge.cxr.imaging.luma
import edge.cxr.imaging.resized
import java.io.File

fun main(arguments: Array<String>) {
    val folder = File(arguments[0])
    for (file in folder.resolve("pictures").listFiles()!!.sorted()) {
        val (width, height, size, resize) = file.name.split("-").drop(1)
        val grey = Grey(width.toInt(), height.toInt(), file.readBytes())
        val pixels = resized(grey, size.toInt(), Resize.valueOf(resize.uppercase()))
        folder.resolve("resized").resolve(file.name).writeBytes(pixels)
    }
    val model = readManifest(folder.resolve("manifest.json").readText(), "tflite")
    say("model", model.file, model.size, model.resize.name.lowercase(), model.isTrainedOnPhantoms)
    for (line in folder.resolve("probabilities").readLines()) {
        say("decision", model.operatingPoint!!.decide(line.split(" ").map(String::toDouble), model.labels))
    }
    val inputs = readReferences(folder.resolve("reference.npz").readBytes(), model.size)
    folder.resolve("references").writeBytes(inputs.fold(ByteArray(0), ByteArray::plus))
    val share = 1.0 / model.labels.size
    val replay = replay(model.reference!!, inputs) { List(model.labels.size) { share } }
    say("replay", replay.images, replay.largestDifference, replay.passed)
    say("luma", luma(0x7f0a80ff).toUByte())
    requireHash(folder.resolve(model.file).readBytes(), model.sha256, model.file)
    say("refused", refused { requireHash(byteArrayOf(1), model.sha256, model.file) })
    say("refused", refused { readReferences(folder.resolve("reference.npz").readBytes(), model.size + 1) })
    for (file in folder.resolve("refused").listFiles()!!.sorted()) {
        say("refused", refused { readManifest(file.readText(), "tflite") })
    }
}

private fun say(topic: String, vararg values: Any) = println((listOf(topic) + values).joinToString("\t"))

private fun refused(work: () -> Any): String =
    try {
        work()
        "accepted"
    } catch (error: IllegalArgumentException) {
        error.message!!
    }
