//! What goes with a model to where it is transpiled: its tokenizer, its settings, and the files that these name.
//!
//! Without them the model would read no text there, and be calibrated on something else. A file of another content that stands
//! in the way is refused before anything is written; settings that are there already are kept, and that is said.

use std::path::{Component, Path, PathBuf};

use crate::error::CliError;
use crate::files;
use crate::project::{MANIFEST, Manifest, ModelTable, Project, folder};
use crate::prompt::TOKENIZER;

/// Files to be written, by their paths.
#[derive(Default)]
pub(super) struct Beside {
    files: Vec<(PathBuf, Vec<u8>)>,
    /// What a user has to know of settings that are kept.
    pub(super) note: Option<String>,
}

impl Beside {
    /// What goes with `project` to where `source` is written; nothing where that is the project itself.
    pub(super) fn of(project: &Project, source: &Path) -> Result<Self, CliError> {
        let to = folder(source);
        let mut out = Beside::default();
        if super::same(&to, &project.root) {
            return Ok(out);
        }
        let tokenizer = project.root.join(TOKENIZER);
        if tokenizer.is_file() {
            out.take(&tokenizer, to.join(TOKENIZER))?;
        }
        let settings = settings(project, source)?;
        let Some(text) = settings
            .map(|s| toml::to_string(&s).map_err(CliError::refused))
            .transpose()?
        else {
            return Ok(out);
        };
        let path = to.join(MANIFEST);
        if path.exists() {
            if files::read(&path)? != text.as_bytes() {
                out.note = Some(format!(
                    "note: `{}` is kept as it is: the settings of `{}`, calibration data among them, are not in it",
                    path.display(),
                    project.root.join(MANIFEST).display()
                ));
            }
            return Ok(out);
        }
        for file in named(&project.manifest) {
            out.take(&project.root.join(file), to.join(there(file)))?;
        }
        out.files.push((path, text.into_bytes()));
        Ok(out)
    }

    /// Copies a file, which must not be another than one that is there.
    fn take(&mut self, from: &Path, to: PathBuf) -> Result<(), CliError> {
        let bytes = files::read(from)?;
        let taken = match self.files.iter().find(|(path, _)| *path == to) {
            Some((_, other)) => Some(other.clone()),
            None if to.exists() => Some(files::read(&to)?),
            None => None,
        };
        match taken {
            None => self.files.push((to, bytes)),
            Some(other) if other == bytes => {}
            Some(_) => {
                return Err(CliError::Usage(format!(
                    "`{}` differs from `{}`, which has to lie there: it is that of another model; write into another directory \
                     with `-o DIR/M.mlc`, or remove it",
                    to.display(),
                    from.display()
                )));
            }
        }
        Ok(())
    }

    /// Writes the files.
    pub(super) fn write(&self) -> Result<(), CliError> {
        for (path, _) in &self.files {
            files::create_dir(&folder(path))?;
        }
        let all: Vec<(&Path, &[u8])> = self.files.iter().map(|(p, b)| (p.as_path(), &b[..])).collect();
        files::write_together(&all)
    }
}

/// The settings of a project for its transpiled source; `None` where it has none.
fn settings(project: &Project, source: &Path) -> Result<Option<Manifest>, CliError> {
    if !project.root.join(MANIFEST).is_file() {
        return Ok(None);
    }
    let mut settings = project.manifest.clone();
    let name = source.file_name().map(PathBuf::from);
    settings.model = Some(ModelTable {
        source: name.ok_or_else(|| CliError::write(source, "it is no name of a file"))?,
        weights: None,
        entry: project.entry.clone(),
    });
    let quantise = &mut settings.quantise;
    for path in quantise
        .data
        .iter_mut()
        .chain(&mut quantise.plan)
        .chain(&mut settings.run.input)
    {
        *path = there(path);
    }
    Ok(Some(settings))
}

/// Files that settings name.
fn named(settings: &Manifest) -> impl Iterator<Item = &PathBuf> {
    let quantise = &settings.quantise;
    quantise.data.iter().chain(&quantise.plan).chain(&settings.run.input)
}

/// The path of a file in the new directory: what lies within the old one keeps its place.
fn there(path: &Path) -> PathBuf {
    let within = path
        .components()
        .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    match path.file_name() {
        Some(name) if !within => name.into(),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_within_keeps_its_place() {
        for (from, to) in [
            ("a/b.txt", "a/b.txt"),
            ("../b.txt", "b.txt"),
            ("/a/b.txt", "b.txt"),
            ("./b.txt", "./b.txt"),
        ] {
            assert_eq!(there(Path::new(from)), Path::new(to));
        }
    }
}
