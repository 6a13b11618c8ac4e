//! Which crate may use which: leaves stay leaves, and the verifier has no prover code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("mlc-circuit", &[][..]),
        ("mlc-ir", &[]),
        ("mlc-compiler", &["mlc-circuit", "mlc-ir"]),
        ("mlc-import", &["mlc-ir"]),
        ("mlc-verifier", &["mlc-circuit"]),
        ("mlc-runtime", &["mlc-circuit", "mlc-ir", "mlc-verifier"]),
    ])
}

#[test]
fn crates_depend_as_the_house_is_built() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut command = cargo_metadata::MetadataCommand::new();
    let metadata = command.manifest_path(manifest).no_deps().exec().unwrap();
    let mut seen = BTreeSet::new();
    for package in &metadata.packages {
        seen.insert(package.name.to_string());
        let Some(allowed) = allowed().get(package.name.as_str()).copied() else {
            continue;
        };
        for dependency in &package.dependencies {
            let ours = dependency.name.starts_with("mlc-");
            let product = dependency.kind == cargo_metadata::DependencyKind::Normal;
            if ours && product {
                assert!(
                    allowed.contains(&dependency.name.as_str()),
                    "{} must not depend on {}",
                    package.name,
                    dependency.name
                );
            }
            if package.name.as_str() == "mlc-verifier" && product {
                assert_ne!(dependency.name, "rayon");
                let prover = dependency.features.iter().any(|f| f == "prover");
                assert!(!prover, "the verifier uses no prover feature");
            }
        }
    }
    assert!(allowed().keys().all(|name| seen.contains(*name)));
}
