//! What the checks look at: every file of the checkout and what cargo says about its packages, all
//! in memory, so that a check can be tested with a small repository that never was on a disk.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders below the root that are nobody's text.
const SKIPPED: [&str; 2] = [".git", "target"];

/// A checkout.
#[derive(Debug, Default)]
pub(crate) struct Repository {
    /// Text files by their path from the root, with forward slashes.
    pub(crate) files: BTreeMap<String, String>,
    /// Every package of the lock file.
    pub(crate) packages: Vec<Package>,
}

/// A package as `cargo metadata` describes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    /// Name in its manifest.
    pub(crate) name: String,
    /// Version in its manifest.
    pub(crate) version: String,
    /// SPDX expression, where it has one.
    pub(crate) license: Option<String>,
    /// Folder from the root for a member of the workspace, else `None`.
    pub(crate) folder: Option<String>,
    /// What it needs.
    pub(crate) dependencies: Vec<Dependency>,
}

/// An arrow from one package to another.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    /// Package it points to.
    pub(crate) name: String,
    /// What for.
    pub(crate) kind: Kind,
}

/// What a dependency is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For the build script.
    Build,
    /// For tests and examples.
    Development,
    /// For the product.
    Normal,
}

impl Repository {
    /// Reads the checkout at `root`.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut repository = Self {
            packages: packages(root)?,
            ..Self::default()
        };
        for name in entries(root)? {
            if !SKIPPED.contains(&name.as_str()) {
                repository.walk(root, &name)?;
            }
        }
        Ok(repository)
    }

    /// Members of the workspace with their folders.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&Package, &str)> {
        self.packages
            .iter()
            .filter_map(|package| Some((package, package.folder.as_deref()?)))
    }

    /// Rust files.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(|(path, _)| is_rust(path))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    fn walk(&mut self, root: &Path, path: &str) -> Result<()> {
        let full = root.join(path);
        if full.is_dir() {
            for name in entries(&full)? {
                self.walk(root, &format!("{path}/{name}"))?;
            }
        } else {
            let bytes = std::fs::read(&full).with_context(|| format!("failed to read {path}"))?;
            // What is not text (recorded traffic, pictures) has no lines to judge.
            if let Ok(text) = String::from_utf8(bytes) {
                self.files.insert(path.to_owned(), text);
            }
        }
        Ok(())
    }
}

/// Whether a path is that of a Rust file.
pub(super) fn is_rust(path: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "rs")
}

fn entries(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let listing = std::fs::read_dir(folder)
        .with_context(|| format!("failed to list {}", folder.display()))?;
    for entry in listing {
        let name = entry?.file_name();
        match name.into_string() {
            Ok(name) => names.push(name),
            Err(name) => bail!("{} is not named in UTF-8", name.display()),
        }
    }
    Ok(names)
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    let output = Command::new(crate::run::cargo())
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .context("failed to start cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("failed to parse cargo metadata")?;
    metadata
        .packages
        .into_iter()
        .map(|package| package.into_package(root))
        .collect()
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
    dependencies: Vec<MetadataDependency>,
}

#[derive(Deserialize)]
struct MetadataDependency {
    name: String,
    kind: Option<String>,
}

impl MetadataPackage {
    fn into_package(self, root: &Path) -> Result<Package> {
        let folder = if self.source.is_some() {
            None
        } else {
            let folder = self.manifest_path.parent().unwrap_or(root);
            let folder = folder
                .strip_prefix(root)
                .with_context(|| format!("{} lies outside the checkout", self.name))?;
            Some(folder.to_string_lossy().into_owned())
        };
        let dependencies = self
            .dependencies
            .into_iter()
            .map(|dependency| Dependency {
                name: dependency.name,
                kind: match dependency.kind.as_deref() {
                    Some("build") => Kind::Build,
                    Some("dev") => Kind::Development,
                    _ => Kind::Normal,
                },
            })
            .collect();
        Ok(Package {
            name: self.name,
            version: self.version,
            license: self.license,
            folder,
            dependencies,
        })
    }
}
