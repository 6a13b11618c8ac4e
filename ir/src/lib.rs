//! Graph IR: operations, shapes, text form, IR verifier and reference interpreter.
