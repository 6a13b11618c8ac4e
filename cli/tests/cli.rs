//! What the commands print, as transcripts in `tests/cmd`.

#[test]
fn transcripts() {
    trycmd::TestCases::new()
        .register_bin("mlc", trycmd::cargo::cargo_bin!("mlc"))
        .case("tests/cmd/*.trycmd");
}
