"""This project's files beside what other tools make of the same model and the same calibration images."""
