//! What the commands print, as transcripts in `tests/cmd`.

mod common;

#[test]
fn transcripts() {
    trycmd::TestCases::new()
        .register_bin("mlc", trycmd::cargo::cargo_bin!("mlc"))
        .case("tests/cmd/*.trycmd");
}

/// Explanations hold code fences, so they are no transcripts.
#[test]
fn an_explanation_has_an_example_and_its_mend() {
    let ran = common::mlc_in(std::path::Path::new("."), &["explain", "E0203"]).with(0);
    assert!(ran.out.starts_with("# E0203") && ran.out.contains("Mended:"), "{ran:?}");
}
