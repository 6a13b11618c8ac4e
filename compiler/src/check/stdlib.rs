//! The standard library: `.mlc` sources built into the compiler.

/// Path below `std` and text of every module, `activation` and so on, in order of name.
pub const STDLIB: &[(&str, &str)] = &[
    ("activation", include_str!("../../../stdlib/activation.mlc")),
    ("attention", include_str!("../../../stdlib/attention.mlc")),
    ("conv", include_str!("../../../stdlib/conv.mlc")),
    ("embedding", include_str!("../../../stdlib/embedding.mlc")),
    ("feed_forward", include_str!("../../../stdlib/feed_forward.mlc")),
    ("linear", include_str!("../../../stdlib/linear.mlc")),
    ("norm", include_str!("../../../stdlib/norm.mlc")),
    ("pooling", include_str!("../../../stdlib/pooling.mlc")),
    ("rope", include_str!("../../../stdlib/rope.mlc")),
    ("transformer", include_str!("../../../stdlib/transformer.mlc")),
];
