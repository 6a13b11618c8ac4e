//! The mlc language, passes, and lowering to a LayeredCircuit. Pure: no file system, no clock.
