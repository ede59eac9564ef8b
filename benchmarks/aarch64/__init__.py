"""Does a bundle compute on 64-bit Arm what it computes on x86? `python -m benchmarks.aarch64`, under emulation."""
