//! Float results of every fixture agree with those of onnxruntime and of a second implementation.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail by panicking

mod common;

use common::{compare, description, execute, import, models};

fn check(group: &str) {
    for path in models(group) {
        let imported = import(&path);
        let description = description(&path);
        let outputs = execute(&imported.module, &imported.weights, &description);
        compare(&path, &outputs, &description);
    }
}

macro_rules! groups {
    ($($group:ident),*) => {
        $(
            #[test]
            fn $group() {
                check(stringify!($group));
            }
        )*
    };
}

groups!(activation, conv, dense, model, pool, quantised, shape, tensorflow);
