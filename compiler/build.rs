//! Lists the model families: every `.mlc` file of `stdlib/models`, so that adding one takes no Rust.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../stdlib/models");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "mlc"));
    files.sort();
    let mut list = String::from("&[\n");
    for path in files {
        let name = path
            .file_stem()
            .ok_or("a file has a name")?
            .to_string_lossy()
            .into_owned();
        writeln!(list, "    ({name:?}, include_str!({:?})),", path.canonicalize()?)?;
    }
    list += "]\n";
    fs::write(Path::new(&env::var("OUT_DIR")?).join("families.rs"), list)?;
    Ok(())
}
